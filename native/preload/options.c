/* getsockopt(2) and setsockopt(2) of a listening socket that receives: it answers as a TCP socket in LISTEN would. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>

#include "identity.h"
#include "inherited.h"
#include "listening.h"
#include "real.h"

static int give(const void *value, socklen_t size, void *out, socklen_t *length) {
  if (*length > size) *length = size;
  memcpy(out, value, *length);
  return 0;
}

static int give_number(int value, void *out, socklen_t *length) { return give(&value, sizeof value, out, length); }

/* Options of the socket level that the pair's end would answer wrongly. */
static int get_socket_option(int name, const struct identity *identity, void *out, socklen_t *length) {
  switch (name) {
    case SO_TYPE:
      return give_number(SOCK_STREAM, out, length);
    case SO_DOMAIN:
      return give_number(identity->address.any.sa_family, out, length);
    case SO_PROTOCOL:
      return give_number(IPPROTO_TCP, out, length);
    default: /* SO_ACCEPTCONN */
      return give_number(1, out, length);
  }
}

static int get_other_option(int level, int name, void *out, socklen_t *length) {
  struct inherited_option option;
  if (inherited_recall(level, name, &option)) return give(option.value, option.length, out, length);
  if (level == IPPROTO_TCP && name == TCP_INFO) {
    struct tcp_info info = {.tcpi_state = TCP_LISTEN};
    return give(&info, sizeof info, out, length);
  }
  return give_number(0, out, length);
}

static bool is_answered(int name) {
  return name == SO_TYPE || name == SO_DOMAIN || name == SO_PROTOCOL || name == SO_ACCEPTCONN;
}

EXPORTED int getsockopt(int fd, int level, int name, void *restrict out, socklen_t *restrict length) {
  struct identity identity;
  bool is_wanted = out != NULL && length != NULL && listening_any();
  if (level == SOL_SOCKET) {
    if (is_wanted && is_answered(name) && identity_read(fd, &identity))
      return get_socket_option(name, &identity, out, length);
    return real()->getsockopt(fd, level, name, out, length);
  }
  /* A unix socket has no option of these levels: only then is it worth asking whose it is. */
  int result = real()->getsockopt(fd, level, name, out, length);
  int error = errno;
  if (result == 0 || !is_wanted || !identity_read(fd, &identity)) return result;
  errno = error;
  return get_other_option(level, name, out, length);
}

static int set_option(int fd, int level, int name, const void *value, socklen_t length) {
  struct inherited_option option = {.level = level, .name = name, .length = length};
  if (!inherited_is(level, name) || value == NULL || length < sizeof(int) || length > sizeof option.value) return 0;
  memcpy(option.value, value, length);
  inherited_remember(&option);
  listening_tell_option(fd, &option);
  return 0;
}

EXPORTED int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
  struct identity identity;
  if (level == SOL_SOCKET) {
    bool is_time = name == SO_RCVTIMEO || name == SO_SNDTIMEO;
    if (!is_time && listening_any() && identity_read(fd, &identity)) return set_option(fd, level, name, value, length);
    return real()->setsockopt(fd, level, name, value, length);
  }
  int result = real()->setsockopt(fd, level, name, value, length);
  if (result == 0 || !listening_any() || !identity_read(fd, &identity)) return result;
  return set_option(fd, level, name, value, length);
}
