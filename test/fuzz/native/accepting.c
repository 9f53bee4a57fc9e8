/*
 * accept4(2) under the preload library, and what comes from the pair's other end is the input: native/preload/accepting.c
 * with all that it calls, but for starting helpers.
 */
#include "../../../native/preload/wire.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include "../../../native/preload/identity.h"
#include "../../../native/preload/listening.h"
#include "../../../native/preload/say.h"
#include "input.h"

bool listening_any(void) { return true; }
int listening_revive(int fd) { return (void)fd, ENOENT; }
void say(const char *format, ...) { (void)format; }

int __wrap_nanosleep(const struct timespec *time, struct timespec *left);
int __wrap_nanosleep(const struct timespec *time, struct timespec *left) { return (void)time, (void)left, 0; }

static int tcp[2]; /* both ends of a connection */

static void connect_tcp(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int listener = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(listener, (struct sockaddr *)&address, length) == 0 && listen(listener, 1) == 0, "listen");
  CHECK(getsockname(listener, (struct sockaddr *)&address, &length) == 0, "getsockname");
  tcp[0] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(tcp[0], (struct sockaddr *)&address, length) == 0, "connect");
  tcp[1] = accept(listener, NULL, NULL);
  CHECK(tcp[1] != -1, "accept");
  close(listener);
}

/* One message of the helper's: right in all but what the input says. */
static bool send_delivery(struct input *input, int to, int channel) {
  struct delivery delivery = {0};
  uint8_t flags = take_byte(input);
  const uint8_t sizes[] = {0, 6, 18, take_byte(input)};
  delivery.is_owned = flags & 1;
  delivery.client_length = sizes[flags >> 1 & 3];
  delivery.server_length = sizes[flags >> 3 & 3];
  delivery.option_count = flags & 0x20 ? take_byte(input) : 0;
  for (size_t i = 0; i < sizeof delivery.rest && input->left > 0 && i < 64; i++) delivery.rest[i] = take_byte(input);
  size_t length = flags & 0x40 ? take_number(input, 2) % (sizeof delivery + 64) : delivery_length(&delivery);
  uint8_t *bytes = calloc(1, length > sizeof delivery ? length : sizeof delivery);
  CHECK(bytes != NULL, "no memory");
  memcpy(bytes, &delivery, sizeof delivery);

  int sent[4] = {tcp[1], channel, tcp[0], to}, count = flags & 0x80 ? take_byte(input) % 4 : 2;
  CONTROL_FOR(4) control = {0};
  struct iovec vector = {bytes, length};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    control.header = (struct cmsghdr){CMSG_LEN((size_t)count * sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), sent, (size_t)count * sizeof(int));
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE((size_t)count * sizeof(int));
  }
  bool is_sent = length > 0 && sendmsg(to, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
  free(bytes);
  return is_sent;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static int before;
  struct input input = {bytes, length};
  struct identity identity = {.address.v6 = {.sin6_family = AF_INET6, .sin6_port = htons(443)}};
  struct sockaddr_storage peer;
  int pair[2], channel[2];
  if (before == 0) {
    connect_tcp();
    before = open_descriptors();
  }
  uint8_t flags = take_byte(&input);
  if (flags & 1) identity.address.v4 = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(443)};
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, channel) == 0, "socketpair");
  CHECK(identity_write(pair[0], &identity) == 0, "no name");
  if (flags & 2) shutdown(channel[1], SHUT_RD); /* the ACK fails */
  int deliveries = 0;
  while (input.left > 0 && deliveries < 8 && send_delivery(&input, pair[1], channel[0])) deliveries++;
  if (flags & 4) close(pair[1]);
  for (int calls = 0;; calls++) {
    socklen_t size = sizeof peer;
    CHECK(calls <= deliveries, "more connections than messages");
    int fd = accept4(pair[0], (struct sockaddr *)&peer, &size, flags & 8 ? SOCK_NONBLOCK | SOCK_CLOEXEC : 0);
    if (fd == -1) break;
    CHECK(size == sizeof(struct sockaddr_in) || size == sizeof(struct sockaddr_in6), "an address of %u bytes", size);
    CHECK(((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0) == ((flags & 8) != 0), "the flags of accept4 are not kept");
    size = sizeof peer;
    CHECK(getpeername(fd, (struct sockaddr *)&peer, &size) == 0, "it has no peer");
    close(fd);
  }
  CHECK(errno == EAGAIN || errno == EMFILE || errno == ENOTCONN, "errno %d", errno);
  close(pair[0]);
  if (!(flags & 4)) close(pair[1]);
  close(channel[0]);
  close(channel[1]);
  CHECK(open_descriptors() == before, "%d descriptors, %d before", open_descriptors(), before);
  return 0;
}
