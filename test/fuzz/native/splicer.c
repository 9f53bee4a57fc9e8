/*
 * The relay's splicer between pairs of sockets, moved as the input says: every byte comes out once and in order, no pipe
 * is lost, and what JavaScript may write to the shared arrays harms nothing. native/splicer.c, tcp_dial.c.
 */
#include "../../../native/splicer.h"

#include <fcntl.h>
#include <signal.h>

#include "scene.h"

enum { ROWS = 3, BATCH = 4, PIPES = 3 };

static struct splicer splicer;
static int ends[ROWS][2];       /* the other ends of a row's sockets */
static uint8_t written[ROWS][2]; /* what is written next, and what must be read next, of each direction */
static uint8_t expected[ROWS][2];
static bool is_used[ROWS];

static void *array(size_t count, size_t size) {
  void *memory = calloc(count, size);
  CHECK(memory != NULL, "no memory");
  return memory;
}

static void begin(void) {
  memset(&splicer, 0, sizeof splicer);
  splicer.descriptors = array(2 * ROWS, sizeof(int32_t));
  splicer.errors = array(2 * ROWS, sizeof(int32_t));
  splicer.pipes = array(2 * ROWS, sizeof(int32_t));
  splicer.held = array(2 * ROWS, sizeof(uint32_t));
  splicer.flags = array(ROWS, sizeof(uint32_t));
  splicer.rows = array(BATCH, sizeof(int32_t));
  splicer.outcomes = array(BATCH, sizeof(uint32_t));
  splicer.bytes = array(2 * BATCH, sizeof(double));
  splicer.closes = array(BATCH, sizeof(int32_t));
  splicer.pool_state = array(2, sizeof(int32_t));
  splicer.pool = array(PIPES, sizeof *splicer.pool);
  splicer.free = array(PIPES, sizeof *splicer.free);
  splicer.most_pipes = PIPES;
  splicer.pipe_bytes = 4096;
  splicer_prepare(&splicer, ROWS);
  memset(is_used, 0, sizeof is_used);
}

static void open_row(int row) {
  if (is_used[row]) return;
  for (int side = 0; side < 2; side++) {
    int pair[2];
    CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
    splicer.descriptors[2 * row + side] = pair[0];
    ends[row][side] = pair[1];
    written[row][side] = expected[row][side] = 0;
  }
  splicer.flags[row] = SPLICER_WRITABLE(0) | SPLICER_WRITABLE(1) | SPLICER_READABLE(0) | SPLICER_READABLE(1);
  is_used[row] = true;
}

static void close_row(int row) {
  if (!is_used[row]) return;
  int own[] = {splicer.descriptors[2 * row], splicer.descriptors[2 * row + 1]};
  splicer_release(&splicer, row);
  for (int side = 0; side < 2; side++) {
    splicer.closes[side] = own[side];
    close(ends[row][side]);
  }
  splicer_close(splicer.closes, 2);
  is_used[row] = false;
}

static void write_some(int row, int side, size_t most) {
  static uint8_t bytes[1 << 16];
  for (size_t i = 0; i < most; i++) bytes[i] = (uint8_t)(written[row][side] + i);
  ssize_t count = send(ends[row][side], bytes, most, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (count > 0) written[row][side] += (uint8_t)count;
  splicer.flags[row] |= SPLICER_READABLE(side);
}

/* What came from the other side. */
static void read_some(int row, int side, size_t most) {
  static uint8_t bytes[1 << 16];
  ssize_t count = recv(ends[row][side], bytes, most, MSG_DONTWAIT);
  for (ssize_t i = 0; i < count; i++) {
    CHECK(bytes[i] == expected[row][1 - side], "byte %u instead of %u", bytes[i], expected[row][1 - side]);
    expected[row][1 - side]++;
  }
  splicer.flags[row] |= SPLICER_WRITABLE(side);
}

static void check_pipes(void) {
  int open = 0, borrowed = 0;
  bool is_taken[PIPES] = {false};
  for (int i = 0; i < PIPES; i++) open += splicer.pool[i].read != -1;
  for (int place = 0; place < 2 * ROWS; place++) {
    int pipe = splicer.pipes[place];
    if (pipe == -1) continue;
    CHECK(pipe >= 0 && pipe < PIPES && !is_taken[pipe], "pipe %d", pipe);
    CHECK(splicer.pool[pipe].read != -1, "a borrowed pipe is closed");
    is_taken[pipe] = true;
    borrowed++;
  }
  for (int i = 0; i < PIPES - borrowed; i++) {
    int pipe = splicer.free[i];
    CHECK(pipe >= 0 && pipe < PIPES && !is_taken[pipe], "free pipe %d", pipe);
    CHECK((splicer.pool[pipe].read != -1) == (i < open - borrowed), "the stack of free pipes has a hole");
    is_taken[pipe] = true;
  }
  CHECK(splicer.open_pipes == open && splicer.borrowed_pipes == borrowed, "%d and %d pipes of %d and %d",
        splicer.open_pipes, splicer.borrowed_pipes, open, borrowed);
}

/* All that JavaScript may write at any time, but for the descriptors, which are its own to know. */
static void scribble(struct input *input) {
  uint32_t value = take_number(input, 4);
  uint8_t where = take_byte(input);
  switch (where % 5) {
    case 0:
      splicer.pool_state[where >> 4 & 1] = (int32_t)value;
      break;
    case 1:
      splicer.errors[(where >> 4) % (2 * ROWS)] = (int32_t)value;
      break;
    case 2:
      splicer.outcomes[(where >> 4) % BATCH] = value;
      break;
    case 3:
      splicer.bytes[(where >> 4) % (2 * BATCH)] = (double)value;
      break;
    default:
      splicer.flags[(where >> 4) % ROWS] = value;
  }
}

static void act(struct input *input) {
  uint8_t action = take_byte(input);
  int row = (action >> 4) % ROWS, side = action >> 7;
  if (row < ROWS && !is_used[row] && (action & 7) != 6) open_row(row);
  switch (action & 7) {
    case 0:
    case 1: {
      int count = 1 + take_byte(input) % BATCH;
      for (int i = 0; i < count; i++) splicer.rows[i] = (row + i) % ROWS;
      for (int i = 0; i < count; i++)
        if (!is_used[splicer.rows[i]]) open_row(splicer.rows[i]);
      splicer_move(&splicer, count);
      break;
    }
    case 2:
      write_some(row, side, 1 + take_number(input, action & 8 ? 2 : 1) % 60000);
      break;
    case 3:
      read_some(row, side, 1 + take_number(input, action & 8 ? 2 : 1) % 60000);
      break;
    case 4:
      shutdown(ends[row][side], action & 8 ? SHUT_RDWR : SHUT_WR);
      splicer.flags[row] |= SPLICER_READABLE(side) | (action & 8 ? SPLICER_BROKEN(side) : 0) | SPLICER_ENDING(side);
      break;
    case 5:
      close_row(row);
      break;
    case 6:
      splicer_trim(&splicer, take_byte(input) % 4);
      break;
    default:
      scribble(input);
  }
  check_pipes();
}

static void end(void) {
  for (int row = 0; row < ROWS; row++) close_row(row);
  check_pipes();
  splicer_trim(&splicer, 0);
  CHECK(splicer.open_pipes == 0 && splicer.borrowed_pipes == 0, "%d pipes are open", splicer.open_pipes);
  free(splicer.descriptors);
  free(splicer.errors);
  free(splicer.pipes);
  free(splicer.held);
  free(splicer.flags);
  free(splicer.rows);
  free(splicer.outcomes);
  free(splicer.bytes);
  free(splicer.closes);
  free(splicer.pool_state);
  free(splicer.pool);
  free(splicer.free);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static int before;
  struct input input = {bytes, length};
  if (before == 0) {
    signal(SIGPIPE, SIG_IGN); /* as Node does */
    before = open_descriptors();
  }
  begin();
  for (int actions = 0; input.left > 0 && actions < 200; actions++) act(&input);
  end();
  CHECK(open_descriptors() == before, "%d descriptors, %d before", open_descriptors(), before);
  return 0;
}
