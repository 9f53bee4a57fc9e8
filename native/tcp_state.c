#include "tcp_state.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

/* Values of tcpi_state: include/net/tcp_states.h of the kernel, which no system header has without the rest of <netinet/tcp.h>. */
enum {
  STATE_ESTABLISHED = 1,
  STATE_SYN_SENT = 2,
  STATE_SYN_RECV = 3,
  STATE_TIME_WAIT = 6,
  STATE_CLOSE = 7,
  STATE_CLOSE_WAIT = 8,
  STATE_LISTEN = 10,
};

#define HAS(length, field) ((length) >= offsetof(struct tcp_info, field) + sizeof(((struct tcp_info *)0)->field))

/* Returns how many bytes of `info` the kernel filled, or 0 with errno. */
static socklen_t read_info(int fd, struct tcp_info *info) {
  socklen_t length = sizeof *info;
  return getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == -1 ? 0 : length;
}

enum tcp_kind tcp_kind(int fd) {
  struct tcp_info info = {0};
  socklen_t length = read_info(fd, &info);
  if (!HAS(length, tcpi_state)) return TCP_KIND_OTHER;
  switch (info.tcpi_state) {
    case STATE_SYN_SENT:
    case STATE_LISTEN:
      return TCP_KIND_OTHER;
    case STATE_TIME_WAIT:
    case STATE_CLOSE:
      /* Any connection has received a segment (tcpi_segs_in: Linux 4.2); a socket that was never connected has not. */
      return HAS(length, tcpi_segs_in) && info.tcpi_segs_in == 0 ? TCP_KIND_OTHER : TCP_KIND_DEAD;
    default:
      return TCP_KIND_CONNECTED;
  }
}

int tcp_intact(int fd, int64_t consumed) {
  struct tcp_info info = {0}, after = {0};
  int queued = 0;
  /* The two answers must be of one moment: repeated while data come in between them. */
  for (int attempt = 0; attempt < 16; attempt++) {
    socklen_t length = read_info(fd, &info);
    if (length == 0) return -1;
    if (!HAS(length, tcpi_bytes_sent)) { /* Linux 4.19 */
      errno = ENOPROTOOPT;
      return -1;
    }
    if (info.tcpi_state == STATE_CLOSE || info.tcpi_state == STATE_TIME_WAIT) return TCP_GONE;
    if (info.tcpi_state == STATE_LISTEN) {
      errno = EINVAL;
      return -1;
    }
    if (ioctl(fd, SIOCINQ, &queued) == -1) return -1;
    if (read_info(fd, &after) == 0) return -1;
    if (after.tcpi_state == info.tcpi_state && after.tcpi_bytes_received == info.tcpi_bytes_received) break;
  }
  /* bytes_received counts the FIN, SIOCINQ does not. */
  int fin = after.tcpi_state == STATE_CLOSE_WAIT;
  bool open = after.tcpi_state == STATE_ESTABLISHED || after.tcpi_state == STATE_SYN_RECV || fin;
  bool unread = (int64_t)after.tcpi_bytes_received - queued - fin == consumed;
  return open && unread && after.tcpi_bytes_sent == 0 ? TCP_WHOLE : TCP_TOUCHED;
}

static bool is_programming_error(int error) {
  return error == EBADF || error == ENOTSOCK || error == EOPNOTSUPP || error == EINVAL || error == EFAULT;
}

int tcp_discard(int fd, size_t limit) {
  while (limit > 0) {
    /* For TCP, MSG_TRUNC without a buffer drops the bytes: tcp(7). */
    ssize_t length = recv(fd, NULL, limit, MSG_TRUNC | MSG_DONTWAIT);
    if (length == 0) return 1;
    if (length > 0) {
      limit -= (size_t)length;
    } else if (errno == EAGAIN) {
      return 0;
    } else if (errno != EINTR) {
      return is_programming_error(errno) ? -1 : 1;
    }
  }
  return 0;
}

int tcp_farewell(int fd, const uint8_t *bytes, size_t length, size_t limit) {
  int closed = tcp_discard(fd, limit);
  if (closed == -1) return -1;
  if (length > 0 && send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) == -1) {
    if (is_programming_error(errno)) return -1;
    if (errno != EAGAIN && errno != EINTR && errno != ENOBUFS && errno != ENOMEM) closed = 1;
  }
  if (shutdown(fd, SHUT_WR) == -1) {
    if (is_programming_error(errno)) return -1;
    closed = 1;
  }
  return closed;
}

int tcp_set_receive_low_water(int fd, int bytes) {
  return setsockopt(fd, SOL_SOCKET, SO_RCVLOWAT, &bytes, sizeof bytes);
}

int tcp_reset_on_close(int fd) {
  struct linger linger = {.l_onoff = 1, .l_linger = 0};
  return setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
}
