#include "splicer.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tcp_dial.h"

/* Most bytes of one direction in one call: the other connections shall have their turn. */
enum { MOST_BYTES = 1 << 19 };

/* --- pipes -------------------------------------------------------------------------------------------------------- */

void splicer_prepare(struct splicer *splicer, size_t rows) {
  for (size_t i = 0; i < 2 * rows; i++) splicer->pipes[i] = -1;
  for (int i = 0; i < splicer->most_pipes; i++) {
    splicer->pool[i] = (struct splicer_pipe){-1, -1, 0};
    splicer->free[i] = i;
  }
}

static int idle_pipes(const struct splicer *splicer) { return splicer->open_pipes - splicer->borrowed_pipes; }

static void count_pipes(struct splicer *splicer, int open, int borrowed) {
  splicer->open_pipes += open;
  splicer->borrowed_pipes += borrowed;
  splicer->pool_state[0] = splicer->open_pipes;
  splicer->pool_state[1] = splicer->borrowed_pipes;
}

/*
 * A larger pipe holds more of what a fast sender sends in one call. fcntl(2): EPERM above pipe-user-pages-soft; then it
 * stays as it is.
 */
static bool open_pipe(struct splicer *splicer, int index) {
  int ends[2];
  if (pipe2(ends, O_NONBLOCK | O_CLOEXEC) == -1) return false;
  fcntl(ends[1], F_SETPIPE_SZ, splicer->pipe_bytes);
  int capacity = fcntl(ends[1], F_GETPIPE_SZ);
  splicer->pool[index] = (struct splicer_pipe){.read = ends[0], .write = ends[1], .capacity = capacity};
  count_pipes(splicer, 1, 0);
  return true;
}

static bool borrow(struct splicer *splicer, size_t place) {
  if (splicer->pipes[place] != -1) return true;
  int idle = idle_pipes(splicer);
  if (idle == 0) {
    if (splicer->borrowed_pipes == splicer->most_pipes || !open_pipe(splicer, splicer->free[0])) return false;
    idle = 1;
  }
  /* The one that was used last: its memory is in the cache. */
  splicer->pipes[place] = splicer->free[idle - 1];
  /* What isn't open moves up: the stack has no hole. */
  int behind = splicer->most_pipes - splicer->borrowed_pipes - 1;
  splicer->free[idle - 1] = splicer->free[behind];
  count_pipes(splicer, 0, 1);
  return true;
}

static void close_pipe(struct splicer *splicer, int index) {
  close(splicer->pool[index].read);
  close(splicer->pool[index].write);
  splicer->pool[index] = (struct splicer_pipe){-1, -1, 0};
  count_pipes(splicer, -1, 0);
}

static void give_back(struct splicer *splicer, size_t place) {
  int index = splicer->pipes[place];
  if (index == -1) return;
  splicer->pipes[place] = -1;
  bool is_empty = splicer->held[place] == 0;
  splicer->held[place] = 0;
  if (!is_empty) close_pipe(splicer, index);
  int end = splicer->most_pipes - splicer->borrowed_pipes;
  count_pipes(splicer, 0, -1);
  if (!is_empty) {
    splicer->free[end] = index;
    return;
  }
  int top = idle_pipes(splicer) - 1;
  splicer->free[end] = splicer->free[top];
  splicer->free[top] = index;
}

void splicer_trim(struct splicer *splicer, int keep) {
  /* From the top: closed ones stay where they are, which is behind those that are left. */
  for (int idle = idle_pipes(splicer); idle > keep; idle--) close_pipe(splicer, splicer->free[idle - 1]);
}

/* --- moving ------------------------------------------------------------------------------------------------------- */

static ssize_t move(int from, int to, size_t most) {
  ssize_t moved;
  do moved = splice(from, NULL, to, NULL, most, SPLICE_F_MOVE | SPLICE_F_NONBLOCK);
  while (moved == -1 && errno == EINTR);
  return moved;
}

static enum splicer_outcome fail(struct splicer *splicer, int32_t row, int side, int error) {
  splicer->errors[2 * row + side] = error;
  return SPLICER_FAILED;
}

/*
 * Most connections never need it: bytes that are copied are sent with MSG_DONTWAIT, and the first of them at once, as
 * nothing is unacknowledged that Nagle's algorithm would wait for. A socket that still blocks would have splice(2) block
 * the thread, with all its connections.
 */
static enum splicer_outcome prepare(struct splicer *splicer, int32_t row, int side) {
  if ((splicer->flags[row] & SPLICER_PREPARED(side)) != 0) return 0;
  if (tcp_prepare_relayed(splicer->descriptors[2 * row + side]) == -1) return fail(splicer, row, side, errno);
  splicer->flags[row] |= SPLICER_PREPARED(side);
  return 0;
}

/*
 * Nothing more can be read from a side that EPOLLERR was seen of: was it a failure? A reset that follows FIN leaves no
 * other trace than SO_ERROR.
 */
static enum splicer_outcome settle_broken(struct splicer *splicer, int32_t row, int side) {
  splicer->flags[row] &= ~SPLICER_BROKEN(side);
  int error = tcp_pending_error(splicer->descriptors[2 * row + side]);
  return error == 0 ? 0 : fail(splicer, row, side, error);
}

/* The kernel's trouble, not the connection's: nothing was moved, and it may be again in a moment. */
static bool is_shortage(int error) { return error == ENOMEM || error == ENOBUFS; }

/* Nothing came from `from`, or an end, or an error. */
static enum splicer_outcome not_filled(struct splicer *splicer, int32_t row, int from, ssize_t moved) {
  if (moved == -1 && is_shortage(errno)) return SPLICER_NO_PIPE;
  if (moved == -1 && errno != EAGAIN) return fail(splicer, row, from, errno);
  splicer->flags[row] &= ~SPLICER_READABLE(from);
  if (moved == 0) splicer->flags[row] |= SPLICER_ENDED(from);
  return 0;
}

/* The pipe is empty, and has room for them: F_GETPIPE_SZ. */
static bool park(struct splicer *splicer, size_t place, const uint8_t *bytes, size_t length) {
  ssize_t written;
  do written = write(splicer->pool[splicer->pipes[place]].write, bytes, length);
  while (written == -1 && errno == EINTR);
  if (written != (ssize_t)length) return false;
  splicer->held[place] = (uint32_t)length;
  return true;
}

/* Reads away what was peeked at, and has been sent. */
static enum splicer_outcome consume(struct splicer *splicer, int32_t row, int from, size_t length) {
  while (length > 0) {
    ssize_t read = recv(splicer->descriptors[2 * row + from], splicer->few, length, MSG_DONTWAIT);
    if (read > 0) length -= (size_t)read;
    else if (read == 0 || errno != EINTR) return fail(splicer, row, from, read == 0 ? EPIPE : errno);
  }
  return 0;
}

/*
 * A few bytes, copied: a short count of recv tells that the queue is empty (epoll(7)), which splice's does not, for it
 * also comes of a pipe whose slots are used up. Without a pipe, where what the other side does not take could be kept, they
 * stay where they are until it does: whoever reads nothing may have all pipes, and is not to stop the others.
 */
static enum splicer_outcome copy_few(struct splicer *splicer, int32_t row, int from, double *bytes) {
  int to = 1 - from;
  size_t place = 2 * (size_t)row + (size_t)from;
  uint32_t *flags = &splicer->flags[row];
  bool may_end = (*flags & (SPLICER_ENDING(from) | SPLICER_BROKEN(from))) != 0;
  bool has_pipe = borrow(splicer, place);
  if (!has_pipe && !may_end && (*flags & SPLICER_WRITABLE(to)) == 0) return SPLICER_NO_PIPE;
  size_t most = has_pipe ? (size_t)splicer->pool[splicer->pipes[place]].capacity : sizeof splicer->few;
  if (most > sizeof splicer->few) most = sizeof splicer->few;
  ssize_t length = recv(splicer->descriptors[place], splicer->few, most, MSG_DONTWAIT | (has_pipe ? 0 : MSG_PEEK));
  if (length == -1 && errno == EINTR) return 0;
  if (length <= 0) return not_filled(splicer, row, from, length);
  if ((size_t)length == most) *flags |= SPLICER_BULK(from);
  else if (has_pipe && !may_end) *flags &= ~SPLICER_READABLE(from);
  ssize_t sent = -1;
  errno = EAGAIN;
  if ((*flags & SPLICER_WRITABLE(to)) != 0) {
    if ((*flags & SPLICER_WRITTEN(to)) != 0 && prepare(splicer, row, to) != 0) return SPLICER_FAILED;
    /* What an end follows goes with it, in one segment. */
    int more = (size_t)length < most && (*flags & SPLICER_ENDING(from)) != 0 ? MSG_MORE : 0;
    sent = send(splicer->descriptors[2 * row + to], splicer->few, (size_t)length, MSG_DONTWAIT | MSG_NOSIGNAL | more);
  }
  if (sent == -1 && errno != EAGAIN && errno != EINTR && !is_shortage(errno)) return fail(splicer, row, to, errno);
  if (sent == -1 && errno == EAGAIN) *flags &= ~SPLICER_WRITABLE(to);
  if (sent == -1) sent = 0;
  else *flags |= SPLICER_WRITTEN(to);
  *bytes += (double)sent;
  if (!has_pipe) return sent == 0 ? SPLICER_NO_PIPE : consume(splicer, row, from, (size_t)sent);
  if (sent == length || park(splicer, place, splicer->few + sent, (size_t)(length - sent))) return 0;
  return fail(splicer, row, to, ENOBUFS);
}

/* Reads from `from` into the empty pipe of the direction, which is borrowed. */
static enum splicer_outcome fill(struct splicer *splicer, int32_t row, int from) {
  size_t place = 2 * (size_t)row + (size_t)from;
  if (prepare(splicer, row, from) != 0) return SPLICER_FAILED;
  int pipe = splicer->pool[splicer->pipes[place]].write;
  ssize_t moved = move(splicer->descriptors[place], pipe, MOST_BYTES);
  if (moved > 0) splicer->held[place] = (uint32_t)moved;
  return moved > 0 ? 0 : not_filled(splicer, row, from, moved);
}

/* Writes from the pipe of the direction to `to`. */
static enum splicer_outcome drain(struct splicer *splicer, int32_t row, int to, double *bytes) {
  size_t place = 2 * (size_t)row + (size_t)(1 - to);
  if (prepare(splicer, row, to) != 0) return SPLICER_FAILED;
  int pipe = splicer->pool[splicer->pipes[place]].read;
  ssize_t moved = move(pipe, splicer->descriptors[2 * row + to], splicer->held[place]);
  if (moved > 0) {
    splicer->held[place] -= (uint32_t)moved;
    *bytes += (double)moved;
  } else if (moved == -1 && errno == EAGAIN) {
    splicer->flags[row] &= ~SPLICER_WRITABLE(to);
  } else if (moved == -1 && is_shortage(errno)) {
    return SPLICER_NO_PIPE;
  } else {
    return fail(splicer, row, to, moved == 0 ? EPIPE : errno);
  }
  return 0;
}

/*
 * The end of one side is the other's to know, but not if that side has failed: what follows a failure reads as an end of
 * file, and passing that on would let a cut-off stream look whole.
 */
static enum splicer_outcome pass_end(struct splicer *splicer, int32_t row, int from) {
  uint32_t *flags = &splicer->flags[row];
  int to = 1 - from;
  if ((*flags & SPLICER_BROKEN(from)) != 0 && settle_broken(splicer, row, from) != 0) return SPLICER_FAILED;
  if (splicer->errors[2 * row + from] != 0) return SPLICER_FAILED;
  *flags |= SPLICER_SHUT(to);
  /* The last of both ends: side 1 is nobody else's, so that closing it says the same. */
  if (to == 1 && (*flags & SPLICER_SHUT(0)) != 0) return 0;
  if (shutdown(splicer->descriptors[2 * row + to], SHUT_WR) == 0) return 0;
  /* It was reset meanwhile, as its own direction finds. After anything else it would wait for the end for ever. */
  return errno == ENOTCONN ? 0 : fail(splicer, row, to, errno);
}

/* One direction, until one of its sides has to be waited for. */
static enum splicer_outcome move_direction(struct splicer *splicer, int32_t row, int from, double *bytes) {
  int to = 1 - from;
  size_t place = 2 * (size_t)row + (size_t)from;
  uint32_t *flags = &splicer->flags[row];
  enum splicer_outcome outcome = 0;
  while (outcome == 0) {
    if (splicer->held[place] > 0) {
      if ((*flags & SPLICER_WRITABLE(to)) == 0) break;
      outcome = drain(splicer, row, to, bytes);
    } else {
      if ((*flags & SPLICER_READABLE(from)) == 0 || (*flags & SPLICER_ENDED(from)) != 0) break;
      if (*bytes >= MOST_BYTES) outcome = SPLICER_MORE;
      else if ((*flags & SPLICER_BULK(from)) != 0 && borrow(splicer, place)) outcome = fill(splicer, row, from);
      else outcome = copy_few(splicer, row, from, bytes);
    }
  }
  if (splicer->held[place] > 0) return outcome;
  give_back(splicer, place);
  if (*bytes < SPLICER_FEW) *flags &= ~SPLICER_BULK(from);
  bool has_ended = (*flags & SPLICER_ENDED(from)) != 0 && (*flags & SPLICER_SHUT(to)) == 0;
  return has_ended ? outcome | pass_end(splicer, row, from) : outcome;
}

static enum splicer_outcome move_row(struct splicer *splicer, int32_t row, double bytes[2]) {
  bytes[0] = bytes[1] = 0;
  enum splicer_outcome outcome = move_direction(splicer, row, 0, &bytes[0]);
  /* After a failure too: what came before a reset is still passed on. */
  outcome |= move_direction(splicer, row, 1, &bytes[1]);
  for (int side = 0; side < 2; side++) {
    uint32_t known = splicer->flags[row];
    bool is_read = (known & SPLICER_READABLE(side)) == 0 || (known & SPLICER_ENDED(side)) != 0;
    if (is_read && (known & SPLICER_BROKEN(side)) != 0) outcome |= settle_broken(splicer, row, side);
  }
  uint32_t both = SPLICER_SHUT(0) | SPLICER_SHUT(1);
  if ((splicer->flags[row] & both) == both) outcome |= SPLICER_DONE;
  return outcome;
}

void splicer_move(struct splicer *splicer, int count) {
  for (int i = 0; i < count; i++) {
    splicer->outcomes[i] = move_row(splicer, splicer->rows[i], &splicer->bytes[2 * i]);
  }
}

void splicer_release(struct splicer *splicer, int32_t row) {
  for (size_t place = 2 * (size_t)row; place < 2 * (size_t)row + 2; place++) {
    give_back(splicer, place);
    splicer->errors[place] = 0;
    splicer->descriptors[place] = -1;
  }
  splicer->flags[row] = 0;
}

void splicer_close(const int32_t *descriptors, int count) {
  for (int i = 0; i < count; i++) close(descriptors[i]);
}
