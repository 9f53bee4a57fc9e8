#ifndef SNI_HANDOFF_PRELOAD_PROTOCOL_H
#define SNI_HANDOFF_PRELOAD_PROTOCOL_H

#include <stddef.h>
#include <stdint.h>

/* Messages of the handoff protocol, version 1 (src/handoff/PROTOCOL.md). Pure: bytes only. */

enum message_type { MESSAGE_READY = 1, MESSAGE_HANDOFF = 2, MESSAGE_ACK = 3, MESSAGE_REFUSE = 4, MESSAGE_REVOKE = 5,
                    MESSAGE_DRAIN = 6 };

enum refuse_reason { REFUSE_NO_DESCRIPTOR = 1, REFUSE_NOT_TCP = 2, REFUSE_OVERLOADED = 3, REFUSE_DRAINING = 4 };

enum { MOST_WINDOW = 128 };

struct message {
  uint8_t type;
  uint32_t sequence;
  /* Of a HANDOFF; NULL and 0 if absent. They point into the record. */
  const uint8_t *client;
  size_t client_length;
  const uint8_t *server;
  size_t server_length;
};

/* Reads one record. Returns NULL, or which rule it breaks. */
const char *protocol_parse(const uint8_t *bytes, size_t length, struct message *out);

/* Writes a message; `out` has 64 bytes. Return its length. */
size_t protocol_ready(uint8_t *out);
size_t protocol_ack(uint8_t *out, uint32_t sequence);
size_t protocol_refuse(uint8_t *out, uint32_t sequence, enum refuse_reason reason);
size_t protocol_drain(uint8_t *out);

#endif
