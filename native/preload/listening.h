#ifndef SNI_HANDOFF_PRELOAD_LISTENING_H
#define SNI_HANDOFF_PRELOAD_LISTENING_H

#include <stdbool.h>

#include "wire.h"

/* Whether this process may have a listening socket that receives. If not, nothing needs to be looked at. */
bool listening_any(void);

/* Tells the helper of an option. `fd` is the pair's end. */
void listening_tell_option(int fd, const struct inherited_option *option);

/*
 * `fd` became readable for good because its helper was killed: gives it a pair with a new one, or one of a helper that
 * another process of the server has started meanwhile. Returns 0 or the errno.
 */
int listening_revive(int fd);

#endif
