#include "common.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "channel.h"

/* More than one descriptor a message is a violation; the room is there to see them, so that they can be closed. */
enum { CONTROL_ROOM = CMSG_SPACE(4 * sizeof(int)) };

union control {
    char bytes[CONTROL_ROOM];
    struct cmsghdr alignment;
};

/* One per thread: recvmmsg's arguments are made once. */
static _Thread_local struct {
    int prepared;
    struct mmsghdr headers[MOST_IN_BATCH];
    struct iovec vectors[MOST_IN_BATCH];
    uint8_t bytes[MOST_IN_BATCH][MAX_MESSAGE_LENGTH];
    union control controls[MOST_IN_BATCH];
} batch;

enum outcome { GOING, ENDED, REVOKED, VIOLATED };

/* Returns 0, or -1 with errno when the door has gone or revokes. */
static int send_message(const struct channel *channel, const struct message *message)
{
    for (;;) {
        if (send(channel->fd, message->bytes, message->length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0)
            return 0;
        if (errno == EAGAIN) { /* the window keeps the queue from filling up; a door may still not read for a while */
            struct pollfd writable = {.fd = channel->fd, .events = POLLOUT};
            poll(&writable, 1, 1000);
        } else if (errno != EINTR)
            return -1;
    }
}

struct channel *channel_open(int fd, int silent)
{
    struct channel *channel = calloc(1, sizeof *channel);
    if (channel == NULL)
        fail("no memory for a channel");
    channel->fd = fd;
    channel->silent = silent;
    struct message ready = ready_message(MAX_WINDOW);
    if (silent || send_message(channel, &ready) == 0)
        return channel;
    close(fd);
    free(channel);
    return NULL;
}

void channel_drain(struct channel *channel)
{
    struct message drain = begin_message(DRAIN, 0);
    if (!channel->silent && !channel->cut && send_message(channel, &drain) < 0)
        channel->cut = 1;
}

/* Takes the descriptors out of a message: returns their number, the first one in *fd. The others are closed. */
static unsigned take_descriptors(struct msghdr *header, int *fd)
{
    unsigned found = 0;
    for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
        if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int descriptor;
            memcpy(&descriptor, CMSG_DATA(part) + i * sizeof descriptor, sizeof descriptor);
            if (found++ == 0)
                *fd = descriptor;
            else
                close(descriptor);
        }
    }
    return found;
}

static int is_tcp(int fd)
{
    int protocol;
    socklen_t length = sizeof protocol;
    return getsockopt(fd, SOL_SOCKET, SO_PROTOCOL, &protocol, &length) == 0 && protocol == IPPROTO_TCP;
}

static void refuse(struct channel *channel, struct channel_counts *counts, enum refuse_reason reason)
{
    struct message message = refuse_message(channel->last, reason);
    counts->refused++;
    if (!channel->silent && !channel->cut && send_message(channel, &message) < 0)
        channel->cut = 1;
}

static enum outcome on_handoff(struct channel *channel, struct channel_counts *counts, const uint8_t *bytes,
                               struct msghdr *header)
{
    int fd = -1;
    unsigned found = take_descriptors(header, &fd);
    uint32_t sequence = get_u32(bytes + 4);
    if (found > 1 || (channel->started && sequence != channel->last + 1) || channel->held_count == MAX_WINDOW) {
        if (found > 0)
            close(fd);
        return VIOLATED;
    }
    channel->started = 1;
    channel->last = sequence;
    counts->handoffs++;
    if (found == 0) { /* lost at this process's own limit, or never sent */
        refuse(channel, counts, NO_DESCRIPTOR);
    } else if (!is_tcp(fd)) {
        refuse(channel, counts, NOT_TCP);
        close(fd);
    } else {
        channel->held[channel->held_count++] = fd;
    }
    return GOING;
}

static enum outcome on_message(struct channel *channel, struct channel_counts *counts, const uint8_t *bytes,
                               struct mmsghdr *message)
{
    if (message->msg_len == 0)
        return ENDED;
    if ((message->msg_hdr.msg_flags & MSG_TRUNC) == 0 && is_message(bytes, message->msg_len)) {
        if (bytes[1] == HANDOFF)
            return on_handoff(channel, counts, bytes, &message->msg_hdr);
        if (bytes[1] == REVOKE && message->msg_hdr.msg_controllen == 0)
            return REVOKED;
    }
    int fd = -1;
    if (take_descriptors(&message->msg_hdr, &fd) > 0)
        close(fd);
    return VIOLATED;
}

/* What was held is owned from now on. */
static void own_held(struct channel *channel, struct service *service)
{
    uint32_t count = channel->held_count;
    channel->held_count = 0;
    for (uint32_t i = 0; i < count; i++)
        service_take(service, channel->held[i]);
}

static void acknowledge(struct channel *channel, struct service *service)
{
    if (channel->held_count == 0 || channel->cut)
        return;
    struct message message = ack_message(channel->last, service->open + channel->held_count);
    if (channel->silent || send_message(channel, &message) == 0)
        own_held(channel, service);
    else
        channel->cut = 1;
}

/* How a channel ends: REVOKE takes back what was not acknowledged; an end without it leaves it here, nobody else has it. */
static void finish(struct channel *channel, struct service *service, struct channel_counts *counts, enum outcome outcome)
{
    if (outcome == ENDED) {
        own_held(channel, service);
    } else {
        for (uint32_t i = 0; i < channel->held_count; i++)
            close(channel->held[i]);
        counts->revoked += channel->held_count;
    }
    if (outcome == VIOLATED) {
        counts->violations++;
        fprintf(stderr, "%s: a message broke the protocol; channel closed\n", program_invocation_short_name);
    }
    close(channel->fd);
    free(channel);
}

static void prepare_batch(void)
{
    for (int i = 0; i < MOST_IN_BATCH; i++) {
        batch.vectors[i] = (struct iovec){batch.bytes[i], MAX_MESSAGE_LENGTH};
        batch.headers[i].msg_hdr.msg_iov = &batch.vectors[i];
        batch.headers[i].msg_hdr.msg_iovlen = 1;
        batch.headers[i].msg_hdr.msg_control = &batch.controls[i];
        batch.headers[i].msg_hdr.msg_controllen = CONTROL_ROOM;
    }
    batch.prepared = 1;
}

int channel_read(struct channel *channel, struct service *service, struct channel_counts *counts)
{
    if (!batch.prepared)
        prepare_batch();
    int received = recvmmsg(channel->fd, batch.headers, MOST_IN_BATCH, MSG_DONTWAIT | MSG_CMSG_CLOEXEC, NULL);
    if (received < 0) {
        if (errno == EAGAIN || errno == EINTR || errno == ECONNRESET) /* after ECONNRESET there is more to read */
            return 0;
        fail_errno("recvmmsg");
    }
    counts->batches++;
    enum outcome outcome = GOING;
    for (int i = 0; i < received; i++) {
        if (outcome == GOING)
            outcome = on_message(channel, counts, batch.bytes[i], &batch.headers[i]);
        else if (outcome == VIOLATED) {
            int fd = -1;
            if (take_descriptors(&batch.headers[i].msg_hdr, &fd) > 0)
                close(fd);
        }
        batch.headers[i].msg_hdr.msg_controllen = CONTROL_ROOM;
    }
    if (outcome == GOING) {
        acknowledge(channel, service);
        return 0;
    }
    finish(channel, service, counts, outcome);
    return -1;
}
