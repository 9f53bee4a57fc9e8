/* getsockname(2), getpeername(2), shutdown(2) and recv(2). */
#include <errno.h>

#include "identity.h"
#include "listeners.h"
#include "listening.h"
#include "real.h"
#include "told.h"

EXPORTED int getsockname(int fd, struct sockaddr *restrict out, socklen_t *restrict length) {
  struct identity identity;
  struct bound bound;
  union address address;
  if (out != NULL && length != NULL) {
    if (bound_find(fd, &bound)) return address_give(&bound.address, out, length), 0;
    if (listening_any() && identity_read(fd, &identity)) return address_give(&identity.address, out, length), 0;
    if (told_recall(fd, TOLD_SERVER, &address)) return address_give(&address, out, length), 0;
  }
  return real()->getsockname(fd, out, length);
}

EXPORTED int getpeername(int fd, struct sockaddr *restrict out, socklen_t *restrict length) {
  struct identity identity;
  union address address;
  if (listening_any() && identity_read(fd, &identity)) {
    errno = ENOTCONN;
    return -1;
  }
  if (out != NULL && length != NULL && told_recall(fd, TOLD_CLIENT, &address))
    return address_give(&address, out, length), 0;
  return real()->getpeername(fd, out, length);
}

/* Of the pair's end it would end the listener of every process that shares it; a TCP listener can listen again. */
EXPORTED int shutdown(int fd, int how) {
  struct identity identity;
  if (!listening_any() || !identity_read(fd, &identity)) return real()->shutdown(fd, how);
  errno = EOPNOTSUPP;
  return -1;
}

/*
 * Python's ssl module reads one byte of a listening socket, to hear that it is not connected. Of the pair's end that would
 * be a message, and the connection beside it lost. Nobody reads more of one.
 */
EXPORTED ssize_t recv(int fd, void *out, size_t length, int flags) {
  struct identity identity;
  if (length != 1 || !listening_any() || !identity_read(fd, &identity)) return real()->recv(fd, out, length, flags);
  errno = ENOTCONN;
  return -1;
}
