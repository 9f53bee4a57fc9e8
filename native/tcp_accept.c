#include "tcp_accept.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "tcp_address.h"

/*
 * accept(2), "Error handling": Linux passes already-pending network errors on the new socket as an error code from
 * accept(); EPERM is a firewall's. The next connection may be well.
 */
static bool concerns_one_connection(int error) {
  switch (error) {
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}

/*
 * How many connections wait to be accepted; -1 if that cannot be told. Of a listening socket TCP_INFO gives it as
 * tcpi_unacked (tcp_get_info in Linux's net/ipv4/tcp.c). Worth asking: an accept4 that finds the backlog empty has made
 * a socket and an inode for nothing, which costs 5 us; this costs 0.2 us.
 */
static int connections_in_backlog(int listener) {
  struct tcp_info info;
  socklen_t length = offsetof(struct tcp_info, tcpi_sacked);
  if (getsockopt(listener, IPPROTO_TCP, TCP_INFO, &info, &length) == -1) return -1;
  return info.tcpi_state == TCP_LISTEN ? (int)info.tcpi_unacked : -1;
}

static void peek(int i, const struct peek_batch *batch) {
  size_t most = *batch->most < 1 ? 1 : (size_t)*batch->most;
  if (most > batch->stride) most = batch->stride;
  uint8_t *bytes = batch->buffer + (size_t)i * batch->stride;
  ssize_t length;
  do length = recv(batch->descriptors[i], bytes, most, MSG_PEEK | MSG_DONTWAIT);
  while (length == -1 && errno == EINTR);
  batch->lengths[i] = length >= 0 ? (int32_t)length : -errno;
}

int tcp_accept_batch(int listener, int most, const struct peek_batch *batch, int *error) {
  int count = 0;
  int waiting = connections_in_backlog(listener);
  bool is_emptied = waiting >= 0 && waiting < most;
  if (is_emptied) most = waiting;
  /* Bounded, because EOPNOTSUPP is also what a listener that is none of a stream socket answers, for ever. */
  int passes = most + 64;
  while (count < most) {
    struct sockaddr_storage address;
    socklen_t length = sizeof address;
    int fd = accept4(listener, (struct sockaddr *)&address, &length, SOCK_CLOEXEC);
    if (fd == -1) {
      if (concerns_one_connection(errno) && passes-- > 0) continue;
      *error = errno;
      return count;
    }
    batch->descriptors[count] = fd;
    tcp_address_pack(&address, batch->addresses + (size_t)count * TCP_ADDRESS_PACKED);
    peek(count, batch);
    count++;
  }
  *error = is_emptied ? EAGAIN : 0;
  return count;
}

void tcp_peek_batch(int count, const struct peek_batch *batch) {
  for (int i = 0; i < count; i++) peek(i, batch);
}
