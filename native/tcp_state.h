#ifndef SNI_HANDOFF_TCP_STATE_H
#define SNI_HANDOFF_TCP_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What a TCP connection is and was: tcp(7), TCP_INFO. No function here closes anything. */

enum tcp_kind {
  TCP_KIND_CONNECTED, /* established, or closing in an orderly way */
  TCP_KIND_DEAD,      /* was connected, is in state CLOSE now */
  TCP_KIND_OTHER,     /* no TCP socket, or a listening or never connected one */
};

enum tcp_kind tcp_kind(int fd);

/* Values of `Intact` in src/native/addon.ts. */
enum tcp_intact { TCP_WHOLE = 0, TCP_TOUCHED = 1, TCP_GONE = 2 };

/*
 * Whether nothing but the first `consumed` bytes was ever read from the connection, and nothing written to it or shut
 * down. Returns a tcp_intact, or -1 with errno.
 */
int tcp_intact(int fd, int64_t consumed);

/* Reads and forgets what is there, at most `limit` bytes. 1 at end of file or if the connection is dead, else 0; -1 with errno if `fd` is no TCP socket. */
int tcp_discard(int fd, size_t limit);

/*
 * tcp_discard, then sends `bytes` as far as they fit, then shutdown(SHUT_WR): without the first, closing would send RST,
 * which discards an alert that the client has not read yet. Returns as tcp_discard does.
 */
int tcp_farewell(int fd, const uint8_t *bytes, size_t length, size_t limit);

/* SO_RCVLOWAT: socket(7). -1 with errno. */
int tcp_set_receive_low_water(int fd, int bytes);

/* SO_LINGER with 0 seconds: the last close sends RST. -1 with errno. */
int tcp_reset_on_close(int fd);

#endif
