#ifndef SNI_HANDOFF_PRELOAD_HELPER_H
#define SNI_HANDOFF_PRELOAD_HELPER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/un.h>

#include "../wire.h"
#include "protocol.h"

/*
 * The helper: one process a path. It owns the path, the door's channels and the far end of each pair, and moves
 * connections from the former to the latter. It keeps none of them: whoever accepts acknowledges, by the channel's
 * descriptor that goes along. What is in the queue of a pair is the door's still, so that neither the helper's end nor
 * the server's loses it.
 */

enum { MOST_CHANNELS = 1024, MOST_CHANNELS_OF_ONE = 256, MOST_RECEIVERS = 512, BATCH = 32 };

/* Kinds of epoll events; the index of the channel or receiver is in the lower half. */
enum watched { WATCH_PATH, WATCH_CHANNEL, WATCH_RECEIVER, WATCH_KEEPER, WATCH_TIMER };

/* A door's worker. */
struct channel {
  int fd;      /* -1: a free place */
  uint32_t id; /* never used again, also not by the helper after this one */
  pid_t pid;   /* the door's */
  bool has_sent;
  uint32_t latest; /* sequence last passed on */
  bool has_aged;
  uint32_t aged; /* what `latest` was a while ago */
  bool has_acknowledged;
  uint32_t acknowledged; /* the last that this process has acknowledged in the server's place */
  /* Of several receivers the one that the last of it went to, which the next ones follow while that is unread. */
  struct receiver *last;
  uint64_t follows_until;
};

/* How a channel ended, remembered for connections whose ACK failed. */
struct ended {
  uint32_t id;
  bool is_known;
  bool is_all_ours; /* its end was read without a REVOKE: the door is gone, and no one else has what it had sent */
  bool has_latest;
  uint32_t latest; /* the last that was ours: of a REVOKE, or of this process's ACKs */
};

enum { MOST_ENDED = 256 };

/* The far end of a pair: a listening socket of the server, shared by those of its processes that inherited it. */
struct receiver {
  int fd; /* -1: a free place */
  sa_family_t family; /* of its address: a server that listens for both families gets each client where it belongs */
  bool is_full;
  bool may_have_unread;
};

/* Received and not passed on yet: the channels are not read meanwhile. */
struct batch {
  unsigned count;
  unsigned sent;
  int channel[BATCH]; /* descriptors beside each; -1 for one that is owned */
  struct channel *from[BATCH]; /* NULL for one that is owned */
  int connection[BATCH];
  size_t length[BATCH];
  struct delivery deliveries[BATCH];
};

/* What was set on the listening sockets: shared memory, so that a helper's successor has it. */
struct options {
  bool is_shared; /* SO_REUSEPORT: another process of the user may listen here, too */
  unsigned count;
  struct inherited_option list[MOST_INHERITED];
};

struct helper {
  int epoll;
  int path_descriptor;
  char path[sizeof(((struct sockaddr_un *)0)->sun_path)];
  uint64_t path_inode[2]; /* device and inode: removed at the end only if it still is this one */
  bool is_draining;
  uint64_t ends_at;       /* draining: milliseconds of CLOCK_MONOTONIC */
  int timer;              /* of the next tick: a timeout of epoll_wait(2) would be set anew for each connection */
  bool is_ticking;
  bool must_recycle;      /* something may be lost that the door has still */
  bool is_waiting;        /* the batch finds no room */
  uint64_t rests_until;   /* waiting: when to try again, or 0 for an event that tells */
  uint32_t next_id;
  unsigned channel_count;
  unsigned receiver_count;
  unsigned next_receiver;
  struct channel channels[MOST_CHANNELS];
  struct ended ended[MOST_ENDED];
  unsigned next_ended;
  struct receiver receivers[MOST_RECEIVERS];
  unsigned returned_count; /* returned.c */
  struct batch batch;
  struct options *options;
  int keeper; /* its process's descriptor, or -1 */
  bool has_lost_keeper;
};

/* channels.c: the door's side. */
void channels_accept(struct helper *helper);
void channel_readable(struct helper *helper, unsigned index);
/* Whether channels are read: not while a batch waits for room. */
void channels_watch(struct helper *helper, bool on);
/* Acknowledges what has waited so long for the server that the door would take it back. */
void channels_age(struct helper *helper);
/* Ends all: the door gives what is not acknowledged elsewhere. */
void channels_close(struct helper *helper);
void channels_drain(struct helper *helper);
struct channel *channel_by_id(struct helper *helper, uint32_t id);
/* What is known of one that has ended; NULL if that is nothing. */
const struct ended *channel_ended(const struct helper *helper, uint32_t id);
void channel_refuse(const struct channel *channel, uint32_t sequence, enum refuse_reason reason);
/* ACK from here, in the server's place: what it takes is the server's, whatever becomes of the channel. False if it failed. */
bool channel_acknowledge(struct channel *channel, uint32_t sequence);
bool channel_has_acknowledged(const struct channel *channel, uint32_t sequence);
/*
 * Descriptors beside a message; those that are too many are closed, since a control buffer's padding may hold one more
 * than it was made for. `*out` is the first, or -1. Returns how many there were.
 */
int take_descriptors(struct msghdr *header, int *out);

/* receivers.c: the server's side. */
bool receivers_add(struct helper *helper, int fd, sa_family_t family);
void receiver_readable(struct helper *helper, unsigned index);
void receiver_writable(struct helper *helper, unsigned index);
/* Passes the batch on as far as there is room. */
void receivers_pass(struct helper *helper);
void receivers_pass_again(struct helper *helper);
/* Whether something waits for the server. */
bool receivers_have_unread(struct helper *helper);

/* returned.c: connections that came back. */
void returned_take(struct helper *helper, const struct delivery *delivery, int fd);
void returned_settle(struct helper *helper);

/* main.c */
void watch(struct helper *helper, int fd, enum watched kind, unsigned index, uint32_t events);
uint64_t now_milliseconds(void);
/* Something was passed on: the tick has a look at it later. */
void start_ticking(struct helper *helper);
/* The last listener of the server is closed. */
void begin_to_end(struct helper *helper, bool has_lost);
/*
 * One line to standard error, or to the system's log where that is a pipe; each cause once for each process that is one
 * (0: none).
 */
enum cause { CAUSE_VIOLATION = 1, CAUSE_FLOOD, CAUSE_DESCRIPTORS, CAUSE_LIMIT, CAUSE_REQUEST };
__attribute__((format(printf, 3, 4))) void tell(enum cause cause, pid_t process, const char *format, ...);

#endif
