#include "protocol.h"

#include <stdbool.h>
#include <string.h>

#include "../wire.h"

enum field_type {
  FIELD_VERSIONS = 1,
  FIELD_WINDOW = 2,
  FIELD_WEIGHT = 3,
  FIELD_CONNECTION_ID = 4,
  FIELD_ACCEPTED_AT = 5,
  FIELD_HELLO_DEADLINE = 6,
  FIELD_FLAGS = 7,
  FIELD_SERVER_NAME = 8,
  FIELD_ALPN = 9,
  FIELD_CLIENT_ADDRESS = 10,
  FIELD_OPEN = 11,
  FIELD_REASON = 12,
  FIELD_CONSUMED = 13,
  FIELD_SERVER_ADDRESS = 14,
};

static bool has_right_size(uint16_t type, uint16_t size) {
  switch (type) {
    case FIELD_CONNECTION_ID:
    case FIELD_ACCEPTED_AT:
    case FIELD_HELLO_DEADLINE:
      return size == 8;
    case FIELD_FLAGS:
    case FIELD_OPEN:
    case FIELD_CONSUMED:
      return size == 4;
    case FIELD_VERSIONS:
    case FIELD_WINDOW:
    case FIELD_WEIGHT:
      return size == 2;
    case FIELD_REASON:
      return size == 1;
    case FIELD_SERVER_NAME:
    case FIELD_ALPN:
      return size >= 1 && size <= 255;
    case FIELD_CLIENT_ADDRESS:
    case FIELD_SERVER_ADDRESS:
      return size == 6 || size == 18;
    default:
      return true;
  }
}

const char *protocol_parse(const uint8_t *bytes, size_t length, struct message *out) {
  const uint32_t needed = 1u << FIELD_CONNECTION_ID | 1u << FIELD_ACCEPTED_AT | 1u << FIELD_FLAGS;
  uint32_t seen = 0;
  if (length < PROTOCOL_HEAD) return "a message shorter than its header";
  if (length > MOST_MESSAGE) return "a message of more than 1024 bytes";
  if (bytes[0] != PROTOCOL_VERSION) return "a message of another version";
  if (get_u16(bytes + 2) != length) return "a message whose length is not its record's";
  *out = (struct message){.type = bytes[1], .sequence = get_u32(bytes + 4)};
  for (size_t at = PROTOCOL_HEAD; at < length;) {
    if (length - at < 4) return "a field that overruns its message";
    uint16_t type = get_u16(bytes + at), size = get_u16(bytes + at + 2);
    const uint8_t *value = bytes + at + 4;
    if (size > length - at - 4) return "a field that overruns its message";
    if (!has_right_size(type, size)) return "a field of a wrong size";
    bool is_known = type >= FIELD_VERSIONS && type <= FIELD_SERVER_ADDRESS;
    if (is_known && (seen & 1u << type)) return "a field twice";
    if (is_known) seen |= 1u << type;
    if (type == FIELD_CLIENT_ADDRESS) out->client = value, out->client_length = size;
    if (type == FIELD_SERVER_ADDRESS) out->server = value, out->server_length = size;
    at += 4u + size;
  }
  if (out->type == MESSAGE_HANDOFF && (seen & needed) != needed) return "a HANDOFF without a field that it needs";
  return NULL;
}

size_t protocol_ready(uint8_t *out) {
  static const uint8_t fields[] = {FIELD_VERSIONS, 0, 2, 0, PROTOCOL_VERSION, PROTOCOL_VERSION,
                                   FIELD_WINDOW,   0, 2, 0, MOST_WINDOW,      0};
  put_head(out, MESSAGE_READY, PROTOCOL_HEAD + sizeof fields, 0);
  memcpy(out + PROTOCOL_HEAD, fields, sizeof fields);
  return PROTOCOL_HEAD + sizeof fields;
}

size_t protocol_ack(uint8_t *out, uint32_t sequence) {
  put_head(out, MESSAGE_ACK, PROTOCOL_HEAD, sequence);
  return PROTOCOL_HEAD;
}

size_t protocol_refuse(uint8_t *out, uint32_t sequence, enum refuse_reason reason) {
  const uint8_t field[] = {FIELD_REASON, 0, 1, 0, (uint8_t)reason};
  put_head(out, MESSAGE_REFUSE, PROTOCOL_HEAD + sizeof field, sequence);
  memcpy(out + PROTOCOL_HEAD, field, sizeof field);
  return PROTOCOL_HEAD + sizeof field;
}

size_t protocol_drain(uint8_t *out) {
  put_head(out, MESSAGE_DRAIN, PROTOCOL_HEAD, 0);
  return PROTOCOL_HEAD;
}
