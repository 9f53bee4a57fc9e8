#include "joining.h"

#include <poll.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "claim.h"

enum { JOIN_MILLISECONDS = 2000 };

static int64_t now_milliseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000;
}

/* The first descriptor beside a message, or -1; others are closed: the padding of a control buffer may hold one more. */
static int take_descriptor(struct msghdr *header) {
  int taken = -1;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int)) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      if (taken == -1)
        taken = fd;
      else
        close(fd);
    }
  }
  return taken;
}

/* Asks, and waits for the answer. Returns the descriptor beside it, or -1; `*answered` without one, too. */
static int ask(const char *path, sa_family_t family, enum join how, bool *answered) {
  uint8_t message[MOST_MESSAGE];
  CONTROL_FOR(1) control;
  struct iovec vector = {message, sizeof message};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  int joined = -1, channel = claim_connect(path);
  *answered = false;
  if (channel == -1) return -1;
  put_head(message, MESSAGE_JOIN, PROTOCOL_HEAD, family | (uint32_t)how << 16);
  struct pollfd wait = {.fd = channel, .events = POLLIN};
  bool is_asked = send(channel, message, PROTOCOL_HEAD, MSG_NOSIGNAL) == PROTOCOL_HEAD;
  int64_t until = now_milliseconds() + JOIN_MILLISECONDS, left = JOIN_MILLISECONDS;
  while (is_asked && !*answered && left > 0 && poll(&wait, 1, (int)left) == 1) { /* READY comes first */
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
    if (recvmsg(channel, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC) <= 0) break;
    int fd = take_descriptor(&header);
    *answered = message[1] == MESSAGE_JOINED;
    if (*answered)
      joined = fd;
    else if (fd != -1)
      close(fd);
    left = until - now_milliseconds();
  }
  close(channel);
  return joined;
}

int join(const char *path, sa_family_t family, enum join how) {
  bool answered;
  return ask(path, family, how, &answered);
}

bool may_join(const char *path) {
  bool answered;
  ask(path, AF_UNSPEC, JOIN_QUESTION, &answered);
  return answered;
}
