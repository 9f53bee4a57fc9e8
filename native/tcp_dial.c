#include "tcp_dial.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "tcp_state.h"

static int set_option(int fd, int level, int name, int value) {
  return setsockopt(fd, level, name, &value, sizeof value);
}

/* Linux takes the unspecified address for the loopback address of its family, where something connects to it. */
static void specify(struct sockaddr_storage *address) {
  static const struct in6_addr mapped_any = {{{[10] = 0xff, [11] = 0xff}}};
  struct sockaddr_in *v4 = (struct sockaddr_in *)address;
  struct in6_addr *v6 = &((struct sockaddr_in6 *)address)->sin6_addr;
  if (address->ss_family == AF_INET) {
    if (v4->sin_addr.s_addr == htonl(INADDR_ANY)) v4->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  } else if (IN6_IS_ADDR_UNSPECIFIED(v6)) {
    *v6 = in6addr_loopback;
  } else if (IN6_ARE_ADDR_EQUAL(v6, &mapped_any)) {
    v6->s6_addr32[3] = htonl(INADDR_LOOPBACK);
  }
}

/*
 * For a socket that connects the kernel may choose the very port that it connects to, if nobody listens there: then it
 * would be connected to itself (RFC 9293, section 3.5, simultaneous open), and whoever is to listen there could not.
 */
static bool is_own_peer(int fd, const struct sockaddr_storage *address, socklen_t length) {
  struct sockaddr_storage own = {0}, peer = *address;
  socklen_t own_length = sizeof own;
  if (getsockname(fd, (struct sockaddr *)&own, &own_length) == -1) return false;
  specify(&peer);
  return own_length == length && memcmp(&own, &peer, length) == 0;
}

int tcp_dial(const struct sockaddr_storage *address, socklen_t length, bool speaks_first) {
  int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd == -1) return -1;
  if (speaks_first) set_option(fd, IPPROTO_TCP, TCP_QUICKACK, 0);
  int error = connect(fd, (const struct sockaddr *)address, length) == 0 || errno == EINPROGRESS ? 0 : errno;
  if (error == 0) {
    if (!is_own_peer(fd, address, length)) return fd;
    tcp_reset_on_close(fd); /* Or the port would stay taken for a minute (TIME-WAIT). */
    error = ECONNREFUSED;
  }
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
