#ifndef SNI_HANDOFF_PRELOAD_IDENTITY_H
#define SNI_HANDOFF_PRELOAD_IDENTITY_H

#include <stdbool.h>

#include "address.h"

/*
 * How a descriptor is known as one that receives from the door: the pair's end is bound to an abstract name
 * (unix(7)) that carries the TCP address. The name stays with the socket, whether the descriptor is duplicated,
 * inherited by fork and exec, or passed to another process, and a table would have to follow all of these.
 */
struct identity {
  union address address;
  /* Nothing ever comes here: another listener of this process gets what the path is for. */
  bool is_silent;
};

/* Names `fd` (the pair's end, or for a silent one a datagram socket). Returns 0 or the errno. */
int identity_write(int fd, const struct identity *identity);

/* False if `fd` is anything else. Keeps errno. */
bool identity_read(int fd, struct identity *out);

/* A descriptor of this process for which `wanted` is true, or -1. */
int identity_search(bool (*wanted)(int fd, const struct identity *, const void *context), const void *context);

#endif
