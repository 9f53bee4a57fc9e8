/*
 * The instance's side of a channel of the handoff protocol, version 1 (src/handoff/PROTOCOL.md): READY, batches of
 * HANDOFFs, one cumulative ACK each, REFUSE, REVOKE, DRAIN. What it owns goes to the service.
 */
#ifndef BENCH_CHANNEL_H
#define BENCH_CHANNEL_H

#include <stdint.h>

#include "protocol.h"
#include "service.h"

enum { MOST_IN_BATCH = 64 };

struct channel {
    int fd;
    /* -A: the door is the C floor, which reads nothing. */
    int silent;
    /* An ACK failed: read to the end before anything is decided. */
    int cut;
    int started;
    uint32_t last;
    /* Received and not acknowledged. */
    uint32_t held_count;
    int held[MAX_WINDOW];
};

struct channel_counts {
    uint64_t batches;
    uint64_t handoffs;
    uint64_t refused;
    uint64_t revoked;
    uint64_t violations;
};

/* A new channel; takes the descriptor and says READY. NULL (and the descriptor closed) if the door has gone. */
struct channel *channel_open(int fd, int silent);

/* Reads one batch. Returns 0, or -1 when the channel is over: it is then closed and freed. */
int channel_read(struct channel *channel, struct service *service, struct channel_counts *counts);

/* Asks for nothing more; the door answers by closing the channel. */
void channel_drain(struct channel *channel);

#endif
