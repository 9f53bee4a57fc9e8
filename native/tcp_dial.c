#include "tcp_dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

int tcp_dial(const struct sockaddr_storage *address, socklen_t length, bool speaks_first) {
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd == -1) return -1;
  if (speaks_first) set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
  if (connect(fd, (const struct sockaddr *)address, length) == 0 || errno == EINPROGRESS) return fd;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int tcp_prepare_relayed(int fd) {
  int on = 1;
  if (ioctl(fd, FIONBIO, &on) == -1) return -1;
  set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1); /* EOPNOTSUPP: a unix socket. Without it bytes come late at worst. */
  return 0;
}

int tcp_keep_alive(int fd) { return set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1); }

int tcp_pending_error(int fd) {
  int error = 0;
  socklen_t length = sizeof error;
  return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == -1 ? errno : error;
}

int tcp_send_first(int fd, const uint8_t *bytes, size_t length, bool more) {
  ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL | (more ? MSG_MORE : 0));
  if (sent == -1) return errno;
  return (size_t)sent == length ? 0 : ENOBUFS;
}
