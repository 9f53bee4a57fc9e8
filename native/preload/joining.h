#ifndef SNI_HANDOFF_PRELOAD_JOINING_H
#define SNI_HANDOFF_PRELOAD_JOINING_H

#include <stdbool.h>
#include <sys/socket.h>

#include "wire.h"

/*
 * An end of a pair with the helper that has the path, if it is this server's: of the same user, and by `how`. For a
 * listener of `family`. Returns the descriptor or -1.
 */
int join(const char *path, sa_family_t family, enum join how);

/* Whether JOIN_SHARED would be granted. */
bool may_join(const char *path);

#endif
