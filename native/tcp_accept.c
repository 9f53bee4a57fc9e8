#include "tcp_accept.h"

#include <errno.h>
#include <stdbool.h>
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

static void peek(int i, const struct peek_batch *batch) {
  ssize_t length = recv(batch->descriptors[i], batch->buffer + (size_t)i * batch->stride, batch->stride,
                        MSG_PEEK | MSG_DONTWAIT);
  batch->lengths[i] = length >= 0 ? (int32_t)length : -errno;
}

int tcp_accept_batch(int listener, int most, const struct peek_batch *batch, int *error) {
  int count = 0;
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
  *error = 0;
  return count;
}

void tcp_peek_batch(int count, const struct peek_batch *batch) {
  for (int i = 0; i < count; i++) peek(i, batch);
}
