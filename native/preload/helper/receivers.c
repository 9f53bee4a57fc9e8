/* The server's listening sockets: what came from the door is passed on to them. */
#include <errno.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "closing.h"
#include "helper.h"

/* Bytes of a pair's queue. A message with its descriptors takes less than 1.5 KiB of it: so many windows find room. */
enum { QUEUE = 512 * 1024, REST_MILLISECONDS = 10 };

/* From then on the helper acknowledges what is unread anyway: a receiver that is busy for longer shares its work. */
enum { FOLLOW_MILLISECONDS = 150 };

static void follow(struct channel *channel, struct receiver *receiver) {
  channel->last = receiver;
  channel->follows_until = now_milliseconds() + FOLLOW_MILLISECONDS;
}

/* The second: what the first has in its queue is before everything that the second gets. */
static void follow_only_one(struct helper *helper) {
  struct receiver *only = helper->receivers;
  while (only->fd == -1) only++;
  for (unsigned i = 0; i < MOST_CHANNELS; i++)
    if (helper->channels[i].fd != -1) follow(&helper->channels[i], only);
}

/* A batch that waits is tried again: who may have it is another question now. */
static void try_soon(struct helper *helper) {
  if (helper->is_waiting) helper->rests_until = now_milliseconds();
}

bool receivers_add(struct helper *helper, int fd, sa_family_t family) {
  int size = QUEUE;
  if (helper->receiver_count == 1) follow_only_one(helper);
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) {
    if (helper->receivers[i].fd != -1) continue;
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof size) == -1)
      setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    helper->receivers[i] = (struct receiver){.fd = fd, .family = family};
    helper->receiver_count++;
    watch(helper, fd, WATCH_RECEIVER, i, EPOLLIN);
    try_soon(helper);
    return true;
  }
  tell(CAUSE_LIMIT, 0, "%s: more than %d listeners; the next is not served", helper->path, MOST_RECEIVERS);
  return false;
}

static int unread(const struct receiver *receiver) {
  int bytes = 0;
  return ioctl(receiver->fd, SIOCOUTQ, &bytes) == -1 ? 0 : bytes;
}

bool receivers_have_unread(struct helper *helper) {
  bool any = false;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) {
    struct receiver *receiver = &helper->receivers[i];
    if (receiver->fd == -1) continue;
    receiver->may_have_unread = receiver->may_have_unread && unread(receiver) > 0;
    any = any || receiver->may_have_unread;
  }
  return any;
}

static bool has_family(const struct helper *helper, sa_family_t family) {
  for (unsigned i = 0, found = 0; i < MOST_RECEIVERS && found < helper->receiver_count; i++) {
    if (helper->receivers[i].fd == -1) continue;
    found++;
    if (helper->receivers[i].family == family) return true;
  }
  return false;
}

/* The family of the client that comes next in the batch: an IPv4 one may have come to an IPv6 socket. */
static sa_family_t next_family(const struct batch *batch) {
  static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
  const struct delivery *delivery = &batch->deliveries[batch->sent];
  struct sockaddr_in6 peer = {0};
  socklen_t length = sizeof peer;
  if (delivery->client_length == 6) return AF_INET;
  if (delivery->client_length > 0) return memcmp(delivery->rest + 2, mapped, sizeof mapped) == 0 ? AF_INET : AF_INET6;
  if (getpeername(batch->connection[batch->sent], (struct sockaddr *)&peer, &length) == -1) return AF_INET;
  return peer.sin6_family == AF_INET6 && !IN6_IS_ADDR_V4MAPPED(&peer.sin6_addr) ? AF_INET6 : AF_INET;
}

/*
 * The receiver of the last connection of the same channel, if that may be unread: whoever took the next one would
 * acknowledge both, and if the last one's process ended then, it would be lost. NULL if any receiver will do.
 */
static struct receiver *followed(struct helper *helper, const struct channel *channel) {
  if (channel == NULL || channel->last == NULL || channel->last->fd == -1) return NULL;
  if (now_milliseconds() >= channel->follows_until) return NULL;
  if (unread(channel->last) > 0) return channel->last;
  /* Nothing unread, since it was read or since the queue is gone: the end is told before that (unix_release_sock). */
  struct pollfd end = {.fd = channel->last->fd};
  if (poll(&end, 1, 0) == 1 && (end.revents & POLLHUP))
    receiver_readable(helper, (unsigned)(channel->last - helper->receivers));
  return NULL;
}

/* Of those of the next client's family, if there are any, the one with the least to do, in turn; NULL if all are full. */
static struct receiver *choose(struct helper *helper) {
  struct receiver *best = NULL;
  int least = INT_MAX;
  unsigned found = 0;
  if (helper->receiver_count == 1 && !helper->receivers[0].is_full && helper->receivers[0].fd != -1)
    return &helper->receivers[0];
  struct channel *channel = helper->batch.from[helper->batch.sent];
  struct receiver *before = followed(helper, channel);
  if (helper->must_recycle || helper->receiver_count == 0) return NULL;
  sa_family_t family = next_family(&helper->batch);
  bool is_bound = has_family(helper, family);
  if (before != NULL && !before->is_full && (!is_bound || before->family == family)) return before;
  for (unsigned n = 0; n < MOST_RECEIVERS && found < helper->receiver_count; n++) {
    unsigned i = (helper->next_receiver + n) % MOST_RECEIVERS;
    struct receiver *receiver = &helper->receivers[i];
    if (receiver->fd == -1) continue;
    found++;
    if (receiver->is_full || (is_bound && receiver->family != family)) continue;
    int bytes = unread(receiver);
    if (bytes >= least) continue;
    least = bytes;
    best = receiver;
    if (bytes == 0) break;
  }
  if (best != NULL) helper->next_receiver = (unsigned)(best - helper->receivers) + 1;
  if (best != NULL && channel != NULL) follow(channel, best);
  return best;
}

/* Its last descriptor was closed; `has_lost`: before everything in its queue was taken. */
static void remove_receiver(struct helper *helper, struct receiver *receiver, bool has_lost) {
  epoll_ctl(helper->epoll, EPOLL_CTL_DEL, receiver->fd, NULL);
  close(receiver->fd);
  receiver->fd = -1;
  helper->receiver_count--;
  if (helper->receiver_count == 0)
    begin_to_end(helper, has_lost);
  else if (has_lost)
    helper->must_recycle = true; /* channels end: the door gives what was in its queue to the others */
  try_soon(helper);
}

static struct mmsghdr headers[BATCH];
static struct iovec vectors[BATCH];
static union {
  char bytes[CMSG_SPACE(2 * sizeof(int))];
  struct cmsghdr header;
} controls[BATCH];

static void prepare(struct batch *batch) {
  for (unsigned i = batch->sent; i < batch->count; i++) {
    int fds[] = {batch->connection[i], batch->channel[i]};
    size_t size = (fds[1] == -1 ? 1 : 2) * sizeof(int);
    vectors[i] = (struct iovec){&batch->deliveries[i], batch->length[i]};
    controls[i].header = (struct cmsghdr){CMSG_LEN(size), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&controls[i].header), fds, size);
    headers[i].msg_hdr = (struct msghdr){.msg_iov = &vectors[i],
                                         .msg_iovlen = 1,
                                         .msg_control = &controls[i],
                                         .msg_controllen = CMSG_SPACE(size)};
  }
}

static int send_some(const struct receiver *receiver, const struct batch *batch, bool is_shared) {
  unsigned most = batch->count - batch->sent;
  if (is_shared && most > 1) most = 1; /* between several, each by itself */
  if (most == 1)
    return sendmsg(receiver->fd, &headers[batch->sent].msg_hdr, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -1 : 1;
  return sendmmsg(receiver->fd, &headers[batch->sent], most, MSG_DONTWAIT | MSG_NOSIGNAL);
}

/* Closes the next `count` of the batch: descriptors that came together have numbers in a row, mostly. */
static void close_sent(struct batch *batch, unsigned count) {
  for (unsigned end = batch->sent + count; batch->sent < end;) {
    int first = batch->connection[batch->sent], last = first;
    while (++batch->sent < end && batch->connection[batch->sent] == last + 1) last++;
    if (first == last)
      close(first);
    else
      close_all(first, last);
  }
}

/* The batch waits until the server has taken some of what it has: the door waits meanwhile, since channels are not read. */
static void wait_for_room(struct helper *helper, bool is_at_limit) {
  if (!helper->is_waiting) channels_watch(helper, false);
  helper->is_waiting = true;
  helper->rests_until = is_at_limit ? now_milliseconds() + REST_MILLISECONDS : 0;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) {
    struct receiver *receiver = &helper->receivers[i];
    /* Not one of the other family, which has room, and would say so without end. */
    bool tells = receiver->is_full && !is_at_limit;
    if (receiver->fd != -1) watch(helper, receiver->fd, WATCH_RECEIVER, i, EPOLLIN | (tells ? EPOLLOUT : 0));
  }
}

static void stop_waiting(struct helper *helper) {
  helper->is_waiting = false;
  helper->rests_until = 0;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++)
    if (helper->receivers[i].fd != -1) watch(helper, helper->receivers[i].fd, WATCH_RECEIVER, i, EPOLLIN);
  channels_watch(helper, true);
}

void receivers_pass(struct helper *helper) {
  struct batch *batch = &helper->batch;
  bool is_at_limit = false;
  prepare(batch);
  while (batch->sent < batch->count) {
    struct receiver *receiver = choose(helper);
    /* An ACK of the next would take what was lost with a receiver: recycle() refuses the rest. */
    if (helper->must_recycle) return;
    if (receiver == NULL && batch->sent == batch->count) break; /* the last receiver is gone */
    if (receiver == NULL) return wait_for_room(helper, is_at_limit);
    int count = send_some(receiver, batch, helper->receiver_count > 1);
    if (count > 0) {
      receiver->may_have_unread = true;
      close_sent(batch, (unsigned)count);
    } else if (errno == EAGAIN || errno == ETOOMANYREFS || errno == ENOBUFS || errno == ENOMEM) {
      receiver->is_full = true;
      is_at_limit = is_at_limit || errno != EAGAIN; /* of descriptors on their way: no event tells when that ends */
    } else if (errno != EINTR) {
      remove_receiver(helper, receiver, errno == ECONNRESET);
    }
  }
  batch->count = batch->sent = 0;
  start_ticking(helper);
  if (helper->is_waiting) stop_waiting(helper);
}

void receivers_pass_again(struct helper *helper) {
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) helper->receivers[i].is_full = false;
  helper->rests_until = 0;
  receivers_pass(helper);
  returned_settle(helper);
}

void receiver_writable(struct helper *helper, unsigned index) {
  helper->receivers[index].is_full = false;
  if (helper->receivers[index].fd == -1 || !helper->is_waiting) return;
  receivers_pass(helper);
  returned_settle(helper);
}

static void remember_option(struct options *options, const struct inherited_option *option) {
  unsigned i = 0;
  if (option->level == SOL_SOCKET && option->name == SO_REUSEPORT) {
    options->is_shared = option->value[0] != 0;
    return;
  }
  while (i < options->count && (options->list[i].level != option->level || options->list[i].name != option->name)) i++;
  if (i == MOST_INHERITED) return;
  options->list[i] = *option;
  if (i == options->count) options->count++;
}

/*
 * What a server's process sent, of `length` bytes: whoever has a listening socket of the server, also one that runs as
 * another user than this process does. Takes `fd` over, which is -1 unless one descriptor came.
 */
static void take_request(struct helper *helper, const struct request *request, size_t length, int fd) {
  bool is_whole = length == sizeof *request && delivery_is_whole(&request->delivery, sizeof request->delivery);
  const struct channel *channel = NULL;
  if (is_whole && request->kind == REQUEST_RETURN && fd != -1) return returned_take(helper, &request->delivery, fd);
  if (is_whole && request->kind == REQUEST_LOST) channel = channel_by_id(helper, request->delivery.channel);
  if (channel != NULL) channel_refuse(channel, request->delivery.sequence, REFUSE_NO_DESCRIPTOR);
  if (fd != -1) close(fd);
  if (is_whole && request->kind == REQUEST_OPTION && request->option.length <= sizeof request->option.value)
    return remember_option(helper->options, &request->option);
  if (is_whole && (request->kind == REQUEST_RETURN || request->kind == REQUEST_LOST)) return;
  tell(CAUSE_REQUEST, 0, "%s: a process of the server sent %zu bytes that are no request of the library's; left out",
       helper->path, length);
}

void receiver_readable(struct helper *helper, unsigned index) {
  struct receiver *receiver = &helper->receivers[index];
  bool has_lost = false;
  for (int errors = 0; receiver->fd != -1;) {
    struct request request;
    CONTROL_FOR(1) control;
    struct iovec vector = {&request, sizeof request};
    struct msghdr header = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t length = recvmsg(receiver->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
    if (length == -1 && errno == EAGAIN) return;
    /* ECONNRESET comes before what is queued, and says that the other end was closed with messages unread. */
    has_lost = has_lost || (length == -1 && errno == ECONNRESET);
    if (length == -1 && errors++ < 8) continue;
    if (length == -1) return remove_receiver(helper, receiver, has_lost);
    int fd, count = take_descriptors(&header, &fd);
    if (length == 0) {
      /* The end; or a record without bytes, which can bring a descriptor all the same. */
      if (fd != -1) close(fd);
      return remove_receiver(helper, receiver, has_lost);
    }
    if (count > 1) {
      close(fd);
      fd = -1;
    }
    take_request(helper, &request, (size_t)length, fd);
  }
}
