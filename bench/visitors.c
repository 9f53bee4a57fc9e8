#include "common.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "stream.h"
#include "visitors.h"

const char *const visit_failure_names[VISIT_FAILURES] = {"refused", "reset", "closed", "halved", "unanswered", "other"};

enum { EVENTS = 64, TAIL = LONGEST_ENDING + 1, MOST_READS = 16 };
enum { REST_NANOSECONDS = 20 * 1000 * 1000 };
static const char last_head[] = "\r\nConnection: close\r\n";

/* Free: in an open loop, with or without a connection. Leaving: all is counted, the server's end is waited for. */
enum stage { RESTING, FREE, CONNECTING, SHAKING, READING, LEAVING };

struct visitor {
    struct stream stream;
    enum stage stage;
    uint64_t received;
    /* In an open loop, when it was due. */
    uint64_t began;
    /* The end of its rest. */
    uint64_t due;
    /* The last bytes of the answer. */
    char tail[TAIL];
    /* The server has said that it ends the connection behind this answer (RFC 9112 section 9.6). */
    int is_last;
};

struct loop {
    struct visitors *visitors;
    const struct visit_options *options;
    struct visit_state *state;
    struct visitor *all;
    int epoll;
    uint64_t now;
    uint32_t next_source;
    uint32_t resting;
    /* A ring of those that are free, the one that has been so longest first. */
    uint32_t *free, free_at, free_count;
    uint64_t arrivals;
    int is_starved;
};

static void add(_Atomic uint64_t *counter, uint64_t number)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + number, memory_order_relaxed);
}

static int is_ending(const struct loop *loop)
{
    return atomic_load_explicit(&loop->state->ending, memory_order_relaxed);
}

static int is_measured(const struct loop *loop, uint64_t began)
{
    if (loop->options->rate == 0)
        return atomic_load_explicit(&loop->state->measuring, memory_order_relaxed);
    return began >= atomic_load_explicit(&loop->state->from, memory_order_relaxed) &&
           began < atomic_load_explicit(&loop->state->to, memory_order_relaxed);
}

/* It has nothing under way: rests, or waits for what is due. */
static void let_rest(struct loop *loop, struct visitor *visitor, uint64_t nanoseconds)
{
    if (loop->options->rate > 0) {
        visitor->stage = FREE;
        loop->free[(loop->free_at + loop->free_count++) % loop->visitors->count] = (uint32_t)(visitor - loop->all);
    } else {
        visitor->stage = RESTING;
        visitor->due = clock_nanoseconds(CLOCK_MONOTONIC) + nanoseconds;
        loop->resting++;
    }
    atomic_store_explicit(&loop->visitors->idle, loop->resting + loop->free_count, memory_order_relaxed);
}

static void give_up(struct loop *loop, struct visitor *visitor, enum visit_failure failure)
{
    add(&loop->visitors->failures[failure], 1);
    stream_close(&visitor->stream);
    /* A closed port would make it spin. */
    let_rest(loop, visitor, loop->options->rest > REST_NANOSECONDS ? loop->options->rest : REST_NANOSECONDS);
}

static enum visit_failure failure_of(int code)
{
    switch (code) {
    case ECONNREFUSED: return REFUSED;
    case ECONNRESET:
    case EPIPE: return RESET;
    case 0:
    case EPROTO: return CLOSED;
    default: return OTHER;
    }
}

static void count_answer(struct loop *loop, const struct visitor *visitor)
{
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
    add(&loop->visitors->completed, 1);
    if (is_measured(loop, visitor->began))
        histogram_record(&loop->visitors->latency, now - visitor->began);
    if (!atomic_load_explicit(&loop->state->measuring, memory_order_relaxed))
        return;
    uint64_t before = atomic_exchange(&loop->state->answered_at, now);
    uint64_t gap = now > before ? now - before : 0, longest = atomic_load(&loop->state->longest_gap);
    while (!is_ending(loop) && gap > longest && !atomic_compare_exchange_weak(&loop->state->longest_gap, &longest, gap))
        continue;
}

static void begin(struct loop *loop, struct visitor *visitor, uint64_t planned);

/* The connection is over, and all of it was counted. */
static void leave(struct loop *loop, struct visitor *visitor)
{
    stream_close(&visitor->stream);
    if (loop->options->rest > 0 || loop->options->rate > 0 || is_ending(loop))
        let_rest(loop, visitor, loop->options->rest);
    else
        begin(loop, visitor, 0);
}

static int is_whole(const struct loop *loop, const struct visitor *visitor)
{
    const char *ending = loop->options->ending;
    size_t length = strlen(ending);
    size_t have = visitor->received < TAIL ? (size_t)visitor->received : TAIL;
    return have >= length && memcmp(visitor->tail + have - length, ending, length) == 0;
}

/* The server has ended the connection. */
static void end(struct loop *loop, struct visitor *visitor)
{
    if (visitor->received == 0) {
        give_up(loop, visitor, CLOSED);
    } else if (!is_whole(loop, visitor)) {
        give_up(loop, visitor, HALVED);
    } else {
        count_answer(loop, visitor);
        leave(loop, visitor);
    }
}

/* Keeps the last bytes. */
static void receive_tail(struct visitor *visitor, const char *bytes, size_t count)
{
    size_t have = visitor->received < TAIL ? (size_t)visitor->received : TAIL;
    visitor->received += count;
    if (count >= TAIL) {
        memcpy(visitor->tail, bytes + count - TAIL, TAIL);
        return;
    }
    size_t kept = have + count > TAIL ? TAIL - count : have;
    memmove(visitor->tail, visitor->tail + have - kept, kept);
    memcpy(visitor->tail + kept, bytes, count);
}

/* Returns 0 if the visitor has given up. */
static int send_request(struct loop *loop, struct visitor *visitor)
{
    visitor->stage = READING;
    visitor->received = 0;
    if (stream_write(&visitor->stream, loop->options->request, loop->options->request_length))
        return 1;
    give_up(loop, visitor, failure_of(errno));
    return 0;
}

/* `planned`: when it is due, in an open loop; 0: now. */
static void begin(struct loop *loop, struct visitor *visitor, uint64_t planned)
{
    visitor->began = planned > 0 ? planned : clock_nanoseconds(CLOCK_MONOTONIC);
    if (visitor->stream.fd >= 0) {
        send_request(loop, visitor);
        return;
    }
    const int on = 1;
    visitor->stage = CONNECTING;
    visitor->received = 0;
    visitor->is_last = 0;
    int fd = visitor->stream.fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        fail_errno("socket");
    if (loop->options->sources > 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        /* 127.64.0.1 and up; the threads' connections interleave. */
        uint32_t number = loop->next_source++ * loop->options->threads + loop->visitors->number;
        source.sin_addr.s_addr = htonl(0x7f400001u + number % loop->options->sources);
        if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
            bind(fd, (const struct sockaddr *)&source, sizeof source) != 0)
            fail_errno("bind");
    }
    const struct sockaddr_in *server = &loop->options->server;
    if (connect(fd, (const struct sockaddr *)server, sizeof *server) != 0 && errno != EINPROGRESS) {
        give_up(loop, visitor, failure_of(errno));
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = visitor};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, fd, &event) != 0)
        fail_errno("epoll_ctl");
}

/* The answer to a request on a kept connection is whole. Returns 1 if another one is under way. */
static int go_on(struct loop *loop, struct visitor *visitor)
{
    count_answer(loop, visitor);
    if (visitor->is_last || is_ending(loop)) {
        leave(loop, visitor);
        return 0;
    }
    if (loop->options->rate > 0) {
        let_rest(loop, visitor, 0);
        return 0;
    }
    visitor->began = clock_nanoseconds(CLOCK_MONOTONIC);
    return send_request(loop, visitor);
}

static int connect_error(int fd)
{
    int code = 0;
    socklen_t length = sizeof code;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno;
}

/* Connection and handshake. Returns 1 when the request is under way. */
static int open_up(struct loop *loop, struct visitor *visitor, uint32_t events)
{
    if (visitor->stage == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            give_up(loop, visitor, failure_of(connect_error(visitor->stream.fd)));
            return 0;
        }
        if (!(events & EPOLLOUT))
            return 0;
        visitor->stage = SHAKING;
    }
    int status = stream_handshake(&visitor->stream);
    if (status < 0)
        give_up(loop, visitor, failure_of(errno));
    if (status <= 0)
        return 0;
    if (!loop->options->handshakes_only && !send_request(loop, visitor))
        return 0;
    add(&loop->visitors->connections, 1);
    if (!loop->options->handshakes_only)
        return 1;
    count_answer(loop, visitor);
    stream_finish(&visitor->stream);
    visitor->stage = LEAVING;
    return 1;
}

static char *room(void)
{
    static _Thread_local char bytes[STREAM_ROOM];
    return bytes;
}

/* Throws away what the server still sends (session tickets), until it has ended the connection as well. */
static void wait_for_end(struct loop *loop, struct visitor *visitor)
{
    ssize_t count;
    while ((count = read(visitor->stream.fd, room(), STREAM_ROOM)) > 0)
        continue;
    if (count == 0 || errno != EAGAIN)
        leave(loop, visitor);
}

/* A free client's connection: the server may end it. */
static void look_at_free(struct visitor *visitor)
{
    ssize_t count;
    while ((count = stream_read(&visitor->stream, room(), STREAM_ROOM)) > 0)
        continue;
    if (count == 0 || errno != EAGAIN)
        stream_close(&visitor->stream);
}

static void receive(struct loop *loop, struct visitor *visitor)
{
    char *buffer = room();
    for (int turn = 0; turn < MOST_READS; turn++) {
        ssize_t count = stream_read(&visitor->stream, buffer, STREAM_ROOM);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) {
            give_up(loop, visitor, failure_of(errno));
            return;
        }
        if (count == 0) {
            end(loop, visitor);
            return;
        }
        add(&loop->visitors->bytes, (uint64_t)count);
        /* The head comes in one piece with the first bytes from any server that writes it at once. */
        if (loop->options->keep && visitor->received == 0)
            visitor->is_last = memmem(buffer, (size_t)count, last_head, sizeof last_head - 1) != NULL;
        receive_tail(visitor, buffer, (size_t)count);
        if (loop->options->keep && is_whole(loop, visitor) && !go_on(loop, visitor))
            return;
    }
    /* The others' turn. There may be more, of which an edge has told already; this asks anew. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = visitor};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, visitor->stream.fd, &event) != 0)
        fail_errno("epoll_ctl");
}

static void advance(struct loop *loop, struct visitor *visitor, uint32_t events)
{
    if (visitor->stage == RESTING || visitor->stream.fd < 0)
        return;
    if (visitor->stage == FREE) {
        look_at_free(visitor);
        return;
    }
    if ((visitor->stage == CONNECTING || visitor->stage == SHAKING) && !open_up(loop, visitor, events))
        return;
    if (visitor->stage == LEAVING)
        wait_for_end(loop, visitor);
    else
        receive(loop, visitor);
}

/* Begins again with those that have rested. Returns when the next one has, at most a while from now. */
static uint64_t end_rests(struct loop *loop)
{
    uint64_t next = loop->now + REST_NANOSECONDS;
    for (uint32_t i = 0; loop->resting > 0 && !is_ending(loop) && i < loop->visitors->count; i++) {
        struct visitor *visitor = &loop->all[i];
        if (visitor->stage == RESTING && visitor->due <= loop->now) {
            loop->resting--;
            atomic_store_explicit(&loop->visitors->idle, loop->resting, memory_order_relaxed);
            begin(loop, visitor, 0);
        } else if (visitor->stage == RESTING && visitor->due < next) {
            next = visitor->due;
        }
    }
    return next;
}

/* When this thread's next request is due, in an open loop: the threads' arrivals interleave evenly. */
static uint64_t next_arrival(const struct loop *loop)
{
    double number = (double)loop->arrivals * loop->options->threads + loop->visitors->number;
    return loop->options->start + (uint64_t)(number * 1e9 / (double)loop->options->rate);
}

static int is_over(const struct loop *loop, uint64_t arrival)
{
    return arrival >= atomic_load_explicit(&loop->state->to, memory_order_relaxed) || is_ending(loop);
}

/* As of clients.c: begins what is due, and returns when the next one is. */
static uint64_t run_arrivals(struct loop *loop)
{
    struct visitors *visitors = loop->visitors;
    const uint64_t later = loop->now + REST_NANOSECONDS;
    for (;;) {
        uint64_t arrival = next_arrival(loop);
        int over = is_over(loop, arrival);
        if (over && loop->free_count == visitors->count)
            atomic_store_explicit(&visitors->drained, 1, memory_order_relaxed);
        if (over || arrival > loop->now) {
            loop->is_starved = 0;
            return over || arrival > later ? later : arrival;
        }
        if (loop->free_count == 0) {
            loop->is_starved = 1;
            return later;
        }
        struct visitor *visitor = &loop->all[loop->free[loop->free_at]];
        loop->free_at = (loop->free_at + 1) % visitors->count;
        loop->free_count--;
        loop->arrivals++;
        if (is_measured(loop, arrival)) {
            visitors->due++;
            if (loop->is_starved)
                visitors->starved++;
            else
                histogram_record(&visitors->lateness, loop->now - arrival);
        }
        begin(loop, visitor, arrival);
        atomic_store_explicit(&visitors->idle, loop->free_count, memory_order_relaxed);
        loop->now = clock_nanoseconds(CLOCK_MONOTONIC);
    }
}

/* As of clients.c: what was not answered, or not even begun, counts with the time it has waited. */
static void count_unanswered(struct loop *loop)
{
    struct visitors *visitors = loop->visitors;
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < visitors->count; i++) {
        const struct visitor *visitor = &loop->all[i];
        if (visitor->stage >= CONNECTING && visitor->stage <= READING && is_measured(loop, visitor->began)) {
            add(&visitors->failures[UNANSWERED], 1);
            histogram_record(&visitors->latency, now - visitor->began);
        }
    }
    for (uint64_t arrival; (arrival = next_arrival(loop)) <= now && !is_over(loop, arrival); loop->arrivals++)
        if (is_measured(loop, arrival)) {
            visitors->due++;
            visitors->starved++;
            add(&visitors->failures[UNANSWERED], 1);
            histogram_record(&visitors->latency, now - arrival);
        }
}

static int wait_for_events(struct loop *loop, struct epoll_event *events, uint64_t until)
{
    const uint64_t before = clock_nanoseconds(CLOCK_MONOTONIC);
    uint64_t wait = until > before ? until - before : 0;
    struct timespec timeout = {.tv_nsec = (long)wait};
    /* Milliseconds are too coarse for what is due; the C library may be older than the call. */
    long ready = syscall(SYS_epoll_pwait2, loop->epoll, events, EVENTS, &timeout, NULL, 0);
    if (ready < 0 && errno == ENOSYS)
        ready = epoll_wait(loop->epoll, events, EVENTS, (int)((wait + 999999) / 1000000));
    if (ready < 0 && errno != EINTR)
        fail_errno("epoll_pwait2");
    loop->now = clock_nanoseconds(CLOCK_MONOTONIC);
    add(&loop->visitors->slept, loop->now - before);
    return ready < 0 ? 0 : (int)ready;
}

void *visitors_run(void *argument)
{
    struct visitors *visitors = argument;
    const struct visit_options *options = visitors->options;
    struct loop loop = {
        .visitors = visitors,
        .options = options,
        .state = visitors->state,
        .all = calloc(visitors->count, sizeof(struct visitor)),
        .free = calloc(visitors->count, sizeof(uint32_t)),
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    if (loop.epoll < 0 || loop.all == NULL || loop.free == NULL)
        fail_errno("no memory or descriptors for %u clients", visitors->count);
    /* The default slack of 50 us would delay each arrival (prctl(2)). */
    prctl(PR_SET_TIMERSLACK, 1ul);
    for (uint32_t i = 0; i < visitors->count; i++) {
        loop.all[i].stream.fd = -1;
        /* Spread over the rest, so that they do not come all at once. */
        if (options->rest > 0 || options->rate > 0)
            let_rest(&loop, &loop.all[i], options->rest * i / visitors->count);
        else
            begin(&loop, &loop.all[i], 0);
    }
    loop.now = clock_nanoseconds(CLOCK_MONOTONIC);
    while (!atomic_load_explicit(&loop.state->stopping, memory_order_relaxed)) {
        struct epoll_event events[EVENTS];
        int ready = wait_for_events(&loop, events, options->rate > 0 ? run_arrivals(&loop) : end_rests(&loop));
        for (int i = 0; i < ready; i++)
            advance(&loop, events[i].data.ptr, events[i].events);
    }
    if (options->rate > 0)
        count_unanswered(&loop);
    for (uint32_t i = 0; i < visitors->count; i++)
        if (loop.all[i].stream.fd >= 0)
            stream_close(&loop.all[i].stream);
    close(loop.epoll);
    free(loop.all);
    free(loop.free);
    return NULL;
}
