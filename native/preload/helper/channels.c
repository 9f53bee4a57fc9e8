/* The door's channels: what comes is checked, refused at once where it must be, and collected for the server. */
#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "helper.h"
#include "keeper.h"

/* A pair's end for another process of the server: receivers.c. */
enum { FDS = 4 };

static void ask_for_credentials(int fd, struct ucred *out) {
  socklen_t length = sizeof *out;
  *out = (struct ucred){0, (uid_t)-1, (gid_t)-1};
  getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &length);
}

static void rest(void) {
  struct timespec time = {.tv_nsec = 10000000};
  nanosleep(&time, NULL);
}

static bool send_bytes(int fd, const uint8_t *bytes, size_t length) {
  return send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
}

static unsigned channels_of(const struct helper *helper, pid_t pid) {
  unsigned count = 0;
  for (unsigned i = 0; i < MOST_CHANNELS; i++)
    if (helper->channels[i].fd != -1 && helper->channels[i].pid == pid) count++;
  return count;
}

static void add_channel(struct helper *helper, int fd) {
  struct ucred peer;
  uint8_t ready[64];
  unsigned index = 0;
  ask_for_credentials(fd, &peer);
  while (index < MOST_CHANNELS && helper->channels[index].fd != -1) index++;
  bool is_flood = index == MOST_CHANNELS || channels_of(helper, peer.pid) >= MOST_CHANNELS_OF_ONE;
  if (is_flood)
    tell(CAUSE_FLOOD, peer.pid, "%s: process %d of user %d has too many channels; more of its are closed", helper->path,
         (int)peer.pid, (int)peer.uid);
  if (is_flood || !send_bytes(fd, ready, protocol_ready(ready))) {
    close(fd);
    return;
  }
  helper->channels[index] = (struct channel){.fd = fd, .id = helper->next_id++, .pid = peer.pid};
  helper->channel_count++;
  if (!helper->is_waiting) watch(helper, fd, WATCH_CHANNEL, index, EPOLLIN);
}

void channels_accept(struct helper *helper) {
  for (;;) {
    int fd = accept4(helper->path_descriptor, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd != -1) {
      add_channel(helper, fd);
    } else if (errno != EINTR && errno != ECONNABORTED) {
      if (errno == EAGAIN) return;
      tell(CAUSE_LIMIT, 0, "%s: a door cannot be accepted: %s", helper->path, strerror(errno));
      rest(); /* it is in the backlog still, and tells so at once */
      return;
    }
  }
}

void channels_watch(struct helper *helper, bool on) {
  for (unsigned i = 0; i < MOST_CHANNELS && helper->channel_count > 0; i++) {
    if (helper->channels[i].fd == -1) continue;
    if (on)
      watch(helper, helper->channels[i].fd, WATCH_CHANNEL, i, EPOLLIN);
    else
      epoll_ctl(helper->epoll, EPOLL_CTL_DEL, helper->channels[i].fd, NULL);
  }
}

/* Closes it; `ended` says how. */
static void end_channel(struct helper *helper, struct channel *channel, const struct ended *ended) {
  epoll_ctl(helper->epoll, EPOLL_CTL_DEL, channel->fd, NULL);
  close(channel->fd);
  channel->fd = -1;
  helper->channel_count--;
  if (!channel->has_sent) return;
  struct ended *noted = &helper->ended[helper->next_ended++ % MOST_ENDED];
  *noted = *ended;
  if (!noted->has_latest && channel->has_acknowledged) {
    noted->has_latest = true;
    noted->latest = channel->acknowledged;
  }
  returned_settle(helper);
}

/* The channel breaks a rule: with it go the connections that nobody has acknowledged. */
static void violate(struct helper *helper, struct channel *channel, const char *rule) {
  struct ucred peer;
  ask_for_credentials(channel->fd, &peer);
  tell(CAUSE_VIOLATION, peer.pid, "%s: process %d of user %d sent %s; its channel is closed", helper->path, (int)peer.pid,
       (int)peer.uid, rule);
  /* Copies of it are in the queue: an ACK must fail there, too. */
  shutdown(channel->fd, SHUT_RDWR);
  end_channel(helper, channel, &(struct ended){.id = channel->id, .is_known = true});
}

void channel_refuse(const struct channel *channel, uint32_t sequence, enum refuse_reason reason) {
  uint8_t bytes[64];
  send_bytes(channel->fd, bytes, protocol_refuse(bytes, sequence, reason));
}

bool channel_has_acknowledged(const struct channel *channel, uint32_t sequence) {
  /* Counted back from the latest, which both are behind. */
  return channel->has_acknowledged && channel->latest - channel->acknowledged <= channel->latest - sequence;
}

bool channel_acknowledge(struct channel *channel, uint32_t sequence) {
  uint8_t bytes[64];
  if (!send_bytes(channel->fd, bytes, protocol_ack(bytes, sequence))) return false;
  if (channel_has_acknowledged(channel, sequence)) return true;
  channel->has_acknowledged = true;
  channel->acknowledged = sequence;
  return true;
}

int take_descriptors(struct msghdr *header, int *out) {
  int count = 0;
  *out = -1;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int), count++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      if (count == 0)
        *out = fd;
      else
        close(fd);
    }
  }
  return count;
}

/* What came beside a message that is not looked at. */
static void discard(struct msghdr *header) {
  int fd;
  if (take_descriptors(header, &fd) > 0) close(fd);
}

/*
 * Whether it is a TCP socket that does not listen, by the cheapest call that tells: SIOCOUTQNSD is TCP's alone, and EINVAL
 * in LISTEN (tcp_ioctl in Linux's net/ipv4/tcp.c).
 */
static bool is_connection(int fd) {
  int unsent;
  return ioctl(fd, SIOCOUTQNSD, &unsent) == 0;
}

static void add_to_batch(struct helper *helper, struct channel *channel, const struct message *message, int fd) {
  struct batch *batch = &helper->batch;
  unsigned i = batch->count++;
  struct delivery *delivery = &batch->deliveries[i];
  batch->channel[i] = channel->fd;
  batch->from[i] = channel;
  batch->connection[i] = fd;
  delivery->channel = channel->id;
  delivery->sequence = message->sequence;
  delivery->is_owned = 0;
  delivery->client_length = (uint8_t)message->client_length;
  delivery->server_length = (uint8_t)message->server_length;
  delivery->option_count = (uint8_t)helper->options->count;
  uint8_t *at = delivery->rest;
  if (message->client_length > 0) memcpy(at, message->client, message->client_length);
  at += message->client_length;
  if (message->server_length > 0) memcpy(at, message->server, message->server_length);
  at += message->server_length;
  size_t options = helper->options->count * sizeof *helper->options->list;
  memcpy(at, helper->options->list, options);
  batch->length[i] = (size_t)(at - (uint8_t *)delivery) + options;
}

/* One HANDOFF, whose descriptor is this function's. Returns NULL, or which rule it breaks. */
static const char *take_handoff(struct helper *helper, struct channel *channel, const struct message *message, int fd,
                                int count) {
  enum refuse_reason reason = 0;
  if (channel->has_sent && message->sequence != channel->latest + 1) {
    if (fd != -1) close(fd);
    return "a HANDOFF out of sequence";
  }
  channel->has_sent = true;
  channel->latest = message->sequence;
  if (count != 1) {
    tell(CAUSE_DESCRIPTORS, 0, "%s: a connection came with %d descriptors and is refused; if none, raise LimitNOFILE=",
         helper->path, count);
    reason = REFUSE_NO_DESCRIPTOR;
  } else if (helper->is_draining) {
    reason = REFUSE_DRAINING;
  } else if (!is_connection(fd)) {
    reason = REFUSE_NOT_TCP;
  }
  if (reason == 0) {
    add_to_batch(helper, channel, message, fd);
    return NULL;
  }
  channel_refuse(channel, message->sequence, reason);
  if (fd != -1) close(fd);
  return NULL;
}

/* `fd`: a pair's end, which stays the caller's, or -1. */
static const char *answer_join(const struct channel *channel, int fd) {
  uint8_t bytes[PROTOCOL_HEAD];
  put_head(bytes, MESSAGE_JOINED, sizeof bytes, 0);
  CONTROL_FOR(1) control = {0};
  control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
  memcpy(CMSG_DATA(&control.header), &fd, sizeof(int));
  struct iovec vector = {bytes, sizeof bytes};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (fd != -1) {
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
  }
  ssize_t sent = sendmsg(channel->fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  return sent == -1 ? "a request and did not wait for the answer" : NULL;
}

/* Gives another process of the server an end of a pair, if it is of the same user. */
static const char *take_join(struct helper *helper, const struct channel *channel, sa_family_t family, enum join how) {
  struct ucred peer;
  int pair[2];
  ask_for_credentials(channel->fd, &peer);
  if (peer.uid != 0 && peer.uid != geteuid()) return "a request that only its server's user may make";
  if (how != JOIN_AGAIN && !helper->options->is_shared)
    return "a request to listen there, too, and who listens has no SO_REUSEPORT";
  if (helper->is_draining) return "a late request";
  if (how == JOIN_QUESTION) return answer_join(channel, -1);
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1) return "a request that finds no descriptors";
  if (receivers_add(helper, pair[1], family))
    keeper_renew(helper);
  else
    close(pair[1]);
  const char *rule = answer_join(channel, pair[0]);
  close(pair[0]);
  return rule;
}

/* Receiving, a batch a call. */
static struct mmsghdr headers[BATCH];
static struct iovec vectors[BATCH];
static uint8_t buffers[BATCH][MOST_MESSAGE + 1];
static union {
  char bytes[CMSG_SPACE(FDS * sizeof(int))];
  struct cmsghdr header;
} controls[BATCH];

static int receive(int fd) {
  static unsigned used = BATCH; /* headers that the kernel has written to */
  for (unsigned i = 0; i < used; i++) {
    vectors[i] = (struct iovec){buffers[i], sizeof buffers[i]};
    headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i],
                                         .msg_iovlen = 1,
                                         .msg_control = &controls[i],
                                         .msg_controllen = sizeof controls[i]};
  }
  /* Errors come before messages that are still queued (PROTOCOL.md, "Read to the end first"): once each. */
  for (int attempt = 0;; attempt++) {
    int count = recvmmsg(fd, headers, BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    used = count > 0 ? (unsigned)count : 1;
    if (count != -1 || attempt == 8 || errno == EAGAIN) return count;
  }
}

/* One record. Returns NULL, or which rule it breaks. Sets `*revoked`. */
static const char *take(struct helper *helper, struct channel *channel, unsigned i, struct ended *ended) {
  struct msghdr *header = &headers[i].msg_hdr;
  struct message message;
  int fd, count = take_descriptors(header, &fd);
  const char *rule = header->msg_flags & MSG_TRUNC ? "a message of more than 1024 bytes"
                                                   : protocol_parse(buffers[i], headers[i].msg_len, &message);
  if (rule == NULL && message.type == MESSAGE_HANDOFF)
    return take_handoff(helper, channel, &message, fd, count);
  if (fd != -1) close(fd);
  if (rule != NULL) return rule;
  if (count > 0) return "descriptors beside a message that carries none";
  if (message.type == MESSAGE_REVOKE) {
    ended->has_latest = true;
    ended->latest = message.sequence;
    return NULL;
  }
  if (message.type == MESSAGE_JOIN) return take_join(helper, channel, (sa_family_t)message.sequence, (enum join)(message.sequence >> 16));
  return "a message of an unknown type";
}

void channel_readable(struct helper *helper, unsigned index) {
  struct channel *channel = &helper->channels[index];
  struct ended ended = {.id = channel->id, .is_known = true};
  if (channel->fd == -1 || helper->batch.count > 0) return;
  int count = receive(channel->fd);
  if (count == -1 && errno == EAGAIN) return;
  const char *rule = NULL;
  bool is_at_end = count <= 0;
  for (int i = 0; i < count; i++) {
    /* recvmmsg(2) goes on at the end of a SEQPACKET and gives records without bytes. */
    is_at_end = is_at_end || headers[i].msg_len == 0;
    if (rule == NULL && !is_at_end)
      rule = take(helper, channel, (unsigned)i, &ended);
    else
      discard(&headers[i].msg_hdr);
  }
  if (rule != NULL || ended.has_latest) {
    /* What came in this batch is not acknowledged, nor what follows the message that breaks the rule. */
    for (unsigned i = 0; i < helper->batch.count; i++) close(helper->batch.connection[i]);
    helper->batch.count = 0;
  }
  if (rule != NULL) return violate(helper, channel, rule);
  if (helper->batch.count > 0) receivers_pass(helper);
  /* With a batch that waits, the end is read once more when there is room. */
  if (!ended.has_latest && (!is_at_end || helper->batch.count > 0)) return;
  ended.is_all_ours = !ended.has_latest;
  end_channel(helper, channel, &ended);
}

void channels_age(struct helper *helper) {
  for (unsigned i = 0; i < MOST_CHANNELS; i++) {
    struct channel *channel = &helper->channels[i];
    if (channel->fd == -1 || !channel->has_sent) continue;
    if (channel->has_aged) channel_acknowledge(channel, channel->aged);
    channel->has_aged = true;
    channel->aged = channel->latest;
  }
}

void channels_close(struct helper *helper) {
  for (unsigned i = 0; i < MOST_CHANNELS; i++) {
    struct channel *channel = &helper->channels[i];
    if (channel->fd == -1) continue;
    shutdown(channel->fd, SHUT_RDWR);
    end_channel(helper, channel, &(struct ended){.id = channel->id, .is_known = true});
  }
}

void channels_drain(struct helper *helper) {
  uint8_t bytes[64];
  for (unsigned i = 0; i < MOST_CHANNELS; i++)
    if (helper->channels[i].fd != -1) send_bytes(helper->channels[i].fd, bytes, protocol_drain(bytes));
}

struct channel *channel_by_id(struct helper *helper, uint32_t id) {
  for (unsigned i = 0; i < MOST_CHANNELS; i++)
    if (helper->channels[i].fd != -1 && helper->channels[i].id == id) return &helper->channels[i];
  return NULL;
}

const struct ended *channel_ended(const struct helper *helper, uint32_t id) {
  for (unsigned i = 0; i < MOST_ENDED; i++)
    if (helper->ended[i].is_known && helper->ended[i].id == id) return &helper->ended[i];
  return NULL;
}
