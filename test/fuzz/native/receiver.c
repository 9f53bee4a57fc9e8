/* A receiver made of examples/c/sni_handoff.h, whole, and doors that send what the input says. */
#define SNI_HANDOFF_IMPLEMENTATION
#include "../../../examples/c/sni_handoff.h"

#include <poll.h>

#include "scene.h"

enum { FUZZ_DOORS = 4, FUZZ_KEPT = 64, FUZZ_STEPS = 2000 };

static struct sni_handoff *receiver;
static int doors[FUZZ_DOORS];
static uint32_t sequences[FUZZ_DOORS];
static int kept[FUZZ_KEPT];
static unsigned kept_count;
static uint64_t delivered;
static uint8_t habits; /* what the program does in its callback */

static void on_connection(void *context, int fd, const struct sni_handoff_info *info) {
  CHECK(context == &habits, "another context");
  CHECK(strlen(info->server_name) == info->server_name_length, "a name of %u bytes", info->server_name_length);
  CHECK(info->alpn[info->alpn_length] == 0, "ALPN without an end");
  union sni_handoff_address address = sni_handoff_client(fd, info);
  CHECK(address.any.sa_family == AF_INET || address.any.sa_family == AF_INET6, "family %u", address.any.sa_family);
  delivered++;
  if (habits & 1 && kept_count < FUZZ_KEPT) {
    kept[kept_count++] = fd;
    return;
  }
  close(fd);
  if (habits & 2) sni_handoff_ended(receiver);
  if (habits & 4) sni_handoff_drain(receiver, habits & 8);
  if (habits & 16) sni_handoff_step(receiver); /* may not be called here: nothing happens */
}

static void on_warning(void *context, const char *text) {
  (void)context;
  CHECK(strlen(text) < SNI_HANDOFF_ERROR_LENGTH, "a warning of %zu bytes", strlen(text));
}

/* All that is due at this moment. Returns what step does. */
static int pump(void) {
  struct pollfd look = {.fd = sni_handoff_fd(receiver), .events = POLLIN};
  int goes_on = 1;
  for (int steps = 0; poll(&look, 1, 0) == 1; steps++) {
    CHECK(steps < FUZZ_STEPS, "it does not come to rest");
    goes_on = sni_handoff_step(receiver);
  }
  struct sni_handoff_counts counts = sni_handoff_counts(receiver);
  CHECK(counts.received - counts.dead == delivered, "%d received, %d dead, %d delivered", (int)counts.received,
        (int)counts.dead, (int)delivered);
  return goes_on;
}

static void listen_to_input(struct input *input) {
  char error[SNI_HANDOFF_ERROR_LENGTH], path[64];
  snprintf(path, sizeof path, "@sni-handoff-fuzz-%d", (int)getpid());
  struct sni_handoff_options options = sni_handoff_defaults(path, on_connection, &habits);
  uint8_t flags = take_byte(input);
  options.window = 1 + take_byte(input) % SNIH_MOST_WINDOW;
  options.tells_ended = flags & 1;
  options.most_open = flags & 2 ? take_byte(input) % 8u : 0;
  options.blocking = flags >> 2 & 1;
  options.drain_timeout = flags & 8 ? 0 : 10000;
  options.on_warning = on_warning;
  int is_allowed = options.most_open == 0 || options.tells_ended;
  receiver = sni_handoff_open(&options, error);
  CHECK((receiver != NULL) == is_allowed, "%s", error);
}

static void act(struct input *input) {
  uint8_t action = take_byte(input), which = (action >> 4) % FUZZ_DOORS;
  int *door = &doors[which];
  uint32_t *sequence = &sequences[which];
  uint8_t bytes[1024];
  switch (action & 15) {
    case 0:
      if (*door == -1) *door = connect_to_listener();
      *sequence = action & 0x80 ? UINT32_MAX - 1 : 1;
      break;
    case 1:
    case 2:
    case 3:
      if (*door != -1) send_handoff(*door, sequence);
      break;
    case 4:
    case 5:
      if (*door != -1) send_changed_handoff(input, *door, sequence);
      break;
    case 6:
      if (*door != -1) send_block(input, *door);
      break;
    case 7: {
      if (*door == -1) break;
      struct snih_message message = snih_begin(SNIH_REVOKE, *sequence - 1 - take_byte(input) % 4);
      send_record(*door, message.bytes, message.length, 0, 0);
      break;
    }
    case 8:
      if (*door != -1) close(*door);
      *door = -1;
      break;
    case 9:
      if (*door != -1)
        while (recv(*door, bytes, sizeof bytes, MSG_DONTWAIT) > 0) continue;
      break;
    case 10:
      if (*door != -1) shutdown(*door, action & 0x40 ? SHUT_WR : SHUT_RD);
      break;
    case 11:
      habits = take_byte(input);
      break;
    case 12:
      if (kept_count == 0) break;
      close(kept[--kept_count]);
      sni_handoff_ended(receiver);
      break;
    case 13:
      sni_handoff_drain(receiver, action >> 7);
      break;
    default: /* several messages are read at once */
      return;
  }
  if ((action & 0x30) != 0x30) pump();
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static int before;
  struct input input = {bytes, length};
  if (before == 0) {
    make_kinds();
    before = open_descriptors();
  }
  listen_to_input(&input);
  if (receiver == NULL) return 0;
  for (int i = 0; i < FUZZ_DOORS; i++) doors[i] = -1;
  kept_count = 0;
  delivered = 0;
  habits = 0;
  for (int actions = 0; input.left > 0 && actions < 200; actions++) act(&input);
  pump();
  uint8_t ending = habits;
  if (ending & 32) sni_handoff_drain(receiver, 0);
  for (int i = 0; i < FUZZ_DOORS; i++)
    if (doors[i] != -1) close(doors[i]);
  int goes_on = pump();
  CHECK(sni_handoff_counts(receiver).channels == 0, "%u channels are left", sni_handoff_counts(receiver).channels);
  CHECK(!(ending & 32) || !goes_on || sni_handoff_step(receiver) == 0, "drained, it goes on");
  sni_handoff_close(receiver);
  while (kept_count > 0) close(kept[--kept_count]);
  CHECK(open_descriptors() == before, "%d descriptors, %d before", open_descriptors(), before);
  return 0;
}
