/*
 * The addon's batches of messages, sent and received with what the input says, against a model of what must arrive:
 * native/messages.c, tcp_state.c, closer.c, datagram.c.
 */
#include "../../../native/messages.h"

#include <fcntl.h>

#include "scene.h"

enum { MOST_SENT = 80, SENDS = 8 };

/* What was sent and is not received yet. */
static struct {
  size_t length;
  unsigned count;
  uint32_t pick;
  uint8_t first;
} queue[MOST_SENT];
static unsigned queue_first, queue_count;

static struct receive_batch batch;

static void *array(size_t count, size_t size) {
  void *memory = calloc(count, size);
  CHECK(memory != NULL, "no memory");
  return memory;
}

static void begin(size_t stride, bool is_polled) {
  batch = (struct receive_batch){.stride = stride, .is_polled = is_polled};
  batch.buffer = array(RECEIVE_CAPACITY, stride);
  batch.lengths = array(RECEIVE_CAPACITY, sizeof(int32_t));
  batch.arrivals = array(RECEIVE_CAPACITY, sizeof(int32_t));
  batch.descriptors = array(RECEIVE_CAPACITY, sizeof(int32_t));
  batch.credentials = array(3 * RECEIVE_CAPACITY, sizeof(int32_t));
  batch.end = array(3, sizeof(int32_t));
  receive_batch_prepare(&batch);
  queue_first = queue_count = 0;
}

static void end(void) {
  free(batch.buffer);
  free(batch.lengths);
  free(batch.arrivals);
  free(batch.descriptors);
  free(batch.credentials);
  free(batch.end);
}

static enum arrival expected(unsigned count, uint32_t pick, bool keeps) {
  if (count == 0) return ARRIVAL_NONE;
  if (count > 1) return ARRIVAL_SEVERAL;
  return keeps && (pick & 7) % KINDS == KIND_TCP ? ARRIVAL_TCP : ARRIVAL_OTHER;
}

static void check_received(int count, bool keeps) {
  for (int i = 0; i < count; i++) {
    CHECK(queue_count > 0, "more messages than were sent");
    unsigned next = queue_first++ % MOST_SENT;
    queue_count--;
    size_t length = queue[next].length;
    CHECK(batch.lengths[i] == (int32_t)length, "%d bytes of %zu", batch.lengths[i], length);
    if (length > 0) CHECK(batch.buffer[(size_t)i * batch.stride] == queue[next].first, "another message");
    enum arrival arrival = expected(queue[next].count, queue[next].pick, keeps);
    CHECK(batch.arrivals[i] == (int32_t)arrival, "arrival %d, not %d", batch.arrivals[i], arrival);
    CHECK((batch.descriptors[i] != -1) == (arrival == ARRIVAL_TCP), "descriptor %d", batch.descriptors[i]);
    if (batch.descriptors[i] == -1) continue;
    CHECK((fcntl(batch.descriptors[i], F_GETFD) & FD_CLOEXEC) != 0, "it would go through exec");
    close(batch.descriptors[i]);
  }
}

static void send_one(struct input *input, int fd) {
  size_t length;
  uint8_t count = take_byte(input);
  uint32_t pick = take_number(input, 3);
  size_t most = count & 8 ? 2000 : take_byte(input);
  uint8_t *block = take_block(input, most, &length);
  if (queue_count < MOST_SENT - SENDS && length > 0 && send_record(fd, block, length, count & 7, pick)) {
    unsigned last = (queue_first + queue_count++) % MOST_SENT;
    queue[last].length = length;
    queue[last].count = count & 7;
    queue[last].pick = pick;
    queue[last].first = block[0];
  }
  free(block);
}

/* The same through the addon's own batch, whose arrays are the input's: what does not fit is refused before. */
static void send_batch(struct input *input, int fd) {
  struct send_batch sends = {.capacity = SENDS, .buffer_length = 64};
  sends.channels = array(SENDS, sizeof(int32_t));
  sends.descriptors = array(SENDS, sizeof(int32_t));
  sends.offsets = array(SENDS, sizeof(uint32_t));
  sends.lengths = array(SENDS, sizeof(uint32_t));
  sends.results = array(SENDS, sizeof(int32_t));
  sends.buffer = array(sends.buffer_length, 1);
  sends.headers = array(SENDS, sizeof *sends.headers);
  sends.slots = array(SENDS, sizeof *sends.slots);
  send_batch_prepare(&sends);
  int count = take_byte(input) % (SENDS + 1);
  for (size_t i = 0; i < sends.buffer_length; i++) sends.buffer[i] = (uint8_t)(i + 1);
  for (int i = 0; i < count; i++) {
    uint8_t flags = take_byte(input);
    sends.channels[i] = flags & 1 ? fd : (int32_t)(take_number(input, flags & 2 ? 4 : 0) - 1);
    if (sends.channels[i] >= 0 && sends.channels[i] < 1 << 16) sends.channels[i] = fd;
    sends.descriptors[i] = flags & 4 ? kinds[KIND_TCP] : flags & 8 ? -7 : -1;
    sends.offsets[i] = take_number(input, flags & 16 ? 4 : 1);
    sends.lengths[i] = take_number(input, flags & 32 ? 4 : 1);
    /* An empty record without anything beside it cannot be told from the channel's end. */
    if (sends.lengths[i] == 0 && sends.descriptors[i] == -1) sends.lengths[i] = 1;
  }
  int wrong = send_batch_check(&sends, count);
  for (int i = 0; i < count; i++) {
    bool fits = (uint64_t)sends.offsets[i] + sends.lengths[i] <= sends.buffer_length;
    CHECK(fits || wrong <= i, "what lies outside of the buffer is not seen");
    CHECK(wrong != i || !fits, "what lies within the buffer is refused");
  }
  if (wrong == -1 && queue_count < MOST_SENT - SENDS) {
    send_batch_send(&sends, count);
    for (int i = 0; i < count; i++) {
      if (sends.results[i] != 0) continue;
      CHECK(sends.channels[i] == fd, "it was sent to nobody");
      unsigned last = (queue_first + queue_count++) % MOST_SENT;
      queue[last].length = sends.lengths[i];
      queue[last].count = sends.descriptors[i] != -1;
      queue[last].pick = KIND_TCP;
      queue[last].first = (uint8_t)(sends.offsets[i] + 1);
    }
  }
  free(sends.channels);
  free(sends.descriptors);
  free(sends.offsets);
  free(sends.lengths);
  free(sends.results);
  free(sends.buffer);
  free(sends.headers);
  free(sends.slots);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static int before;
  struct input input = {bytes, length};
  int pair[2];
  if (before == 0) {
    make_kinds();
    before = open_descriptors();
  }
  uint8_t flags = take_byte(&input);
  bool keeps = flags & 1;
  begin(flags & 2 ? 16 : RECEIVE_STRIDE, flags & 4);
  CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
  for (int actions = 0; input.left > 0 && actions < 100; actions++) {
    switch (take_byte(&input) % 4) {
      case 0:
      case 1:
        send_one(&input, pair[1]);
        break;
      case 2:
        send_batch(&input, pair[1]);
        break;
      default: {
        unsigned waiting = queue_count;
        int count = receive_batch_receive(&batch, pair[0], keeps);
        CHECK(count == RECEIVE_CAPACITY || (unsigned)count == waiting, "%d of %u messages", count, waiting);
        CHECK(batch.end[0] == (count == RECEIVE_CAPACITY ? RECEIVE_FULL : RECEIVE_EMPTY), "end %d", batch.end[0]);
        check_received(count, keeps);
      }
    }
  }
  close(pair[1]);
  for (;;) {
    int count = receive_batch_receive(&batch, pair[0], keeps);
    check_received(count, keeps);
    if (batch.end[0] == RECEIVE_CLOSED) break;
    CHECK(count > 0 || batch.is_polled, "neither messages nor the end: %d", batch.end[0]);
  }
  CHECK(queue_count == 0, "%u messages did not come", queue_count);
  close(pair[0]);
  end();
  CHECK(open_descriptors() == before, "%d descriptors, %d before", open_descriptors(), before);
  return 0;
}
