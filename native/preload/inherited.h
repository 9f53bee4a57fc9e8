#ifndef SNI_HANDOFF_PRELOAD_INHERITED_H
#define SNI_HANDOFF_PRELOAD_INHERITED_H

#include <stdbool.h>

#include "wire.h"

/* Options that a connection has from its listening socket, where the kernel accepts it (tcp(7), socket(7)). */

/* Whether accept(2) passes the option on. */
bool inherited_is(int level, int name);

/* Those that the program has set on a TCP socket, told by a fresh one's values. Returns how many. */
int inherited_collect(int fd, sa_family_t family, struct inherited_option out[MOST_INHERITED]);

/* What was set is remembered by this process, for its getsockopt(2). */
void inherited_remember(const struct inherited_option *option);

/* False if it was not set by this process. */
bool inherited_recall(int level, int name, struct inherited_option *out);

#endif
