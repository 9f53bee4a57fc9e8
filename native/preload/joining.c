#include "joining.h"

#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "claim.h"

enum { JOIN_MILLISECONDS = 2000 };

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
  if (send(channel, message, PROTOCOL_HEAD, MSG_NOSIGNAL) == PROTOCOL_HEAD)
    while (!*answered && poll(&wait, 1, JOIN_MILLISECONDS) == 1) { /* READY comes first */
      header.msg_control = &control;
      header.msg_controllen = sizeof control;
      if (recvmsg(channel, &header, MSG_CMSG_CLOEXEC) <= 0) break;
      struct cmsghdr *part = CMSG_FIRSTHDR(&header);
      *answered = message[1] == MESSAGE_JOINED;
      if (*answered && part != NULL && part->cmsg_type == SCM_RIGHTS) memcpy(&joined, CMSG_DATA(part), sizeof joined);
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
