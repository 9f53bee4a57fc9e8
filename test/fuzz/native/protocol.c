/*
 * A door's messages, by both readers that are written in C: native/preload/helper/protocol.c and examples/c/sni_handoff.h.
 * They must agree.
 */
#define SNI_HANDOFF_IMPLEMENTATION
#include "../../../examples/c/sni_handoff.h"

#include "../../../native/preload/address.h"
#include "../../../native/preload/helper/protocol.h"
#include "input.h"

static void check_same_address(const uint8_t *value, size_t length, const union sni_handoff_address *other) {
  union address address;
  if (!address_unpack(value, length, &address)) {
    CHECK(length == 0 && other->any.sa_family == AF_UNSPEC, "an address of %zu bytes", length);
    return;
  }
  CHECK(address.any.sa_family == other->any.sa_family, "another family");
  size_t size = address.any.sa_family == AF_INET ? sizeof address.v4 : sizeof address.v6;
  CHECK(memcmp(&address, other, size) == 0, "another address");
}

static void check_within(const uint8_t *value, size_t size, const uint8_t *bytes, size_t length) {
  if (size == 0) return;
  CHECK(value >= bytes && value + size <= bytes + length, "a field outside its message");
}

/* Whether the name alone is what the other reader, which does not look at names, has nothing against. */
static bool is_about_the_name(const char *wrong) { return strncmp(wrong, "a server name with byte ", 24) == 0; }

/* Messages that are written here are read, by both. */
static void check_written(struct sni_handoff *receiver) {
  uint8_t bytes[64];
  struct message message;
  struct sni_handoff_info info;
  const struct {
    uint8_t type;
    size_t length;
  } written[] = {
      {MESSAGE_READY, protocol_ready(bytes)},
      {MESSAGE_ACK, protocol_ack(bytes, UINT32_MAX)},
      {MESSAGE_REFUSE, protocol_refuse(bytes, 7, REFUSE_NOT_TCP)},
      {MESSAGE_DRAIN, protocol_drain(bytes)},
  };
  const size_t last = sizeof written / sizeof *written - 1;
  CHECK(protocol_parse(bytes, written[last].length, &message) == NULL && message.type == MESSAGE_DRAIN, "DRAIN");
  CHECK(snih_decode(receiver, bytes, (uint32_t)written[last].length, &info) == 0, "DRAIN: %s", receiver->wrong);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static struct sni_handoff receiver;
  struct message message;
  struct sni_handoff_info info;
  size_t size;
  struct input input = {bytes, length};
  uint8_t *block = take_block(&input, 1 << 16, &size);
  memset(&info, 0xaa, sizeof info);
  const char *rule = protocol_parse(block, size, &message);
  bool is_read = snih_decode(&receiver, block, (uint32_t)size, &info) == 0;
  if (is_read) {
    CHECK(rule == NULL, "only one reader finds %s", rule);
    CHECK(message.type == block[1] && message.sequence == snih_get32(block + 4), "another header");
    check_within(message.client, message.client_length, block, size);
    check_within(message.server, message.server_length, block, size);
    check_same_address(message.client, message.client_length, &info.client);
    check_same_address(message.server, message.server_length, &info.server);
    CHECK(strlen(info.server_name) == info.server_name_length, "a name of %u bytes", info.server_name_length);
    CHECK(info.alpn[info.alpn_length] == 0, "ALPN without an end");
  } else {
    CHECK(rule != NULL || is_about_the_name(receiver.wrong), "only one reader finds %s", receiver.wrong);
  }
  check_written(&receiver);
  free(block);
  return 0;
}
