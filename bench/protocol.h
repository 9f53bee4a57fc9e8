/*
 * The part of the handoff protocol, version 1, that the benchmark's programs speak (src/handoff/PROTOCOL.md has the
 * whole of it). Pure: bytes only. Little-endian on the wire, whatever the machine.
 */
#ifndef BENCH_PROTOCOL_H
#define BENCH_PROTOCOL_H

#include <stdint.h>
#include <string.h>

enum { PROTOCOL_VERSION = 1, HEADER_LENGTH = 8, MAX_MESSAGE_LENGTH = 1024, MAX_WINDOW = 128 };
enum message_type { READY = 1, HANDOFF = 2, ACK = 3, REFUSE = 4, REVOKE = 5, DRAIN = 6 };
enum field_type { VERSIONS = 1, WINDOW = 2, CONNECTION_ID = 4, ACCEPTED_AT = 5, FLAGS = 7, OPEN = 11, REASON = 12 };
enum refuse_reason { NO_DESCRIPTOR = 1, NOT_TCP = 2 };
enum { FLAG_TLS = 1 };

struct message {
    uint8_t bytes[64];
    uint16_t length;
};

static inline void put_u16(uint8_t *at, uint16_t value)
{
    at[0] = (uint8_t)value;
    at[1] = (uint8_t)(value >> 8);
}

static inline void put_u32(uint8_t *at, uint32_t value)
{
    put_u16(at, (uint16_t)value);
    put_u16(at + 2, (uint16_t)(value >> 16));
}

static inline void put_u64(uint8_t *at, uint64_t value)
{
    put_u32(at, (uint32_t)value);
    put_u32(at + 4, (uint32_t)(value >> 32));
}

static inline uint16_t get_u16(const uint8_t *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t get_u32(const uint8_t *at)
{
    return get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

static inline struct message begin_message(enum message_type type, uint32_t sequence)
{
    struct message message = {.bytes = {PROTOCOL_VERSION, (uint8_t)type}, .length = HEADER_LENGTH};
    put_u16(message.bytes + 2, HEADER_LENGTH);
    put_u32(message.bytes + 4, sequence);
    return message;
}

/* Adds a field; returns where its value of `size` bytes goes. The messages here all fit in `bytes`. */
static inline uint8_t *add_field(struct message *message, enum field_type type, uint16_t size)
{
    uint8_t *field = message->bytes + message->length;
    put_u16(field, (uint16_t)type);
    put_u16(field + 2, size);
    message->length = (uint16_t)(message->length + 4 + size);
    put_u16(message->bytes + 2, message->length);
    return field + 4;
}

static inline struct message ready_message(uint16_t window)
{
    struct message message = begin_message(READY, 0);
    memset(add_field(&message, VERSIONS, 2), PROTOCOL_VERSION, 2);
    put_u16(add_field(&message, WINDOW, 2), window);
    return message;
}

static inline struct message ack_message(uint32_t sequence, uint32_t open)
{
    struct message message = begin_message(ACK, sequence);
    put_u32(add_field(&message, OPEN, 4), open);
    return message;
}

static inline struct message refuse_message(uint32_t sequence, enum refuse_reason reason)
{
    struct message message = begin_message(REFUSE, sequence);
    *add_field(&message, REASON, 1) = (uint8_t)reason;
    return message;
}

/* A HANDOFF as short as may be: no name, since the floor reads none. `set_handoff` writes what differs each time. */
static inline struct message handoff_message(void)
{
    struct message message = begin_message(HANDOFF, 0);
    add_field(&message, CONNECTION_ID, 8);
    add_field(&message, ACCEPTED_AT, 8);
    put_u32(add_field(&message, FLAGS, 4), FLAG_TLS);
    return message;
}

static inline void set_handoff(struct message *message, uint32_t sequence, uint64_t accepted_at)
{
    put_u32(message->bytes + 4, sequence);
    put_u64(message->bytes + HEADER_LENGTH + 4, sequence);
    put_u64(message->bytes + HEADER_LENGTH + 12 + 4, accepted_at);
}

/* The size that a known field of a HANDOFF must have; 0 for any. */
static inline uint16_t size_of_field(uint16_t type)
{
    return type == CONNECTION_ID || type == ACCEPTED_AT ? 8 : type == FLAGS ? 4 : 0;
}

/* Whether a record is a whole message: header, and fields that fill it exactly, among them those a HANDOFF needs. */
static inline int is_message(const uint8_t *bytes, size_t length)
{
    if (length < HEADER_LENGTH || length > MAX_MESSAGE_LENGTH || bytes[0] != PROTOCOL_VERSION ||
        get_u16(bytes + 2) != length)
        return 0;
    const uint32_t needed = bytes[1] == HANDOFF ? 1u << CONNECTION_ID | 1u << ACCEPTED_AT | 1u << FLAGS : 0;
    uint32_t seen = 0;
    size_t at = HEADER_LENGTH;
    while (length - at >= 4) {
        uint16_t type = get_u16(bytes + at), size = get_u16(bytes + at + 2);
        if (size > length - at - 4 || (size_of_field(type) > 0 && size != size_of_field(type)))
            return 0;
        if (type < 32 && (seen & 1u << type))
            return 0;
        seen |= type < 32 ? 1u << type : 0;
        at += 4u + size;
    }
    return at == length && (seen & needed) == needed;
}

#endif
