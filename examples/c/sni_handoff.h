/*
 * sni_handoff.h: receives the TCP connections that a sni-handoff front door hands over. Copy this file; it needs Linux
 * and nothing else, compiles as C11 or C++, and works in any event loop.
 *
 *   #define SNI_HANDOFF_IMPLEMENTATION // in exactly one file, before its other includes
 *   #include "sni_handoff.h"
 *
 *   static void on_connection(void *context, int fd, const struct sni_handoff_info *info) {
 *     // `fd` is what accept4(2) with SOCK_CLOEXEC | SOCK_NONBLOCK would have given, nothing of it read; it is yours.
 *     // For a moment the door still has a copy: take it out of your epoll set (EPOLL_CTL_DEL) before you close it, since
 *     // the set keeps it otherwise; and call shutdown(2) first where the client must see the end at once.
 *   }
 *
 *   char error[SNI_HANDOFF_ERROR_LENGTH];
 *   struct sni_handoff_options options = sni_handoff_defaults("/run/app/door.sock", on_connection, context);
 *   struct sni_handoff *receiver = sni_handoff_open(&options, error);
 *   if (receiver == NULL) fail(error);
 *   // Poll sni_handoff_fd(receiver) for reading, level-triggered, beside everything else. When it is readable:
 *   sni_handoff_step(receiver);
 *   // To end (SIGTERM): from now on nothing new is sent here. When step returns 0, nothing more will come.
 *   sni_handoff_drain(receiver, 0);
 *   sni_handoff_close(receiver);
 *
 * A receiver belongs to one thread at a time. Several processes, or threads with a receiver each, take a folder as their
 * path. Nothing is allocated for a connection. The protocol, rule for rule: src/handoff/PROTOCOL.md of sni-handoff.
 *
 * MIT licence.
 */
#ifndef SNI_HANDOFF_H
#define SNI_HANDOFF_H

#if defined(SNI_HANDOFF_IMPLEMENTATION) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* recvmmsg, accept4, struct ucred */
#endif

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  SNI_HANDOFF_ERROR_LENGTH = 512,
  /* Bits of `flags`. */
  SNI_HANDOFF_TLS = 1,   /* the first bytes are a TLS ClientHello */
  SNI_HANDOFF_ECH = 2,   /* it has encrypted_client_hello: `server_name` is the outer one */
  SNI_HANDOFF_HTTP = 16, /* the first bytes are the head of an HTTP/1.x request, or it came by a listener for HTTP */
};

/* `any.sa_family` is AF_UNSPEC where nothing is known. */
union sni_handoff_address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

/* What the door tells about a connection. */
struct sni_handoff_info {
  uint64_t connection_id; /* in the door's log too */
  uint64_t accepted_at;   /* nanoseconds since 1970-01-01 UTC */
  uint32_t flags;
  uint32_t consumed;                 /* bytes of a PROXY header that the door has read; else 0 */
  union sni_handoff_address client;  /* as a PROXY header told it: see sni_handoff_client() */
  union sni_handoff_address server;  /* likewise the address that the client connected to */
  uint8_t server_name_length;        /* 0: the client sent none */
  uint8_t alpn_length;               /* 0: it sent none */
  char server_name[256];             /* lower case, ends with NUL */
  char alpn[256];                    /* first protocol of the client's list; any bytes; ends with NUL */
};

struct sni_handoff_options {
  /* A socket's path, "@name" (abstract), or a folder (an existing one, or any path that ends in "/"), in which this
   * process makes a socket of its own. The folder must exist. */
  const char *path;
  /* Use the socket that the service manager passed under this name (LISTEN_FDNAMES). Without it, a passed socket that is
   * bound to `path` is used; if none was passed, `path` is bound. NULL is the default. */
  const char *passed_name;
  mode_t mode;       /* of the path: 0660. The door needs write permission */
  uid_t owner;       /* of the path; (uid_t)-1 leaves it */
  gid_t group;       /* of the path, the door's; (gid_t)-1 leaves it */
  unsigned window;   /* 1 to 128: connections that each worker of a door may have on the way at once. 128 */
  unsigned weight;   /* 1 to 65535: share of the backend's connections beside its other instances. 1 */
  /* Users whose processes may be doors; others are disconnected. 0 of them: whoever may write to the path. */
  const uid_t *allowed_users;
  size_t allowed_user_count;
  /* The program calls sni_handoff_ended() for each connection that is over. Then the door is told how many are open, for
   * balancing, and `most_open` can limit them (0: no limit): what is beyond goes to other instances. 0. */
  int tells_ended;
  uint32_t most_open;
  int blocking;              /* leave O_NONBLOCK off, as the door does. 0 */
  unsigned drain_timeout;    /* milliseconds that doors have to close their channels after sni_handoff_drain(). 10000 */
  void *context;             /* given to the functions below */
  /* A connection is this process's: `fd` is the callee's to close; `info` is valid during the call. It may call
   * sni_handoff_drain() and sni_handoff_ended(), not step or close. */
  void (*on_connection)(void *context, int fd, const struct sni_handoff_info *info);
  /* A door broke the protocol or may not be one, or channels cannot be accepted: each cause once. NULL: to stderr. */
  void (*on_warning)(void *context, const char *text);
};

struct sni_handoff_counts {
  uint64_t received; /* connections owned */
  uint64_t dead;     /* of them: dead on arrival and closed */
  uint64_t refused;  /* given back: another instance gets them */
  uint64_t revoked;  /* taken back by the door, or left behind by a channel that ended by a violation */
  unsigned channels; /* of doors, open now */
  uint32_t open;     /* received, and sni_handoff_ended() not yet called */
};

struct sni_handoff;

struct sni_handoff_options sni_handoff_defaults(const char *path,
                                                void (*on_connection)(void *, int, const struct sni_handoff_info *),
                                                void *context);

/* Listens at once. NULL with the reason in `error`: who has the path, what is wrong with it, or with an option. A path
 * that a dead process left is taken over. May wait up to 2 s for another process that does the same in the folder. */
struct sni_handoff *sni_handoff_open(const struct sni_handoff_options *options, char error[SNI_HANDOFF_ERROR_LENGTH]);

/* The path of the socket itself, also where a folder was asked for. */
const char *sni_handoff_path(const struct sni_handoff *receiver);

/* One descriptor to poll for reading, timers included: an epoll(7) set. It stays the receiver's. */
int sni_handoff_fd(const struct sni_handoff *receiver);

/* Does what is due, without blocking. Returns 1, or 0 once it is drained: nothing more will come. */
int sni_handoff_step(struct sni_handoff *receiver);

/* Asks the doors for no more and removes the path, so that a successor can have it. What is on the way is still
 * delivered, or, if `refuse`, given back to the doors for other instances (where the door is gone, delivered all the same).
 * Go on with step until it returns 0. May wait up to 2 s, as sni_handoff_open. */
void sni_handoff_drain(struct sni_handoff *receiver, int refuse);

/* A connection is over (with `tells_ended`). */
void sni_handoff_ended(struct sni_handoff *receiver);

struct sni_handoff_counts sni_handoff_counts(const struct sni_handoff *receiver);

/* Who the client is: what a PROXY header told, else getpeername(2). AF_UNSPEC if the connection is dead. */
union sni_handoff_address sni_handoff_client(int fd, const struct sni_handoff_info *info);

/* Closes all at once and frees it. What is not acknowledged goes to other instances. Delivered connections go on. */
void sni_handoff_close(struct sni_handoff *receiver);

#ifdef __cplusplus
}
#endif

#endif /* SNI_HANDOFF_H */

#ifdef SNI_HANDOFF_IMPLEMENTATION
#ifndef SNI_HANDOFF_IMPLEMENTED
#define SNI_HANDOFF_IMPLEMENTED

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#ifndef MSG_WAITFORONE
#error "define _GNU_SOURCE, or include sni_handoff.h before the system's headers where it is implemented"
#endif
#ifndef SCM_PIDFD
#define SCM_PIDFD 4 /* Linux 6.5: a descriptor too */
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* --- the protocol's numbers --------------------------------------------------------------------------------------- */

enum {
  SNIH_VERSION = 1,
  SNIH_HEADER = 8,
  SNIH_MOST_MESSAGE = 1024,
  SNIH_MOST_WINDOW = 128,
};

enum snih_type { SNIH_READY = 1, SNIH_HANDOFF, SNIH_ACK, SNIH_REFUSE, SNIH_REVOKE, SNIH_DRAIN };

enum snih_field {
  SNIH_VERSIONS = 1,
  SNIH_WINDOW,
  SNIH_WEIGHT,
  SNIH_CONNECTION_ID,
  SNIH_ACCEPTED_AT,
  SNIH_HELLO_DEADLINE,
  SNIH_FLAGS,
  SNIH_SERVER_NAME,
  SNIH_ALPN,
  SNIH_CLIENT_ADDRESS,
  SNIH_OPEN,
  SNIH_REASON,
  SNIH_CONSUMED,
  SNIH_SERVER_ADDRESS,
};

/* What becomes of a HANDOFF: above 0 the reasons of REFUSE. */
enum snih_verdict {
  SNIH_BURY = -1, /* dead already: acknowledged and closed, since every instance would refuse it */
  SNIH_TAKE = 0,
  SNIH_NO_DESCRIPTOR = 1,
  SNIH_NOT_TCP = 2,
  SNIH_OVERLOADED = 3,
  SNIH_DRAINING = 4,
};

/* --- state -------------------------------------------------------------------------------------------------------- */

enum {
  SNIH_BATCH = 32,            /* messages read by one recvmmsg, acknowledged by one ACK */
  SNIH_ACCEPTS = 64,          /* channels accepted in one step */
  SNIH_MOST_CHANNELS = 256,   /* of one process: more than any door has workers */
  SNIH_WARNINGS = 64,         /* that are remembered, so that each is told once */
  SNIH_BACKLOG = 511,         /* of channels, not connections */
  SNIH_MOST_PASSED = 65536,   /* descriptors of a service manager that are looked at */
  SNIH_ACCEPT_REST = 1000,    /* milliseconds after a failed accept: a ready listener would take a whole processor */
  SNIH_COUNT_INTERVAL = 250,  /* milliseconds after which a changed open count is told */
  SNIH_ROOM_INTERVAL = 20,    /* milliseconds after which a door that waits for READY learns that there is room */
  SNIH_ERROR = SNI_HANDOFF_ERROR_LENGTH,
};

/* A HANDOFF that is neither acknowledged nor refused. */
struct snih_unsettled {
  uint32_t sequence;
  int fd; /* -1: none came */
  enum snih_verdict verdict;
  struct sni_handoff_info info;
};

struct snih_channel {
  struct snih_channel *next;
  int fd;
  struct ucred peer;
  unsigned offered; /* window of the last READY; 0 before the first */
  uint32_t last_received, last_acknowledged, reported_open;
  unsigned has_received : 1, has_acknowledged : 1;
  unsigned rests : 1;      /* the door waits for READY: the first one, or after `overloaded` */
  unsigned drain_due : 1, drain_sent : 1;
  unsigned waits : 1;      /* for room in the door's queue */
  unsigned is_broken : 1;  /* an ACK or REFUSE failed: whose the unsettled ones are is known at the channel's end */
  unsigned is_closed : 1;  /* freed at the end of the step */
  unsigned count;
  struct snih_unsettled *unsettled; /* `window` of them */
};

enum snih_timer { SNIH_AT_REST, SNIH_AT_REPORT, SNIH_AT_DEADLINE, SNIH_TIMERS };

/* Room for more descriptors than may come, so that they are seen and closed, and for what a manager's socket was told to
 * pass. */
union snih_control {
  size_t alignment; /* of struct cmsghdr, which pedantic compilers allow in no array */
  char bytes[256];
};

struct sni_handoff {
  struct sni_handoff_options options;
  int epoll, timer, listener;
  int is_passed, is_draining, refuses, is_stepping;
  uint32_t open;
  struct snih_channel *channels;
  struct sni_handoff_counts counts;
  uint64_t due[SNIH_TIMERS]; /* CLOCK_MONOTONIC, nanoseconds; 0: not set */
  uint64_t armed;
  uint64_t warned[SNIH_WARNINGS]; /* a ring of hashes */
  unsigned next_warned;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1];
  dev_t device; /* of the path that was bound here */
  ino_t inode;
  char wrong[160]; /* the violation that was found last */
  unsigned used;   /* headers that recvmmsg has filled */
  struct mmsghdr headers[SNIH_BATCH];
  struct iovec vectors[SNIH_BATCH];
  union snih_control controls[SNIH_BATCH];
  uint8_t bytes[SNIH_BATCH][SNIH_MOST_MESSAGE];
};

/* --- little things ------------------------------------------------------------------------------------------------ */

static void snih_put16(uint8_t *at, uint32_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static void snih_put32(uint8_t *at, uint32_t value) {
  snih_put16(at, value);
  snih_put16(at + 2, value >> 16);
}

static uint32_t snih_get16(const uint8_t *at) { return (uint32_t)at[0] | (uint32_t)at[1] << 8; }

static uint32_t snih_get32(const uint8_t *at) { return snih_get16(at) | snih_get16(at + 2) << 16; }

static uint64_t snih_get64(const uint8_t *at) { return snih_get32(at) | (uint64_t)snih_get32(at + 4) << 32; }

static uint64_t snih_now(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* Once for each cause and process: numbers in the text make no other cause. */
__attribute__((format(printf, 3, 4))) static void snih_warn(struct sni_handoff *receiver, pid_t pid, const char *format,
                                                            ...) {
  char text[SNIH_ERROR];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  uint64_t hash = 14695981039346656037u ^ (uint64_t)pid; /* FNV-1a */
  for (const char *at = text; *at != 0; at++)
    if (*at < '0' || *at > '9') hash = (hash ^ (uint8_t)*at) * 1099511628211u;
  for (unsigned i = 0; i < SNIH_WARNINGS; i++)
    if (receiver->warned[i] == hash) return;
  receiver->warned[receiver->next_warned++ % SNIH_WARNINGS] = hash;
  if (receiver->options.on_warning != NULL) receiver->options.on_warning(receiver->options.context, text);
  else fprintf(stderr, "sni-handoff: %s\n", text);
}

/* A process as messages name it: one of another pid namespace has no number here (pid_namespaces(7)). */
static const char *snih_name(const struct ucred *process, char name[64]) {
  if (process->pid == 0) snprintf(name, 64, "a process of another pid namespace, of user %u", (unsigned)process->uid);
  else snprintf(name, 64, "process %d of user %u", (int)process->pid, (unsigned)process->uid);
  return name;
}

/* Sets what was wrong with a message; returns -1. */
__attribute__((format(printf, 2, 3))) static int snih_wrong(struct sni_handoff *receiver, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(receiver->wrong, sizeof receiver->wrong, format, arguments);
  va_end(arguments);
  return -1;
}

/* `which` is due in so many milliseconds, or earlier if it was. */
static void snih_due(struct sni_handoff *receiver, enum snih_timer which, unsigned milliseconds) {
  uint64_t at = snih_now() + milliseconds * (uint64_t)1000000;
  if (receiver->due[which] != 0 && receiver->due[which] <= at) return;
  receiver->due[which] = at;
  if (receiver->armed != 0 && receiver->armed <= at) return;
  struct itimerspec when;
  memset(&when, 0, sizeof when);
  when.it_value.tv_sec = (time_t)(at / 1000000000u);
  when.it_value.tv_nsec = (long)(at % 1000000000u);
  timerfd_settime(receiver->timer, TFD_TIMER_ABSTIME, &when, NULL);
  receiver->armed = at;
}

static int snih_watch(struct sni_handoff *receiver, int operation, int fd, uint32_t events, void *what) {
  struct epoll_event event;
  memset(&event, 0, sizeof event);
  event.events = events;
  event.data.ptr = what;
  return epoll_ctl(receiver->epoll, operation, fd, &event);
}

/* --- sending ------------------------------------------------------------------------------------------------------ */

struct snih_message {
  uint8_t bytes[64];
  uint32_t length;
};

static struct snih_message snih_begin(enum snih_type type, uint32_t sequence) {
  struct snih_message message;
  message.bytes[0] = SNIH_VERSION;
  message.bytes[1] = (uint8_t)type;
  message.length = SNIH_HEADER;
  snih_put16(message.bytes + 2, message.length);
  snih_put32(message.bytes + 4, sequence);
  return message;
}

/* Returns where the field's value goes. */
static uint8_t *snih_add(struct snih_message *message, enum snih_field type, uint32_t length) {
  uint8_t *field = message->bytes + message->length;
  snih_put16(field, type);
  snih_put16(field + 2, length);
  message->length += 4 + length;
  snih_put16(message->bytes + 2, message->length);
  return field + 4;
}

static void snih_add_open(struct sni_handoff *receiver, struct snih_message *message, uint32_t open) {
  if (receiver->options.tells_ended) snih_put32(snih_add(message, SNIH_OPEN, 4), open);
}

/* Returns 1, or 0 if it could not be sent now, or at all: then the channel is broken. */
static int snih_send(struct sni_handoff *receiver, struct snih_channel *channel, const struct snih_message *message) {
  ssize_t sent;
  do sent = send(channel->fd, message->bytes, message->length, MSG_DONTWAIT | MSG_NOSIGNAL);
  while (sent == -1 && errno == EINTR);
  if (sent >= 0) return 1;
  if (errno == EPIPE || errno == ECONNRESET || errno == ENOTCONN) {
    channel->is_broken = 1;
    /* It is read to its end only; EPOLLOUT would be there all the time. */
    if (channel->waits) snih_watch(receiver, EPOLL_CTL_MOD, channel->fd, EPOLLIN, channel);
    channel->waits = 0;
  } else if (errno == EAGAIN && (channel->waits || snih_watch(receiver, EPOLL_CTL_MOD, channel->fd, EPOLLIN | EPOLLOUT,
                                                             channel) == 0)) {
    channel->waits = 1;
  } else {
    snih_due(receiver, SNIH_AT_REPORT, SNIH_ROOM_INTERVAL); /* short of memory: there is no event to wait for */
  }
  return 0;
}

/* --- the life of a handed-over connection ------------------------------------------------------------------------- */

static uint32_t snih_room(const struct sni_handoff *receiver) {
  uint32_t most = receiver->options.most_open;
  if (most == 0) return UINT32_MAX;
  return receiver->open < most ? most - receiver->open : 0;
}

static uint32_t snih_taking(const struct snih_channel *channel) {
  uint32_t taking = 0;
  for (unsigned i = 0; i < channel->count; i++) taking += channel->unsettled[i].verdict == SNIH_TAKE;
  return taking;
}

/* All that is unsettled is this process's now. */
static void snih_own(struct sni_handoff *receiver, struct snih_channel *channel) {
  unsigned count = channel->count;
  channel->count = 0;
  for (unsigned i = 0; i < count; i++) {
    struct snih_unsettled *each = &channel->unsettled[i];
    if (each->fd == -1) continue;
    receiver->counts.received++;
    /* What would have been refused for want of room, or at the end, is served: nobody else has it any more. */
    if (each->verdict != SNIH_TAKE && each->verdict != SNIH_OVERLOADED && each->verdict != SNIH_DRAINING) {
      receiver->counts.dead++;
      close(each->fd);
      continue;
    }
    receiver->open++;
    int on = 1;
    if (!receiver->options.blocking) ioctl(each->fd, FIONBIO, &on);
    receiver->options.on_connection(receiver->options.context, each->fd, &each->info);
  }
}

/* They are another's, or will be. */
static void snih_discard(struct sni_handoff *receiver, struct snih_channel *channel) {
  for (unsigned i = 0; i < channel->count; i++) {
    if (channel->unsettled[i].fd == -1) continue;
    close(channel->unsettled[i].fd);
    receiver->counts.revoked++;
  }
  channel->count = 0;
}

/* Its memory stays until the end of the step: events of this step may still name it. */
static void snih_end_channel(struct sni_handoff *receiver, struct snih_channel *channel) {
  if (channel->is_closed) return;
  channel->is_closed = 1;
  receiver->counts.channels--;
  /* A child that was forked and has not called execve has it too: close alone would leave it in the epoll set. */
  epoll_ctl(receiver->epoll, EPOLL_CTL_DEL, channel->fd, NULL);
  close(channel->fd);
}

/* Returns 0 if there are still some: they go before the next ACK. */
static int snih_refuse_all(struct sni_handoff *receiver, struct snih_channel *channel) {
  unsigned kept = 0;
  int goes_on = 1;
  for (unsigned i = 0; i < channel->count; i++) {
    struct snih_unsettled *each = &channel->unsettled[i];
    if (goes_on && each->verdict > 0) {
      struct snih_message message = snih_begin(SNIH_REFUSE, each->sequence);
      *snih_add(&message, SNIH_REASON, 1) = (uint8_t)each->verdict;
      goes_on = snih_send(receiver, channel, &message);
      if (goes_on) {
        if (each->fd != -1) close(each->fd);
        receiver->counts.refused++;
        channel->rests |= each->verdict == SNIH_OVERLOADED;
        continue;
      }
    }
    if (kept != i) channel->unsettled[kept] = *each;
    kept++;
  }
  channel->count = kept;
  return goes_on;
}

/* Sends what is due: DRAIN, all REFUSEs, then one ACK; what that takes is delivered. */
static void snih_settle(struct sni_handoff *receiver, struct snih_channel *channel) {
  if (channel->is_closed || channel->is_broken) return;
  if (channel->drain_due && !channel->drain_sent) {
    struct snih_message message = snih_begin(SNIH_DRAIN, 0);
    if (!snih_send(receiver, channel, &message)) return;
    channel->drain_sent = 1;
  }
  unsigned to_refuse = 0;
  for (unsigned i = 0; i < channel->count; i++) {
    struct snih_unsettled *each = &channel->unsettled[i];
    if (receiver->refuses && each->verdict == SNIH_TAKE) each->verdict = SNIH_DRAINING;
    to_refuse += each->verdict > 0;
  }
  if (to_refuse > 0 && !snih_refuse_all(receiver, channel)) return;
  if (channel->count == 0) return;
  uint32_t sequence = channel->unsettled[channel->count - 1].sequence;
  uint32_t open = receiver->open + snih_taking(channel);
  struct snih_message message = snih_begin(SNIH_ACK, sequence);
  snih_add_open(receiver, &message, open);
  if (!snih_send(receiver, channel, &message)) return;
  channel->has_acknowledged = 1;
  channel->last_acknowledged = sequence;
  channel->reported_open = open;
  snih_own(receiver, channel);
}

/* READY when there is room, again or more; else a changed open count, by repeating the last ACK. */
static void snih_report(struct sni_handoff *receiver, struct snih_channel *channel) {
  snih_settle(receiver, channel);
  if (channel->is_closed || channel->is_broken || channel->drain_due) return;
  uint32_t room = snih_room(receiver);
  unsigned window = room < receiver->options.window ? room : receiver->options.window;
  int is_changed = receiver->options.tells_ended && receiver->open != channel->reported_open;
  struct snih_message message;
  if (window > 0 && (channel->rests || window > channel->offered || (is_changed && !channel->has_acknowledged))) {
    message = snih_begin(SNIH_READY, 0);
    memset(snih_add(&message, SNIH_VERSIONS, 2), SNIH_VERSION, 2);
    snih_put16(snih_add(&message, SNIH_WINDOW, 2), window);
    snih_put16(snih_add(&message, SNIH_WEIGHT, 2), receiver->options.weight);
    snih_add_open(receiver, &message, receiver->open);
    if (!snih_send(receiver, channel, &message)) return;
    channel->offered = window;
    channel->rests = 0;
  } else if (is_changed && channel->has_acknowledged && !channel->rests) {
    message = snih_begin(SNIH_ACK, channel->last_acknowledged);
    snih_add_open(receiver, &message, receiver->open);
    if (!snih_send(receiver, channel, &message)) return;
  } else {
    return;
  }
  channel->reported_open = receiver->open;
}

/* --- messages of a door ------------------------------------------------------------------------------------------- */

/* Takes the descriptors out of a message; only a sole one is kept. Returns 1 if it had any, also lost ones. */
static int snih_take_descriptor(struct msghdr *header, int *fd, int *is_sole) {
  int found = 0;
  *fd = -1;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || (part->cmsg_type != SCM_RIGHTS && part->cmsg_type != SCM_PIDFD)) continue;
    size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; i++) {
      int each;
      memcpy(&each, CMSG_DATA(part) + i * sizeof each, sizeof each);
      if (part->cmsg_type == SCM_RIGHTS && found++ == 0) *fd = each;
      else if (each >= 0) close(each);
    }
  }
  int is_cut = (header->msg_flags & MSG_CTRUNC) != 0;
  *is_sole = found == 1 && !is_cut;
  if (!*is_sole && *fd != -1) {
    close(*fd);
    *fd = -1;
  }
  return found > 0 || is_cut;
}

/*
 * TCP_INFO is answered by TCP sockets alone, whatever else the descriptor may be: one call instead of fstat, SO_TYPE,
 * SO_DOMAIN and SO_PROTOCOL. The states are those of include/net/tcp_states.h in the kernel.
 */
static enum snih_verdict snih_judge(int fd) {
  enum { TIME_WAIT = 6, CLOSED = 7, SYN_SENT = 2, LISTEN = 10, AT_SEGS_IN = 140 /* tcpi_segs_in: Linux 4.2 */ };
  uint8_t info[AT_SEGS_IN + 4];
  memset(info, 0, sizeof info);
  socklen_t length = sizeof info;
  if (getsockopt(fd, IPPROTO_TCP, TCP_INFO, info, &length) == -1 || length == 0) return SNIH_NOT_TCP;
  switch (info[0]) {
    case SYN_SENT:
    case LISTEN:
      return SNIH_NOT_TCP;
    case TIME_WAIT:
    case CLOSED: {
      /* Any connection has received a segment; a socket that was never connected has not. */
      uint32_t segments = 1;
      if (length == sizeof info) memcpy(&segments, info + AT_SEGS_IN, sizeof segments);
      return segments == 0 ? SNIH_NOT_TCP : SNIH_BURY;
    }
    default:
      return SNIH_TAKE;
  }
}

static void snih_read_address(const uint8_t *at, uint32_t length, union sni_handoff_address *out) {
  memset(out, 0, sizeof *out);
  in_port_t port = htons((uint16_t)snih_get16(at));
  if (length == 6) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = port;
    memcpy(&out->v4.sin_addr, at + 2, 4);
  } else {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = port;
    memcpy(&out->v6.sin6_addr, at + 2, 16);
  }
}

static int snih_has_size(uint32_t type, uint32_t length) {
  switch (type) {
    case SNIH_VERSIONS:
    case SNIH_WINDOW:
    case SNIH_WEIGHT:
      return length == 2;
    case SNIH_CONNECTION_ID:
    case SNIH_ACCEPTED_AT:
    case SNIH_HELLO_DEADLINE:
      return length == 8;
    case SNIH_FLAGS:
    case SNIH_OPEN:
    case SNIH_CONSUMED:
      return length == 4;
    case SNIH_SERVER_NAME:
    case SNIH_ALPN:
      return length >= 1 && length <= 255;
    case SNIH_CLIENT_ADDRESS:
    case SNIH_SERVER_ADDRESS:
      return length == 6 || length == 18;
    default:
      return length == 1;
  }
}

static int snih_read_field(struct sni_handoff *receiver, uint32_t type, const uint8_t *at, uint32_t length,
                           struct sni_handoff_info *info) {
  if (!snih_has_size(type, length)) return snih_wrong(receiver, "field %u of %u bytes", type, length);
  switch (type) {
    case SNIH_CONNECTION_ID:
      info->connection_id = snih_get64(at);
      break;
    case SNIH_ACCEPTED_AT:
      info->accepted_at = snih_get64(at);
      break;
    case SNIH_FLAGS:
      info->flags = snih_get32(at);
      break;
    case SNIH_SERVER_NAME:
      for (uint32_t i = 0; i < length; i++)
        if (at[i] <= ' ' || at[i] > '~') return snih_wrong(receiver, "a server name with byte %u", at[i]);
      memcpy(info->server_name, at, length);
      info->server_name[length] = 0;
      info->server_name_length = (uint8_t)length;
      break;
    case SNIH_ALPN:
      memcpy(info->alpn, at, length);
      info->alpn[length] = 0;
      info->alpn_length = (uint8_t)length;
      break;
    case SNIH_CLIENT_ADDRESS:
      snih_read_address(at, length, &info->client);
      break;
    case SNIH_SERVER_ADDRESS:
      snih_read_address(at, length, &info->server);
      break;
    case SNIH_CONSUMED:
      info->consumed = snih_get32(at);
      break;
    default: /* of other messages */
      break;
  }
  return 0;
}

/* Reads a message into `info`. Returns 0, or -1 if it breaks a rule. */
static int snih_decode(struct sni_handoff *receiver, const uint8_t *bytes, uint32_t length,
                       struct sni_handoff_info *info) {
  if (length > SNIH_MOST_MESSAGE)
    return snih_wrong(receiver, "a message of %u bytes; at most %d are allowed", length, SNIH_MOST_MESSAGE);
  if (length < SNIH_HEADER)
    return snih_wrong(receiver, "a message of %u bytes, shorter than its header of %d", length, SNIH_HEADER);
  if (bytes[0] != SNIH_VERSION)
    return snih_wrong(receiver, "version %u; version %d was agreed", bytes[0], SNIH_VERSION);
  if (snih_get16(bytes + 2) != length)
    return snih_wrong(receiver, "a message that states %u bytes and has %u", snih_get16(bytes + 2), length);
  info->connection_id = info->accepted_at = 0;
  info->flags = info->consumed = 0;
  info->client.any.sa_family = info->server.any.sa_family = AF_UNSPEC;
  info->server_name_length = info->alpn_length = 0;
  info->server_name[0] = info->alpn[0] = 0;
  uint32_t present = 0;
  for (uint32_t at = SNIH_HEADER; at < length;) {
    if (length - at < 4) return snih_wrong(receiver, "a field that overruns its message");
    uint32_t type = snih_get16(bytes + at), size = snih_get16(bytes + at + 2);
    at += 4;
    if (size > length - at) return snih_wrong(receiver, "field %u, which overruns its message", type);
    if (type >= SNIH_VERSIONS && type <= SNIH_SERVER_ADDRESS) {
      if (present & 1u << type) return snih_wrong(receiver, "field %u twice", type);
      present |= 1u << type;
      if (snih_read_field(receiver, type, bytes + at, size, info) == -1) return -1;
    }
    at += size;
  }
  uint32_t needed = 1u << SNIH_CONNECTION_ID | 1u << SNIH_ACCEPTED_AT | 1u << SNIH_FLAGS;
  if (bytes[1] == SNIH_HANDOFF && (present & needed) != needed)
    return snih_wrong(receiver, "HANDOFF without CONNECTION_ID, ACCEPTED_AT or FLAGS");
  return 0;
}

/* Takes `fd` over if it returns 0. */
static int snih_take_handoff(struct sni_handoff *receiver, struct snih_channel *channel, uint32_t sequence, int fd) {
  if (channel->has_received && sequence != channel->last_received + 1)
    return snih_wrong(receiver, "HANDOFF %u after %u; one higher is next", sequence, channel->last_received);
  enum snih_verdict verdict = fd == -1 ? SNIH_NO_DESCRIPTOR : snih_judge(fd);
  if (verdict == SNIH_TAKE && receiver->refuses) verdict = SNIH_DRAINING;
  if (verdict == SNIH_TAKE && receiver->options.most_open != 0 && snih_taking(channel) >= snih_room(receiver))
    verdict = SNIH_OVERLOADED;
  struct snih_unsettled *entry = &channel->unsettled[channel->count++];
  entry->sequence = channel->last_received = sequence;
  entry->fd = fd;
  entry->verdict = verdict;
  channel->has_received = 1;
  return 0;
}

/* Returns 0, 1 for a REVOKE, or -1 for a violation. In either case the channel is over. */
static int snih_take_message(struct sni_handoff *receiver, struct snih_channel *channel, unsigned i) {
  const uint8_t *bytes = receiver->bytes[i];
  int fd, is_sole;
  int has_descriptor = snih_take_descriptor(&receiver->headers[i].msg_hdr, &fd, &is_sole);
  /* Beyond the window there is no entry to decode it into. */
  struct sni_handoff_info beyond;
  int has_room = channel->count < receiver->options.window;
  struct sni_handoff_info *info = has_room ? &channel->unsettled[channel->count].info : &beyond;
  int result = snih_decode(receiver, bytes, receiver->headers[i].msg_len, info);
  if (result == 0) {
    uint32_t sequence = snih_get32(bytes + 4);
    if (bytes[1] == SNIH_HANDOFF) {
      result = has_room ? snih_take_handoff(receiver, channel, sequence, fd)
                        : snih_wrong(receiver, "HANDOFF %u exceeds the window of %u", sequence, receiver->options.window);
      if (result == 0) return 0;
    } else if (has_descriptor) {
      result = snih_wrong(receiver, "a message of type %u with a descriptor", bytes[1]);
    } else if (bytes[1] != SNIH_REVOKE) {
      result = snih_wrong(receiver, "a message of type %u, which %s", bytes[1],
                          bytes[1] >= SNIH_READY && bytes[1] <= SNIH_DRAIN ? "only instances send" : "is unknown");
    } else if (channel->has_acknowledged && (int32_t)(channel->last_acknowledged - sequence) > 0) {
      /* Never behind the last ACK; ahead of it if the last ones were refused. */
      result = snih_wrong(receiver, "REVOKE after %u, but %u was acknowledged", sequence, channel->last_acknowledged);
    } else {
      result = 1;
    }
  }
  if (fd != -1) close(fd);
  return result;
}

static int snih_is_nothing(const struct mmsghdr *header) {
  return header->msg_len == 0 && header->msg_hdr.msg_controllen == 0 && !(header->msg_hdr.msg_flags & MSG_CTRUNC);
}

/* One batch; returns how many messages came, or -1 with errno. At the channel's end *is_ended is 1. */
static int snih_receive(struct sni_handoff *receiver, int fd, int *is_ended) {
  int received, resets = 0;
  *is_ended = 0;
  do {
    for (; receiver->used > 0; receiver->used--) {
      struct msghdr *header = &receiver->headers[receiver->used - 1].msg_hdr;
      header->msg_controllen = sizeof(union snih_control);
      header->msg_flags = 0;
    }
    received = recvmmsg(fd, receiver->headers, SNIH_BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC, NULL);
    /* A reset is told before the messages that are still there. */
  } while (received == -1 && (errno == EINTR || ((errno == ECONNRESET || errno == EPIPE) && resets++ < 8)));
  if (received == -1) return errno == EAGAIN ? 0 : -1;
  receiver->used = (unsigned)received;
  if (received < SNIH_BATCH) return received;
  /* At the end recvmsg returns 0 without an error, so that recvmmsg fills all that is left with nothing. */
  int messages = received;
  while (messages > 0 && snih_is_nothing(&receiver->headers[messages - 1])) messages--;
  if (messages == received) return received;
  char byte;
  ssize_t more;
  do more = recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  while (more == -1 && (errno == EINTR || errno == ECONNRESET));
  *is_ended = more == 0;
  return *is_ended ? messages : received; /* an empty record is no end, and no message either */
}

static void snih_read(struct sni_handoff *receiver, struct snih_channel *channel) {
  char name[64];
  int is_ended, result = 0;
  int count = snih_receive(receiver, channel->fd, &is_ended);
  if (count == -1) {
    snih_warn(receiver, channel->peer.pid, "cannot read from the door, %s: %s; its channel is closed",
              snih_name(&channel->peer, name), strerror(errno));
    result = 1;
  }
  for (int i = 0; i < count; i++) {
    if (result == 0) {
      result = snih_take_message(receiver, channel, (unsigned)i);
    } else {
      int fd, is_sole;
      snih_take_descriptor(&receiver->headers[i].msg_hdr, &fd, &is_sole);
      if (fd != -1) close(fd);
    }
  }
  if (result == -1)
    snih_warn(receiver, channel->peer.pid, "protocol violation by the door, %s: %s; its channel is closed",
              snih_name(&channel->peer, name), receiver->wrong);
  if (result != 0) {
    snih_discard(receiver, channel);
    snih_end_channel(receiver, channel);
  } else if (is_ended) {
    /* Without a REVOKE the door is gone: nobody else has what it left here. */
    snih_end_channel(receiver, channel);
    snih_own(receiver, channel);
  } else {
    snih_settle(receiver, channel);
  }
}

/* --- channels ----------------------------------------------------------------------------------------------------- */

static int snih_is_allowed(const struct sni_handoff *receiver, uid_t uid) {
  if (receiver->options.allowed_user_count == 0) return 1;
  for (size_t i = 0; i < receiver->options.allowed_user_count; i++)
    if (receiver->options.allowed_users[i] == uid) return 1;
  return 0;
}

/* Takes `fd` over. */
static void snih_admit(struct sni_handoff *receiver, int fd) {
  char name[64];
  struct ucred peer;
  memset(&peer, 0, sizeof peer);
  peer.uid = (uid_t)-1; /* nobody's, if the kernel does not tell */
  socklen_t length = sizeof peer;
  getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length);
  if (!snih_is_allowed(receiver, peer.uid)) {
    snih_warn(receiver, peer.pid, "%s may not be a door at %s: not one of the allowed users", snih_name(&peer, name),
              receiver->path);
    close(fd);
    return;
  }
  unsigned channels = 0;
  for (const struct snih_channel *each = receiver->channels; each != NULL; each = each->next)
    channels += each->peer.pid == peer.pid && !each->is_closed;
  if (channels >= SNIH_MOST_CHANNELS) {
    snih_warn(receiver, peer.pid, "%s has %d channels at %s, more than any door needs: another is closed",
              snih_name(&peer, name), SNIH_MOST_CHANNELS, receiver->path);
    close(fd);
    return;
  }
  struct snih_channel *channel = (struct snih_channel *)calloc(1, sizeof *channel);
  if (channel != NULL)
    channel->unsettled = (struct snih_unsettled *)calloc(receiver->options.window, sizeof *channel->unsettled);
  if (channel == NULL || channel->unsettled == NULL ||
      snih_watch(receiver, EPOLL_CTL_ADD, fd, EPOLLIN, channel) == -1) {
    snih_warn(receiver, 0, "cannot take a channel: %s", strerror(errno));
    if (channel != NULL) free(channel->unsettled);
    free(channel);
    close(fd);
    return;
  }
  channel->fd = fd;
  channel->peer = peer;
  channel->rests = 1;
  channel->next = receiver->channels;
  receiver->channels = channel;
  receiver->counts.channels++;
  snih_report(receiver, channel); /* READY: until then the door sends nothing */
}

static void snih_accept(struct sni_handoff *receiver) {
  for (unsigned i = 0; i < SNIH_ACCEPTS && receiver->listener != -1; i++) {
    int fd = accept4(receiver->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd >= 0) {
      snih_admit(receiver, fd);
    } else if (errno == EAGAIN) {
      return;
    } else if (errno != EINTR && errno != ECONNABORTED) {
      snih_warn(receiver, 0, "cannot accept a channel at %s: %s", receiver->path, strerror(errno));
      snih_watch(receiver, EPOLL_CTL_MOD, receiver->listener, 0, &receiver->listener);
      snih_due(receiver, SNIH_AT_REST, SNIH_ACCEPT_REST);
      return;
    }
  }
}

static void snih_on_timer(struct sni_handoff *receiver) {
  uint64_t expirations, due[SNIH_TIMERS], now = snih_now();
  if (read(receiver->timer, &expirations, sizeof expirations) != (ssize_t)sizeof expirations) return;
  receiver->armed = 0;
  memcpy(due, receiver->due, sizeof due);
  memset(receiver->due, 0, sizeof receiver->due);
  for (int which = 0; which < SNIH_TIMERS; which++)
    if (due[which] > now) snih_due(receiver, (enum snih_timer)which, (unsigned)((due[which] - now + 999999) / 1000000));
  if (due[SNIH_AT_REST] != 0 && due[SNIH_AT_REST] <= now && receiver->listener != -1 &&
      snih_watch(receiver, EPOLL_CTL_MOD, receiver->listener, EPOLLIN, &receiver->listener) == -1)
    snih_due(receiver, SNIH_AT_REST, SNIH_ACCEPT_REST);
  if (due[SNIH_AT_REPORT] != 0 && due[SNIH_AT_REPORT] <= now)
    for (struct snih_channel *each = receiver->channels; each != NULL; each = each->next) snih_report(receiver, each);
  if (due[SNIH_AT_DEADLINE] == 0 || due[SNIH_AT_DEADLINE] > now) return;
  for (struct snih_channel *each = receiver->channels; each != NULL; each = each->next) {
    snih_discard(receiver, each);
    snih_end_channel(receiver, each);
  }
}

static void snih_free_closed(struct sni_handoff *receiver) {
  for (struct snih_channel **at = &receiver->channels; *at != NULL;) {
    struct snih_channel *each = *at;
    if (!each->is_closed) {
      at = &each->next;
      continue;
    }
    *at = each->next;
    free(each->unsettled);
    free(each);
  }
}

int sni_handoff_step(struct sni_handoff *receiver) {
  struct epoll_event events[64];
  if (receiver->is_stepping) return 1;
  int count = epoll_wait(receiver->epoll, events, 64, 0);
  receiver->is_stepping = 1;
  for (int i = 0; i < count; i++) {
    if (events[i].data.ptr == &receiver->timer) {
      snih_on_timer(receiver);
    } else if (events[i].data.ptr == &receiver->listener) {
      snih_accept(receiver);
    } else {
      struct snih_channel *channel = (struct snih_channel *)events[i].data.ptr;
      if (!channel->is_closed && (events[i].events & EPOLLOUT)) {
        /* Again, if it failed before: this event would be there all the time. */
        snih_watch(receiver, EPOLL_CTL_MOD, channel->fd, EPOLLIN, channel);
        if (channel->waits) {
          channel->waits = 0;
          snih_report(receiver, channel);
        }
      }
      if (!channel->is_closed && (events[i].events & ~(uint32_t)EPOLLOUT)) snih_read(receiver, channel);
    }
  }
  receiver->is_stepping = 0;
  snih_free_closed(receiver);
  return !receiver->is_draining || receiver->channels != NULL;
}

/* --- the path ----------------------------------------------------------------------------------------------------- */

__attribute__((format(printf, 2, 3))) static int snih_fail(char *error, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(error, SNIH_ERROR, format, arguments);
  va_end(arguments);
  return -1;
}

static int snih_address(const char *path, struct sockaddr_un *address, socklen_t *length) {
  size_t size = strlen(path);
  int is_abstract = path[0] == '@';
  if (size == 0 || size + !is_abstract > sizeof address->sun_path) return -1;
  memset(address, 0, sizeof *address);
  address->sun_family = AF_UNIX;
  memcpy(address->sun_path, path, size);
  if (is_abstract) address->sun_path[0] = 0;
  *length = is_abstract ? (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size) : (socklen_t)sizeof *address;
  return 0;
}

/* One process at a time binds or removes paths of a folder. Returns a descriptor whose close unlocks, or -1. */
static int snih_lock(const char *folder, char *error) {
  int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1) return snih_fail(error, "cannot open the folder %s: %s", folder, strerror(errno));
  const struct timespec wait = {0, 10 * 1000 * 1000};
  for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) == -1; tries++) {
    if (tries < 200 && (errno == EWOULDBLOCK || errno == EINTR)) {
      nanosleep(&wait, NULL);
      continue;
    }
    close(fd);
    return snih_fail(error, "another process has kept the folder %s locked (flock) for 2 s", folder);
  }
  return fd;
}

enum snih_found { SNIH_ABSENT, SNIH_STALE, SNIH_ALIVE, SNIH_UNUSABLE };

/* What is at a path that could not be bound. */
static enum snih_found snih_probe(const char *path, char owner[64], char *error) {
  struct stat status;
  struct sockaddr_un address;
  socklen_t length;
  strcpy(owner, "a living process");
  if (path[0] != '@') {
    if (lstat(path, &status) == -1) return SNIH_ABSENT;
    if (!S_ISSOCK(status.st_mode)) {
      snih_fail(error, "%s exists and is no socket; remove it or choose another path", path);
      return SNIH_UNUSABLE;
    }
  }
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  int result = fd == -1 || snih_address(path, &address, &length) == -1
                   ? -1
                   : connect(fd, (const struct sockaddr *)&address, length);
  enum snih_found found = SNIH_ALIVE;
  if (result == 0) {
    struct ucred holder;
    length = sizeof holder;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &holder, &length) == 0) snih_name(&holder, owner);
  } else if (errno == ECONNREFUSED) {
    found = path[0] == '@' ? SNIH_ABSENT : SNIH_STALE;
  } else if (errno == ENOENT) {
    found = SNIH_ABSENT;
    /* A full backlog, a socket of another type: somebody lives there. */
  } else if (errno != EAGAIN && errno != EPROTOTYPE) {
    snih_fail(error, "cannot connect to %s, to see whether it is in use: %s", path, strerror(errno));
    found = SNIH_UNUSABLE;
  }
  if (fd != -1) close(fd);
  return found;
}

/* Owner and mode of a path that bind made; a link that somebody put in its place is not followed. */
static int snih_set_permissions(const char *path, const struct sni_handoff_options *options, struct stat *status) {
  int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd == -1) return -1;
  char link[sizeof "/proc/self/fd/" + 12];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  int result = fstat(fd, status);
  if (result == 0 && (options->owner != (uid_t)-1 || options->group != (gid_t)-1))
    result = fchownat(fd, "", options->owner, options->group, AT_EMPTY_PATH);
  if (result == 0 && (status->st_mode & 07777) != options->mode) result = chmod(link, options->mode);
  int code = errno;
  close(fd);
  errno = code;
  return result;
}

static int snih_listen(struct sni_handoff *receiver, const char *path) {
  struct sockaddr_un address;
  struct stat status;
  socklen_t length;
  memset(&status, 0, sizeof status);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd == -1) return -1;
  int is_abstract = path[0] == '@', is_bound = 0, result = snih_address(path, &address, &length);
  if (result == -1) errno = ENAMETOOLONG;
  /* The mode of a socket is the mode of the path that bind makes, but for the umask: it is never open to more. */
  if (result == 0 && !is_abstract) result = fchmod(fd, receiver->options.mode);
  if (result == 0) is_bound = (result = bind(fd, (const struct sockaddr *)&address, length)) == 0;
  if (result == 0 && !is_abstract) result = snih_set_permissions(path, &receiver->options, &status);
  if (result == 0) result = listen(fd, SNIH_BACKLOG);
  if (result == 0) {
    receiver->device = status.st_dev;
    receiver->inode = status.st_ino;
    return fd;
  }
  int code = errno;
  if (is_bound && !is_abstract) unlink(path);
  close(fd);
  errno = code;
  return -1;
}

static int snih_bind(struct sni_handoff *receiver, const char *path, char *error) {
  char owner[64];
  for (int attempt = 0;; attempt++) {
    receiver->listener = snih_listen(receiver, path);
    if (receiver->listener != -1) break;
    if (errno != EADDRINUSE || attempt == 3) return snih_fail(error, "cannot listen on %s: %s", path, strerror(errno));
    switch (snih_probe(path, owner, error)) {
      case SNIH_ALIVE:
        return snih_fail(error, "%s is in use by %s; stop it, choose another path, or use a folder for several processes",
                         path, owner);
      case SNIH_UNUSABLE:
        return -1;
      case SNIH_STALE:
        unlink(path);
        break;
      case SNIH_ABSENT:
        break;
    }
  }
  strcpy(receiver->path, path);
  return 0;
}

/* <pid>-<hexadecimal>.sock: what receivers call their sockets in a folder. Only these are removed there when stale. */
static int snih_is_own_name(const char *name) {
  size_t digits = strspn(name, "0123456789");
  if (digits == 0 || name[digits] != '-') return 0;
  size_t letters = strspn(name + digits + 1, "0123456789abcdef");
  return letters > 0 && strcmp(name + digits + 1 + letters, ".sock") == 0;
}

static int snih_bind_in_folder(struct sni_handoff *receiver, const char *folder, char *error) {
  char path[sizeof receiver->path], ignored[SNIH_ERROR];
  size_t length = strlen(folder);
  const char *slash = length > 0 && folder[length - 1] == '/' ? "" : "/";
  DIR *entries = opendir(folder);
  for (struct dirent *each; entries != NULL && (each = readdir(entries)) != NULL;) {
    char owner[64];
    if (!snih_is_own_name(each->d_name)) continue;
    if ((size_t)snprintf(path, sizeof path, "%s%s%s", folder, slash, each->d_name) >= sizeof path) continue;
    if (snih_probe(path, owner, ignored) == SNIH_STALE) unlink(path);
  }
  if (entries != NULL) closedir(entries);
  uint32_t random = (uint32_t)(snih_now() ^ (uintptr_t)receiver >> 4);
  if ((size_t)snprintf(path, sizeof path, "%s%s%d-%08x.sock", folder, slash, (int)getpid(), random) >= sizeof path)
    return snih_fail(error, "the folder %s is too long for a socket's path", folder);
  return snih_bind(receiver, path, error);
}

static int snih_claim(struct sni_handoff *receiver, const char *path, char *error) {
  struct stat status;
  char folder[PATH_MAX];
  size_t length = strlen(path);
  if (path[0] == '@') return snih_bind(receiver, path, error);
  if (length > sizeof receiver->path - 2)
    return snih_fail(error, "the path %s has %zu bytes; %zu are allowed", path, length, sizeof receiver->path - 2);
  int in_folder = path[length - 1] == '/' || (stat(path, &status) == 0 && S_ISDIR(status.st_mode));
  strcpy(folder, path);
  char *slash = strrchr(folder, '/');
  if (!in_folder && slash == NULL) strcpy(folder, ".");
  else if (!in_folder) slash[slash == folder] = 0;
  int lock = snih_lock(folder, error);
  if (lock == -1) return -1;
  int result = in_folder ? snih_bind_in_folder(receiver, path, error) : snih_bind(receiver, path, error);
  close(lock);
  return result;
}

/* Removes the path if it is still the one that was bound here: while the listener is open, its inode is nobody else's. */
static void snih_release(struct sni_handoff *receiver) {
  if (receiver->listener == -1) return;
  if (!receiver->is_passed && receiver->path[0] != '@') {
    char folder[sizeof receiver->path], ignored[SNIH_ERROR];
    struct stat status;
    strcpy(folder, receiver->path);
    char *slash = strrchr(folder, '/');
    if (slash == NULL) strcpy(folder, ".");
    else slash[slash == folder] = 0;
    int lock = snih_lock(folder, ignored);
    if (lock != -1) {
      if (lstat(receiver->path, &status) == 0 && status.st_dev == receiver->device && status.st_ino == receiver->inode)
        unlink(receiver->path);
      close(lock);
    }
  }
  /* A manager's descriptor is open in the manager too: what is closed while others have it stays in an epoll set. */
  epoll_ctl(receiver->epoll, EPOLL_CTL_DEL, receiver->listener, NULL);
  close(receiver->listener);
  receiver->listener = -1;
}

static int snih_is_same_path(const char *a, const char *b) {
  char real_a[PATH_MAX], real_b[PATH_MAX];
  if (strcmp(a, b) == 0) return 1;
  return a[0] == '/' && b[0] != '@' && realpath(a, real_a) != NULL && realpath(b, real_b) != NULL &&
         strcmp(real_a, real_b) == 0;
}

/* The path that a descriptor is bound to, "" for none; -1 if it is no unix socket. */
static int snih_path_of(int fd, char path[sizeof(((struct sockaddr_un *)0)->sun_path) + 1]) {
  struct sockaddr_un address;
  socklen_t length = sizeof address;
  memset(&address, 0, sizeof address);
  if (getsockname(fd, (struct sockaddr *)&address, &length) == -1 || address.sun_family != AF_UNIX) return -1;
  size_t start = offsetof(struct sockaddr_un, sun_path), size = length > start ? length - start : 0;
  if (size > sizeof address.sun_path) size = sizeof address.sun_path;
  memcpy(path, address.sun_path, size);
  path[size] = 0;
  if (size > 1 && path[0] == 0) path[0] = '@';
  return 0;
}

/* sd_listen_fds(3). Returns 1 if the service manager passed the socket, 0 if not, -1 with the reason. */
static int snih_take_passed(struct sni_handoff *receiver, const char *path, const char *name, char *error) {
  const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS"), *names = getenv("LISTEN_FDNAMES");
  int count = pid != NULL && fds != NULL && atol(pid) == (long)getpid() ? atoi(fds) : 0;
  int end = count < SNIH_MOST_PASSED ? 3 + count : 3 + SNIH_MOST_PASSED;
  for (int fd = 3; fd < end; fd++) {
    size_t length = names == NULL ? 0 : strcspn(names, ":");
    int is_named = name != NULL && names != NULL && strlen(name) == length && strncmp(name, names, length) == 0;
    if (names != NULL) names += length + (names[length] == ':');
    int is_unix = snih_path_of(fd, receiver->path) == 0;
    if (name != NULL ? !is_named : !is_unix || path == NULL || !snih_is_same_path(receiver->path, path)) continue;
    int type = 0, listens = 0;
    socklen_t size = sizeof type;
    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
    size = sizeof listens;
    getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &size);
    if (!is_unix || type != SOCK_SEQPACKET || !listens)
      return snih_fail(error, "the passed descriptor %d is no listening SEQPACKET socket: %s", fd,
                       "ListenSequentialPacket= in the .socket unit");
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) == -1 || fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) == -1)
      return snih_fail(error, "cannot use the passed descriptor %d: %s", fd, strerror(errno));
    receiver->listener = fd;
    receiver->is_passed = 1;
    return 1;
  }
  if (name != NULL && count > 0)
    return snih_fail(error, "no passed descriptor is named \"%s\": FileDescriptorName= in the .socket unit", name);
  return 0;
}

/* --- the receiver ------------------------------------------------------------------------------------------------- */

struct sni_handoff_options sni_handoff_defaults(const char *path,
                                                void (*on_connection)(void *, int, const struct sni_handoff_info *),
                                                void *context) {
  struct sni_handoff_options options;
  memset(&options, 0, sizeof options);
  options.path = path;
  options.mode = 0660;
  options.owner = (uid_t)-1;
  options.group = (gid_t)-1;
  options.window = SNIH_MOST_WINDOW;
  options.weight = 1;
  options.drain_timeout = 10000;
  options.on_connection = on_connection;
  options.context = context;
  return options;
}

static int snih_check(const struct sni_handoff_options *options, char *error) {
  if (options->on_connection == NULL) return snih_fail(error, "on_connection is needed");
  if ((options->path == NULL || options->path[0] == 0) && options->passed_name == NULL)
    return snih_fail(error, "path (or passed_name) is needed");
  if (options->window < 1 || options->window > SNIH_MOST_WINDOW)
    return snih_fail(error, "window is %u; 1 to %d are allowed", options->window, SNIH_MOST_WINDOW);
  if (options->weight < 1 || options->weight > 65535)
    return snih_fail(error, "weight is %u; 1 to 65535 are allowed", options->weight);
  if (options->mode > 0777) return snih_fail(error, "mode is 0%o; 0 to 0777 are allowed", (unsigned)options->mode);
  if (options->most_open != 0 && !options->tells_ended)
    return snih_fail(error, "most_open needs tells_ended: who does not tell ends has no open count");
  return 0;
}

static int snih_start(struct sni_handoff *receiver, char *error) {
  const char *path = receiver->options.path;
  int is_passed = snih_take_passed(receiver, path, receiver->options.passed_name, error);
  if (is_passed == -1) return -1;
  if (!is_passed && (path == NULL || path[0] == 0))
    return snih_fail(error, "no socket named \"%s\" was passed (LISTEN_FDS), and there is no path to bind instead",
                     receiver->options.passed_name);
  if (!is_passed && snih_claim(receiver, path, error) == -1) return -1;
  receiver->epoll = epoll_create1(EPOLL_CLOEXEC);
  receiver->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
  if (receiver->epoll == -1 || receiver->timer == -1 ||
      snih_watch(receiver, EPOLL_CTL_ADD, receiver->timer, EPOLLIN, &receiver->timer) == -1 ||
      snih_watch(receiver, EPOLL_CTL_ADD, receiver->listener, EPOLLIN, &receiver->listener) == -1)
    return snih_fail(error, "cannot make an epoll set with a timer: %s", strerror(errno));
  return 0;
}

struct sni_handoff *sni_handoff_open(const struct sni_handoff_options *options, char error[SNI_HANDOFF_ERROR_LENGTH]) {
  error[0] = 0;
  if (snih_check(options, error) == -1) return NULL;
  struct sni_handoff *receiver = (struct sni_handoff *)calloc(1, sizeof *receiver);
  if (receiver == NULL) {
    snih_fail(error, "no memory for a receiver");
    return NULL;
  }
  receiver->options = *options;
  receiver->epoll = receiver->timer = receiver->listener = -1;
  receiver->used = SNIH_BATCH;
  for (unsigned i = 0; i < SNIH_BATCH; i++) {
    receiver->vectors[i].iov_base = receiver->bytes[i];
    receiver->vectors[i].iov_len = SNIH_MOST_MESSAGE;
    receiver->headers[i].msg_hdr.msg_iov = &receiver->vectors[i];
    receiver->headers[i].msg_hdr.msg_iovlen = 1;
    receiver->headers[i].msg_hdr.msg_control = &receiver->controls[i];
  }
  if (snih_start(receiver, error) == 0) return receiver;
  sni_handoff_close(receiver);
  return NULL;
}

const char *sni_handoff_path(const struct sni_handoff *receiver) { return receiver->path; }

int sni_handoff_fd(const struct sni_handoff *receiver) { return receiver->epoll; }

void sni_handoff_drain(struct sni_handoff *receiver, int refuse) {
  if (refuse) receiver->refuses = 1;
  if (!receiver->is_draining) {
    receiver->is_draining = 1;
    snih_release(receiver);
    snih_due(receiver, SNIH_AT_DEADLINE, receiver->options.drain_timeout);
    snih_due(receiver, SNIH_AT_REPORT, 0); /* without channels, nothing else would have step called again */
  }
  for (struct snih_channel *each = receiver->channels; each != NULL; each = each->next) {
    each->drain_due = 1;
    snih_settle(receiver, each);
  }
}

void sni_handoff_ended(struct sni_handoff *receiver) {
  if (receiver->open > 0) receiver->open--;
  if (!receiver->options.tells_ended) return;
  unsigned delay = SNIH_COUNT_INTERVAL;
  for (struct snih_channel *each = receiver->channels; each != NULL; each = each->next)
    if (each->rests) delay = SNIH_ROOM_INTERVAL;
  if (receiver->due[SNIH_AT_REPORT] == 0 || delay == SNIH_ROOM_INTERVAL) snih_due(receiver, SNIH_AT_REPORT, delay);
}

struct sni_handoff_counts sni_handoff_counts(const struct sni_handoff *receiver) {
  struct sni_handoff_counts counts = receiver->counts;
  counts.open = receiver->open;
  return counts;
}

union sni_handoff_address sni_handoff_client(int fd, const struct sni_handoff_info *info) {
  union sni_handoff_address address = info->client;
  if (address.any.sa_family != AF_UNSPEC) return address;
  socklen_t length = sizeof address;
  memset(&address, 0, sizeof address);
  if (getpeername(fd, &address.any, &length) == -1) address.any.sa_family = AF_UNSPEC;
  return address;
}

void sni_handoff_close(struct sni_handoff *receiver) {
  if (receiver == NULL) return;
  snih_release(receiver);
  for (struct snih_channel *each = receiver->channels; each != NULL; each = each->next) {
    snih_discard(receiver, each);
    snih_end_channel(receiver, each);
  }
  snih_free_closed(receiver);
  if (receiver->timer != -1) close(receiver->timer);
  if (receiver->epoll != -1) close(receiver->epoll);
  free(receiver);
}

#ifdef __cplusplus
}
#endif

#endif /* SNI_HANDOFF_IMPLEMENTED */
#endif /* SNI_HANDOFF_IMPLEMENTATION */
