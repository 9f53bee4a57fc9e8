#ifndef SNI_HANDOFF_TCP_ACCEPT_H
#define SNI_HANDOFF_TCP_ACCEPT_H

#include <stddef.h>
#include <stdint.h>

/* Connections and their first bytes, which stay in the socket (MSG_PEEK). Entry i of each array is connection i. */
struct peek_batch {
  int32_t *descriptors;
  int32_t *lengths;   /* bytes peeked, 0 at end of file, or a negative errno */
  uint8_t *buffer;    /* connection i's bytes begin at i * stride */
  size_t stride;
  const int32_t *most; /* most bytes to peek of each, at most `stride`; from 1 (an empty peek looks like the end) */
  uint8_t *addresses; /* TCP_ADDRESS_PACKED bytes each */
};

/*
 * Accepts up to `most` connections from `listener` (which must be non-blocking) and peeks into each. They are blocking,
 * as accept(2) makes them, and close-on-exec; the caller closes them. Connections that died in the backlog are passed
 * over. Returns how many; `*error` is the errno that ended it before `most` (EAGAIN: those that waited at the beginning
 * are accepted), else 0.
 */
int tcp_accept_batch(int listener, int most, const struct peek_batch *batch, int *error);

/* Peeks into the first `count` of `batch->descriptors` again. */
void tcp_peek_batch(int count, const struct peek_batch *batch);

#endif
