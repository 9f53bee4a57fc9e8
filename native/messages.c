#include "messages.h"

#include <errno.h>
#include <string.h>

#include "closer.h"
#include "tcp_state.h"

#ifndef SCM_PIDFD
#define SCM_PIDFD 4 /* Linux 6.5: a descriptor too */
#endif

/* --- sending ------------------------------------------------------------------------------------------------------ */

void send_batch_prepare(struct send_batch *batch) {
  for (int i = 0; i < batch->capacity; i++) {
    struct send_slot *slot = &batch->slots[i];
    struct msghdr *header = &batch->headers[i].msg_hdr;
    memset(slot, 0, sizeof *slot);
    *header = (struct msghdr){.msg_iov = &slot->vector, .msg_iovlen = 1, .msg_control = slot->control,
                              .msg_controllen = sizeof slot->control};
    struct cmsghdr *control = CMSG_FIRSTHDR(header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(sizeof(int));
  }
}

int send_batch_check(const struct send_batch *batch, int count) {
  for (int i = 0; i < count; i++) {
    if ((uint64_t)batch->offsets[i] + batch->lengths[i] > batch->buffer_length) return i;
  }
  return -1;
}

static void fill_slot(struct send_batch *batch, int i) {
  struct send_slot *slot = &batch->slots[i];
  struct msghdr *header = &batch->headers[i].msg_hdr;
  slot->vector.iov_base = batch->buffer + batch->offsets[i];
  slot->vector.iov_len = batch->lengths[i];
  if (batch->descriptors[i] == -1) {
    header->msg_control = NULL;
    header->msg_controllen = 0;
    return;
  }
  header->msg_control = slot->control;
  header->msg_controllen = sizeof slot->control;
  memcpy(slot->control + CMSG_LEN(0), &batch->descriptors[i], sizeof(int));
}

/* Messages first..last-1, all of one channel. */
static void send_run(struct send_batch *batch, int first, int last) {
  int next = first;
  while (next < last) {
    int sent = sendmmsg(batch->channels[first], batch->headers + next, (unsigned)(last - next),
                        MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent > 0) { /* less than asked for: the next call tells the errno */
      while (sent-- > 0) batch->results[next++] = 0;
    } else if (errno != EINTR) {
      batch->results[next++] = errno;
      while (next < last) batch->results[next++] = ECANCELED;
    }
  }
}

void send_batch_send(struct send_batch *batch, int count) {
  for (int i = 0; i < count; i++) fill_slot(batch, i);
  for (int first = 0, last; first < count; first = last) {
    last = first + 1;
    while (last < count && batch->channels[last] == batch->channels[first]) last++;
    send_run(batch, first, last);
  }
}

int message_send(int fd, const uint8_t *bytes, size_t length, const int *descriptors, int count) {
  _Alignas(struct cmsghdr) uint8_t space[CMSG_SPACE(MESSAGE_MOST_DESCRIPTORS * sizeof(int))] = {0};
  struct iovec vector = {.iov_base = (void *)bytes, .iov_len = length};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  if (count > 0) {
    size_t size = (size_t)count * sizeof(int);
    header.msg_control = space;
    header.msg_controllen = CMSG_SPACE(size);
    struct cmsghdr *control = CMSG_FIRSTHDR(&header);
    control->cmsg_level = SOL_SOCKET;
    control->cmsg_type = SCM_RIGHTS;
    control->cmsg_len = CMSG_LEN(size);
    memcpy(CMSG_DATA(control), descriptors, size);
  }
  while (sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == -1) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

/* --- receiving ---------------------------------------------------------------------------------------------------- */

static void reset_header(struct receive_batch *batch, int i) {
  struct receive_slot *slot = &batch->slots[i];
  slot->vector = (struct iovec){.iov_base = batch->buffer + (size_t)i * batch->stride, .iov_len = batch->stride};
  batch->headers[i] = (struct mmsghdr){.msg_hdr = {.msg_iov = &slot->vector, .msg_iovlen = 1,
                                                   .msg_control = slot->control,
                                                   .msg_controllen = sizeof slot->control}};
}

void receive_batch_prepare(struct receive_batch *batch) {
  for (int i = 0; i < RECEIVE_CAPACITY; i++) reset_header(batch, i);
  batch->used = 0;
}

/* The descriptors of one message: how many came, the first of them (the others are closed), and who sent it. */
struct ancillary {
  int count;
  int first;
  struct ucred sender;
};

static struct ancillary read_control(struct msghdr *header) {
  struct ancillary found = {.first = -1, .sender = {.pid = -1, .uid = (uid_t)-1, .gid = (gid_t)-1}};
  for (struct cmsghdr *control = CMSG_FIRSTHDR(header); control != NULL; control = CMSG_NXTHDR(header, control)) {
    if (control->cmsg_level != SOL_SOCKET) continue;
    if (control->cmsg_type == SCM_CREDENTIALS) {
      memcpy(&found.sender, CMSG_DATA(control), sizeof found.sender);
    } else if (control->cmsg_type == SCM_RIGHTS) {
      size_t count = (control->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (size_t i = 0; i < count; i++) {
        int fd;
        memcpy(&fd, CMSG_DATA(control) + i * sizeof fd, sizeof fd);
        if (found.count++ == 0) {
          found.first = fd;
        } else {
          closer_close(fd);
        }
      }
    } else if (control->cmsg_type == SCM_PIDFD) {
      int fd;
      memcpy(&fd, CMSG_DATA(control), sizeof fd);
      if (fd >= 0) closer_close(fd);
    }
  }
  return found;
}

static enum arrival judge(const struct ancillary *found, bool truncated, bool keep_descriptors) {
  if (found->count == 0) return truncated ? ARRIVAL_LOST : ARRIVAL_NONE;
  if (found->count > 1 || truncated) return ARRIVAL_SEVERAL;
  if (!keep_descriptors) return ARRIVAL_OTHER;
  switch (tcp_kind(found->first)) {
    case TCP_KIND_CONNECTED:
      return ARRIVAL_TCP;
    case TCP_KIND_DEAD:
      return ARRIVAL_DEAD;
    default:
      return ARRIVAL_OTHER;
  }
}

static void take(struct receive_batch *batch, int i, bool keep_descriptors) {
  struct msghdr *header = &batch->headers[i].msg_hdr;
  struct ancillary found = read_control(header);
  enum arrival arrival = judge(&found, (header->msg_flags & MSG_CTRUNC) != 0, keep_descriptors);
  bool kept = arrival == ARRIVAL_TCP || arrival == ARRIVAL_DEAD;
  if (!kept && found.first != -1) closer_close(found.first);
  batch->lengths[i] = (int32_t)batch->headers[i].msg_len;
  batch->arrivals[i] = (int32_t)arrival;
  batch->descriptors[i] = kept ? found.first : -1;
  batch->credentials[3 * i] = found.sender.pid;
  batch->credentials[3 * i + 1] = (int32_t)found.sender.uid;
  batch->credentials[3 * i + 2] = (int32_t)found.sender.gid;
}

static bool keeps_no_connection(int fd) {
  int type;
  socklen_t length = sizeof type;
  return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &length) == 0 && type == SOCK_DGRAM;
}

/*
 * How many of the `filled` headers from `first` are messages. At a SEQPACKET's end, recvmsg returns 0 without an error,
 * so that recvmmsg fills all that is left with nothing.
 */
static int messages_before_end(const struct receive_batch *batch, int fd, int first, int filled) {
  int count = filled;
  while (count > 0) {
    const struct mmsghdr *header = &batch->headers[first + count - 1];
    if (header->msg_len != 0 || header->msg_hdr.msg_controllen != 0 || header->msg_hdr.msg_flags & MSG_CTRUNC) break;
    count--;
  }
  return count < filled && keeps_no_connection(fd) ? filled : count;
}

int receive_batch_receive(struct receive_batch *batch, int fd, bool keep_descriptors) {
  int count = 0;
  int resets = 0;
  enum receive_end end = RECEIVE_FULL;
  int error = 0;
  for (int i = 0; i < batch->used; i++) reset_header(batch, i);
  batch->used = 0;

  while (count < RECEIVE_CAPACITY) {
    int room = RECEIVE_CAPACITY - count;
    int filled = recvmmsg(fd, batch->headers + count, (unsigned)room, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC, NULL);
    if (filled == -1) {
      if (errno == EINTR) continue;
      if ((errno == ECONNRESET || errno == EPIPE) && resets++ < 8) continue;
      end = errno == EAGAIN ? RECEIVE_EMPTY : RECEIVE_FAILED;
      error = errno == EAGAIN ? 0 : errno;
      break;
    }
    batch->used = count + filled;
    int messages = filled == room ? messages_before_end(batch, fd, count, filled) : filled;
    for (int i = 0; i < messages; i++) take(batch, count + i, keep_descriptors);
    count += messages;
    if (messages < filled) {
      end = RECEIVE_CLOSED;
      break;
    }
    if (batch->is_polled && filled < room) {
      end = RECEIVE_EMPTY;
      break;
    }
  }
  batch->end[0] = (int32_t)end;
  batch->end[1] = error;
  batch->end[2] = resets > 0;
  return count;
}
