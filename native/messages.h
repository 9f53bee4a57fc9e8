#ifndef SNI_HANDOFF_MESSAGES_H
#define SNI_HANDOFF_MESSAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * Messages with descriptors over unix sockets that keep records (SOCK_SEQPACKET, SOCK_DGRAM), many a system call:
 * sendmmsg(2), recvmmsg(2), SCM_RIGHTS and SCM_CREDENTIALS of unix(7).
 *
 * Each batch has arrays, given by the caller before `prepare`, and headers for the kernel, which are made ready once.
 */

/* --- sending ------------------------------------------------------------------------------------------------------ */

struct send_slot {
  struct iovec vector;
  _Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(int))];
};

struct send_batch {
  int capacity;
  int32_t *channels;
  int32_t *descriptors; /* -1: none. They stay the caller's: sending duplicates them */
  uint32_t *offsets;
  uint32_t *lengths;
  uint8_t *buffer;
  size_t buffer_length;
  int32_t *results;        /* 0, or the errno; ECANCELED behind a failed one of the same run */
  struct mmsghdr *headers; /* `capacity` each */
  struct send_slot *slots;
};

void send_batch_prepare(struct send_batch *batch);

/* The first of `count` messages that does not lie within the buffer, or -1. */
int send_batch_check(const struct send_batch *batch, int count);

/* Sends the first `count` messages, which were checked; never blocks, no SIGPIPE. Runs of one channel go in one call. */
void send_batch_send(struct send_batch *batch, int count);

/* Most descriptors in one message: SCM_MAX_FD. */
#define MESSAGE_MOST_DESCRIPTORS 253

/* One message with `count` descriptors, which stay the caller's. Returns 0 or the errno. */
int message_send(int fd, const uint8_t *bytes, size_t length, const int *descriptors, int count);

/* --- receiving ---------------------------------------------------------------------------------------------------- */

/* Values of `Arrival` in src/native/addon.ts. */
enum arrival {
  ARRIVAL_NONE = 0,
  ARRIVAL_TCP = 1,
  ARRIVAL_DEAD = 2,
  ARRIVAL_LOST = 3,
  ARRIVAL_SEVERAL = 4,
  ARRIVAL_OTHER = 5,
};

/* Values of `ReceiveEnd` in src/native/addon.ts. */
enum receive_end { RECEIVE_EMPTY = 0, RECEIVE_FULL = 1, RECEIVE_CLOSED = 2, RECEIVE_FAILED = 3 };

/* Messages that one batch holds, and bytes reserved for each: of channels, and the most that a datagram may have. */
enum { RECEIVE_CAPACITY = 32, RECEIVE_STRIDE = 1024, RECEIVE_MOST_STRIDE = 1 << 16 };

/*
 * Room for several descriptors, and for all that a service manager's socket may add to each message (PassCredentials=,
 * PassSecurity=, PassPIDFD= of systemd.socket(5)); the kernel closes what does not fit and sets MSG_CTRUNC.
 */
#define RECEIVE_CONTROL 256

struct receive_slot {
  struct iovec vector;
  _Alignas(struct cmsghdr) uint8_t control[RECEIVE_CONTROL];
};

struct receive_batch {
  size_t stride;        /* bytes reserved for each message */
  uint8_t *buffer;      /* RECEIVE_CAPACITY * stride */
  int32_t *lengths;     /* true lengths: more than `stride` means truncated */
  int32_t *arrivals;    /* enum arrival */
  int32_t *descriptors; /* for ARRIVAL_TCP and ARRIVAL_DEAD, then the caller's; else -1 */
  int32_t *credentials; /* pid, uid, gid each; -1 without */
  int32_t *end;         /* 3: enum receive_end, errno, whether a reset was seen */
  bool is_polled;       /* a call that gets less than there is room for ends the batch: the caller polls for more */
  int used;             /* headers that the kernel has written to */
  struct mmsghdr headers[RECEIVE_CAPACITY];
  struct receive_slot slots[RECEIVE_CAPACITY];
};

/* The arrays, `stride` and `is_polled` are set. */
void receive_batch_prepare(struct receive_batch *batch);

/*
 * Reads messages until the queue is empty, the peer's end was read or the batch is full; never blocks. Returns how many.
 * Descriptors other than one TCP socket a message are closed (closer.h); without `keep_descriptors` all are, and a
 * single one counts as ARRIVAL_OTHER.
 *
 * ECONNRESET and EPIPE come before messages that are still queued (the peer closed without reading all of ours): they
 * are noted in end[2], and reading goes on. recvmmsg(2) does not tell a SEQPACKET's end from empty records: a batch
 * that ends in them counts as closed. Where recvmmsg got less than there was room for, it has met EAGAIN, or an error
 * that the next call tells: with `is_polled` that call is left to the next batch, as poll(2) will say that it is due.
 */
int receive_batch_receive(struct receive_batch *batch, int fd, bool keep_descriptors);

#endif
