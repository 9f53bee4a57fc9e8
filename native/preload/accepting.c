/*
 * accept(2) and accept4(2) of a listening socket that receives: a message from the helper, an ACK to the door's channel
 * that came beside it, and only from then on is the connection this process's (src/handoff/PROTOCOL.md, "Ownership").
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "epolled.h"
#include "identity.h"
#include "listening.h"
#include "real.h"
#include "say.h"
#include "told.h"
#include "wire.h"

enum { MESSAGE_ACK = 3, SPARE = 64 };

struct arrival {
  struct delivery delivery;
  ssize_t length;
  int connection; /* or -1 */
  int channel;    /* or -1 */
};

/* The number of the descriptor that came last: the lowest that was free. Above all of them if the last one was lost. */
static atomic_int latest;

/* Whether two more descriptors can be had: a message that finds no room for its own loses them (unix(7), MSG_CTRUNC). */
static bool has_room(int fd) {
  struct rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
      (rlim_t)atomic_load_explicit(&latest, memory_order_relaxed) + SPARE < limit.rlim_cur)
    return true;
  int first = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  int second = first == -1 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 0);
  int error = errno;
  if (first != -1) close(first);
  if (second != -1) close(second);
  errno = error;
  return second != -1;
}

static void send_request(int fd, enum request_kind kind, const struct arrival *arrival) {
  struct request request = {.kind = kind, .delivery = arrival->delivery};
  CONTROL_FOR(1) control = {0};
  struct iovec vector = {&request, sizeof request};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (arrival->connection != -1) {
    control.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&control.header), &arrival->connection, sizeof(int));
    header.msg_control = &control;
    header.msg_controllen = sizeof control;
  }
  /* Rarely needed; the helper reads. */
  struct pollfd room = {.fd = fd, .events = POLLOUT};
  while (sendmsg(fd, &header, MSG_NOSIGNAL | MSG_DONTWAIT) == -1 && (errno == EAGAIN || errno == EINTR))
    if (poll(&room, 1, 1000) == 0) break;
}

/* One message. Returns like recvmsg(2). */
static ssize_t receive(int fd, struct arrival *out) {
  CONTROL_FOR(2) control;
  struct iovec vector = {&out->delivery, sizeof out->delivery};
  struct msghdr header = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  out->connection = out->channel = -1;
  /* The channel's must not come into a program that another thread executes just now, whatever the flags say. */
  out->length = recvmsg(fd, &header, MSG_CMSG_CLOEXEC);
  if (out->length <= 0) return out->length;
  struct cmsghdr *part = CMSG_FIRSTHDR(&header);
  if (part == NULL || part->cmsg_type != SCM_RIGHTS) return out->length;
  if (part->cmsg_len >= CMSG_LEN(sizeof(int))) memcpy(&out->connection, CMSG_DATA(part), sizeof(int));
  if (part->cmsg_len >= CMSG_LEN(2 * sizeof(int)))
    memcpy(&out->channel, CMSG_DATA(part) + sizeof(int), sizeof(int));
  return out->length;
}

/* Nothing that the helper beside this library sends. */
static void discard(const struct arrival *arrival) {
  static atomic_flag is_told = ATOMIC_FLAG_INIT;
  if (arrival->connection != -1) close(arrival->connection);
  if (arrival->channel != -1) close(arrival->channel);
  if (!atomic_flag_test_and_set(&is_told))
    say("a listening socket got a message of %zd bytes that the helper does not send; it is left out", arrival->length);
}

/* Makes the connection this process's; false if it did not become so, and nothing is left of it here then. */
static bool acknowledge(int fd, struct arrival *arrival) {
  uint8_t ack[PROTOCOL_HEAD];
  bool is_owned = arrival->delivery.is_owned && arrival->connection != -1;
  if (arrival->channel != -1) {
    put_head(ack, MESSAGE_ACK, sizeof ack, arrival->delivery.sequence);
    ssize_t sent;
    do sent = send(arrival->channel, ack, sizeof ack, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (sent == -1 && errno == EINTR);
    is_owned = sent == sizeof ack;
    close(arrival->channel);
  }
  if (is_owned) return true;
  send_request(fd, arrival->connection == -1 ? REQUEST_LOST : REQUEST_RETURN, arrival);
  if (arrival->connection != -1) close(arrival->connection);
  return false;
}

static void set_options(int connection, const struct delivery *delivery) {
  const uint8_t *at = delivery->rest + delivery->client_length + delivery->server_length;
  for (unsigned i = 0; i < delivery->option_count; i++) {
    struct inherited_option option;
    memcpy(&option, at + i * sizeof option, sizeof option);
    if (option.length > sizeof option.value) continue;
    real()->setsockopt(connection, option.level, option.name, option.value, option.length);
  }
}

/* The client's address as the listener would have been told it. False if the client is gone. */
static bool name(int connection, const struct delivery *delivery, sa_family_t family, union address *out) {
  socklen_t length = sizeof *out;
  if (real()->getpeername(connection, &out->any, &length) == -1) return false;
  bool is_told = address_unpack(delivery->rest, delivery->client_length, out);
  if (!is_told && out->any.sa_family == family) return true;
  union address server;
  length = sizeof server;
  if (real()->getsockname(connection, &server.any, &length) == -1) return false;
  address_unpack(delivery->rest + delivery->client_length, delivery->server_length, &server);
  address_adapt(out, family);
  address_adapt(&server, family);
  told_remember(connection, out, &server);
  return true;
}

/* A listener that nothing comes to: waits like any, and what strangers send to its name is thrown away. */
static int wait_in_silence(int fd) {
  char byte;
  while (real()->recv(fd, &byte, 1, 0) != -1) continue;
  return -1;
}

/* Both the helper and its keeper were killed. False, with errno, while nothing can be done about it. */
static bool revive(int fd) {
  static atomic_flag is_told = ATOMIC_FLAG_INIT;
  const struct timespec rest = {.tv_nsec = 20000000};
  int error = listening_revive(fd);
  if (error == 0) return true;
  if (!atomic_flag_test_and_set(&is_told))
    say("the helper was killed, and this process cannot start another one: %s; restart the server", strerror(error));
  /* The descriptor stays readable: a server that comes again at once would do nothing else. */
  nanosleep(&rest, NULL);
  errno = EAGAIN;
  return false;
}

static int take(int fd, const struct identity *identity, struct sockaddr *out, socklen_t *length, int flags) {
  union address client;
  struct arrival arrival;
  if (identity->is_silent) return wait_in_silence(fd);
  for (;;) {
    if (!has_room(fd)) return -1;
    ssize_t received = receive(fd, &arrival);
    if (received == -1 && errno != ECONNRESET) return -1;
    if (received <= 0) { /* the helper is gone, and what it had delivered is taken */
      if (received == -1 || revive(fd)) continue;
      return -1;
    }
    if (!delivery_is_whole(&arrival.delivery, (size_t)received)) {
      discard(&arrival);
      continue;
    }
    if (!acknowledge(fd, &arrival)) {
      if (arrival.connection != -1) continue;
      atomic_store_explicit(&latest, INT_MAX - SPARE, memory_order_relaxed);
      errno = EMFILE;
      return -1;
    }
    atomic_store_explicit(&latest, arrival.connection, memory_order_relaxed);
    if (name(arrival.connection, &arrival.delivery, identity->address.any.sa_family, &client)) break;
    close(arrival.connection);
  }
  if (!(flags & SOCK_CLOEXEC)) fcntl(arrival.connection, F_SETFD, 0);
  if (flags & SOCK_NONBLOCK) fcntl(arrival.connection, F_SETFL, O_RDWR | O_NONBLOCK);
  set_options(arrival.connection, &arrival.delivery);
  epolled_begin(arrival.connection);
  address_give(&client, out, length);
  return arrival.connection;
}

EXPORTED int accept4(int fd, struct sockaddr *restrict out, socklen_t *restrict length, int flags) {
  struct identity identity;
  if (listening_any() && identity_read(fd, &identity)) return take(fd, &identity, out, length, flags);
  return real()->accept4(fd, out, length, flags);
}

EXPORTED int accept(int fd, struct sockaddr *restrict out, socklen_t *restrict length) {
  struct identity identity;
  if (listening_any() && identity_read(fd, &identity)) return take(fd, &identity, out, length, 0);
  return real()->accept(fd, out, length);
}
