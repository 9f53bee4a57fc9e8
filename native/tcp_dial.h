#ifndef SNI_HANDOFF_TCP_DIAL_H
#define SNI_HANDOFF_TCP_DIAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Connections that this process makes, and what relayed sockets are set to: tcp(7), socket(7). */

/*
 * A non-blocking, close-on-exec TCP socket that connects to `address`: writable once it has, EPOLLERR if it cannot.
 * `speaks_first`: bytes are sent as soon as it has, and the handshake's last acknowledgement goes with them (no
 * TCP_QUICKACK; without bytes it would come late). -1 and errno if a failure is known at once: ECONNREFUSED also where it
 * would be connected to itself. The caller closes the result.
 */
int tcp_dial(const struct sockaddr_storage *address, socklen_t length, bool speaks_first);

/* Non-blocking, as splice(2) needs it of sockets, and TCP_NODELAY if it has that. -1 and errno if it still blocks. */
int tcp_prepare_relayed(int fd);

/* SO_KEEPALIVE. */
int tcp_keep_alive(int fd);

/* SO_ERROR: 0, or the errno of what has happened; reading it clears it. */
int tcp_pending_error(int fd);

/*
 * Sends the first bytes of a connection, which its send buffer always has room for. `more`: others follow at once, and
 * may share a segment (MSG_MORE). Returns 0 or the errno; ENOBUFS if not all were taken.
 */
int tcp_send_first(int fd, const uint8_t *bytes, size_t length, bool more);

#endif
