#ifndef SNI_HANDOFF_PRELOAD_SPAWN_H
#define SNI_HANDOFF_PRELOAD_SPAWN_H

#include <sys/socket.h>

/*
 * Starts the helper with the claimed path and the pair's end, both of which it inherits and the caller still closes. `family` is
 * that of the address.
 * Returns 0 once it listens, or the errno after a line on standard error. It is no child that the program's wait(2)
 * would see, and not in its session.
 */
int spawn_helper(int path_descriptor, int pair_end, const char *path, sa_family_t family);

/* For its own arguments and the environment's LD_PRELOAD: where this library is. NULL if that cannot be told. */
const char *spawn_library_path(void);

#endif
