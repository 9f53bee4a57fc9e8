#ifndef SNI_HANDOFF_PRELOAD_WIRE_H
#define SNI_HANDOFF_PRELOAD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * What the library and the helper tell each other over the pair: SOCK_SEQPACKET, so one structure is one record. Both
 * are built together, and a library only ever starts the helper beside it. After an upgrade of the package a server
 * still running has the library and the helper that it was started with.
 */

/* An option of the listening socket that accept(2) would have passed on to each connection. */
struct inherited_option {
  int32_t level;
  int32_t name;
  int32_t value[2]; /* two for SO_LINGER */
  uint32_t length;
};

enum { MOST_INHERITED = 16, MOST_PACKED_ADDRESS = 18 };

/*
 * Helper to library: a connection, beside it its descriptor and, unless `is_owned`, that of the door's channel: who
 * takes the connection sends the ACK there himself, and only then touches it. The parts behind the head stand in this
 * order and only as far as their counts say.
 */
struct delivery {
  uint32_t channel;
  uint32_t sequence;
  uint8_t is_owned; /* was acknowledged already */
  uint8_t client_length;
  uint8_t server_length;
  uint8_t option_count;
  uint8_t rest[2 * MOST_PACKED_ADDRESS + MOST_INHERITED * sizeof(struct inherited_option)];
};

enum { DELIVERY_HEAD = 12 };

static inline size_t delivery_length(const struct delivery *delivery) {
  return DELIVERY_HEAD + (size_t)delivery->client_length + delivery->server_length +
         delivery->option_count * sizeof(struct inherited_option);
}

/* Whether its counts are such as an address and the options may have, and `length` bytes hold what they say. */
static inline bool delivery_is_whole(const struct delivery *delivery, size_t length) {
  if (length < DELIVERY_HEAD || delivery->option_count > MOST_INHERITED) return false;
  if (delivery->client_length > MOST_PACKED_ADDRESS || delivery->server_length > MOST_PACKED_ADDRESS) return false;
  return delivery_length(delivery) <= length;
}

enum request_kind {
  /* `option` was set on the listening socket. */
  REQUEST_OPTION = 1,
  /* The ACK could not be sent: the descriptor comes back, and the helper finds out whose connection it is. */
  REQUEST_RETURN = 2,
  /* The message came without its descriptors: this process was at its limit. */
  REQUEST_LOST = 3,
};

/* Library to helper. */
struct request {
  uint32_t kind;
  struct delivery delivery; /* RETURN, LOST */
  struct inherited_option option;
};

/*
 * A type of message that the door's protocol does not have: whoever may listen here as well (another process of the same
 * server with SO_REUSEPORT, or one whose helper was killed) connects to the path and asks for an end of a pair of its own.
 */
enum { MESSAGE_JOIN = 200, MESSAGE_JOINED = 201 };

/*
 * Sequence of a JOIN: the listener's family, and in the upper half by what right: SO_REUSEPORT, if the server's first listener allows it; of a listener that was this path's; or
 * whether the first may be, which is answered without a descriptor.
 */
enum join { JOIN_SHARED, JOIN_AGAIN, JOIN_QUESTION };

/* ACK, REFUSE and the like have this head: version, type, length, sequence (src/handoff/PROTOCOL.md). */
enum { PROTOCOL_VERSION = 1, PROTOCOL_HEAD = 8, MOST_MESSAGE = 1024 };

static inline void put_u16(uint8_t *at, uint16_t value) {
  at[0] = (uint8_t)value;
  at[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *at, uint32_t value) {
  put_u16(at, (uint16_t)value);
  put_u16(at + 2, (uint16_t)(value >> 16));
}

static inline uint16_t get_u16(const uint8_t *at) { return (uint16_t)(at[0] | at[1] << 8); }

static inline uint32_t get_u32(const uint8_t *at) { return get_u16(at) | (uint32_t)get_u16(at + 2) << 16; }

static inline void put_head(uint8_t *at, uint8_t type, uint16_t length, uint32_t sequence) {
  at[0] = PROTOCOL_VERSION;
  at[1] = type;
  put_u16(at + 2, length);
  put_u32(at + 4, sequence);
}

/* A control buffer for `count` descriptors. */
#define CONTROL_FOR(count)                                   \
  union {                                                    \
    char bytes[CMSG_SPACE((count) * sizeof(int))];           \
    struct cmsghdr header;                                   \
  }

#endif
