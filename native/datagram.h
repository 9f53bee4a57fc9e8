#ifndef SNI_HANDOFF_DATAGRAM_H
#define SNI_HANDOFF_DATAGRAM_H

#include <stddef.h>
#include <stdint.h>

/*
 * Gives a connection away in a datagram: reads `length` bytes of it into `bytes`, and sends them beside its descriptor
 * on `channel`, a connected datagram socket (unix(7)). Never blocks. Both descriptors stay the caller's.
 *
 * Returns 0 if it was sent. A negative errno: nothing was read; -EAGAIN: the peer's queue is full, and a poll of
 * `channel` for EPOLLOUT tells when it no longer is. A positive errno: the bytes were read and could not be sent, and
 * are the only ones there are.
 */
int datagram_pass(int channel, int fd, uint8_t *bytes, size_t length);

#endif
