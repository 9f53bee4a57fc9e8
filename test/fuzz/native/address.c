/* Addresses as text, as sockaddr and packed, and the names of listening sockets: native/preload/address.c, identity.c. */
#include "../../../native/preload/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <sys/un.h>

#include "../../../native/preload/identity.h"
#include "../../../native/preload/real.h"
#include "input.h"

/* What getsockname(2) tells of any descriptor: the input, as long as it says. */
static const uint8_t *told;
static socklen_t told_length, told_true_length;

static int tell_name(int fd, struct sockaddr *out, socklen_t *length) {
  (void)fd;
  memcpy(out, told, *length < told_length ? *length : told_length);
  *length = told_true_length;
  return 0;
}

static struct sockaddr_un bound;
static socklen_t bound_length;

static int remember_name(int fd, const struct sockaddr *address, socklen_t length) {
  (void)fd;
  CHECK(length <= sizeof bound, "a name of %u bytes", length);
  memset(&bound, 0, sizeof bound);
  memcpy(&bound, address, length);
  bound_length = length;
  return 0;
}

const struct real *real(void) {
  static const struct real functions = {.getsockname = tell_name, .bind = remember_name};
  return &functions;
}

/* What was understood is understood the same when it is written. */
static void check_round_trip(const union address *address) {
  char text[ADDRESS_TEXT];
  union address again;
  address_format(address, text);
  CHECK(memchr(text, 0, sizeof text) != NULL, "text without an end");
  if (address_port(address) == 0) return; /* no listener has it */
  CHECK(address_parse(text, strlen(text), &again), "%s is not understood", text);
  CHECK(address_equal(address, &again), "%s is another one", text);
}

static void check_adapted(const union address *address) {
  union address adapted = *address;
  address_adapt(&adapted, AF_INET6);
  CHECK(adapted.any.sa_family == AF_INET6, "not every address has an IPv6 form");
  CHECK(address_port(&adapted) == address_port(address), "another port");
  if (address->any.sa_family == AF_INET) {
    address_adapt(&adapted, AF_INET);
    CHECK(address_equal(&adapted, address), "mapped and back it is another one");
  }
  check_round_trip(&adapted);
}

static void check_given(const union address *address, socklen_t room) {
  uint8_t *out = malloc(room > 0 ? room : 1);
  socklen_t length = room;
  CHECK(out != NULL, "no memory");
  address_give(address, (struct sockaddr *)out, &length);
  CHECK(length == (address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4), "length %u", length);
  CHECK(memcmp(out, address, room < length ? room : length) == 0, "cut off, it is another one");
  free(out);
}

static void try_text(struct input *input) {
  size_t length;
  uint8_t *text = take_block(input, input->left, &length);
  union address address;
  if (address_parse((const char *)text, length, &address)) {
    CHECK(address_port(&address) > 0, "port 0");
    check_round_trip(&address);
    check_adapted(&address);
  }
  free(text);
}

static void try_sockaddr(struct input *input) {
  size_t length;
  socklen_t room = take_byte(input) % 40;
  uint8_t *bytes = take_block(input, 128, &length);
  union address address;
  if (address_read((const struct sockaddr *)bytes, (socklen_t)length, &address)) {
    check_round_trip(&address);
    check_adapted(&address);
    check_given(&address, room);
  }
  free(bytes);
}

static void try_packed(struct input *input) {
  size_t length;
  uint8_t *bytes = take_block(input, 20, &length);
  union address address;
  bool is_one = address_unpack(bytes, length, &address);
  CHECK(is_one == (length == 6 || length == 18), "%zu bytes", length);
  if (is_one) {
    CHECK(address_port(&address) == (bytes[0] | bytes[1] << 8), "another port");
    check_round_trip(&address);
  }
  free(bytes);
}

static void try_name(struct input *input) {
  size_t length;
  told_true_length = take_byte(input) & 1 ? take_number(input, 4) : 0;
  uint8_t *bytes = take_block(input, sizeof(struct sockaddr_un) - 1, &length);
  struct identity identity, again;
  told = bytes;
  told_length = (socklen_t)length;
  if (told_true_length == 0) told_true_length = told_length;
  errno = 12345;
  bool is_one = identity_read(0, &identity);
  CHECK(errno == 12345, "errno is %d", errno);
  if (is_one) {
    CHECK(identity_write(0, &identity) == 0, "it cannot be written");
    told = (const uint8_t *)&bound;
    told_length = told_true_length = bound_length;
    CHECK(identity_read(0, &again), "what was written is not read");
    CHECK(again.is_silent == identity.is_silent && address_equal(&again.address, &identity.address), "another one");
  }
  free(bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  struct input input = {bytes, length};
  switch (take_byte(&input) % 4) {
    case 0:
      try_text(&input);
      break;
    case 1:
      try_sockaddr(&input);
      break;
    case 2:
      try_packed(&input);
      break;
    default:
      try_name(&input);
  }
  return 0;
}
