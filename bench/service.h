/*
 * What the receiver does with a connection, whether it was handed over or accepted: reads the hello, answers a few
 * bytes, and closes when the client has closed; or answers many bytes, then ends its side, and closes when the client
 * has. The same code for both ways in, so that only these differ.
 */
#ifndef BENCH_SERVICE_H
#define BENCH_SERVICE_H

#include <stdint.h>

/* Data of an epoll event: the kind in the upper half, the descriptor in the lower. */
enum watched { STOP, LISTENER, CHANNEL, CONNECTION };

static inline uint64_t watch_data(enum watched kind, int fd)
{
    return (uint64_t)kind << 32 | (uint32_t)fd;
}

struct connection {
    /* Of the hello: bytes read, and its whole length once the record's header is there (5 until then). */
    uint32_t received;
    uint32_t length;
    uint8_t header[5];
    uint8_t answered;
    /* Bytes of the answer that are not sent yet; only once the hello is whole. */
    uint64_t left;
    /* What its epoll event is for, 0 if it has none. */
    uint32_t wanted;
};

/* One per thread. `connections` is indexed by descriptor and shared by all threads: a descriptor is in one only. */
struct service {
    int epoll;
    struct connection *connections;
    uint32_t most_descriptors;
    uint32_t open;
    /* Bytes of an answer, after which the receiver ends its side; 0: a TLS alert, and the client ends. */
    uint64_t answer_length;
    uint64_t answered;
    uint64_t unanswered;
};

/* Takes a connected TCP socket, blocking or not, and closes it when its client has gone. */
void service_take(struct service *service, int fd);

/* The same, with the first `length` bytes, which somebody has read already. */
void service_take_read(struct service *service, int fd, const uint8_t *bytes, uint32_t length);

/* Something happened on a connection taken. */
void service_event(struct service *service, int fd, uint32_t events);

#endif
