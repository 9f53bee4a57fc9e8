#include "datagram.h"

#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

#include "messages.h"

/* Of a connected datagram socket, poll tells whether the peer's queue has room too (unix_dgram_poll in Linux). */
static int has_room(int channel) {
  struct pollfd look = {.fd = channel, .events = POLLOUT};
  int ready = poll(&look, 1, 0);
  return ready == 1 && (look.revents & POLLOUT) != 0;
}

int datagram_pass(int channel, int fd, uint8_t *bytes, size_t length) {
  if (!has_room(channel)) return -EAGAIN;
  size_t got = 0;
  while (got < length) {
    ssize_t count = recv(fd, bytes + got, length - got, MSG_DONTWAIT);
    if (count > 0) {
      got += (size_t)count;
    } else if (count == 0 || errno != EINTR) {
      /* They were peeked at before: the connection was reset since. */
      return count == 0 ? -ECONNRESET : -errno;
    }
  }
  return message_send(channel, bytes, length, &fd, 1);
}
