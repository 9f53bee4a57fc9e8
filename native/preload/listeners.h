#ifndef SNI_HANDOFF_PRELOAD_LISTENERS_H
#define SNI_HANDOFF_PRELOAD_LISTENERS_H

#include <stdbool.h>

#include "address.h"
#include "environment.h"

/* Sockets whose bind(2) was answered and that do not listen yet. They are TCP sockets still, bound to nothing. */

struct bound {
  const struct target *target;
  union address address; /* that the program asked for */
};

/* What SNI_HANDOFF says, read once. */
const struct environment *configuration(void);

/* Notes it. Returns 0 or ENOBUFS. */
int bound_add(int fd, const struct bound *bound);

/* False if `fd` is none; the socket is told by its inode, since descriptors are duplicated. */
bool bound_find(int fd, struct bound *out);

void bound_remove(int fd);

#endif
