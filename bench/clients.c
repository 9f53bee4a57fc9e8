#include "common.h"

#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "clients.h"

const char *const failure_names[FAILURES] = {
    [REFUSED] = "refused",       [RESET] = "reset",     [CLOSED] = "closed",
    [TIMED_OUT] = "timedOut",    [OTHER] = "other",     [NO_ADDRESS] = "noAddress",
    [NO_DESCRIPTOR_LEFT] = "noDescriptor", [UNANSWERED] = "unanswered", [ALERTED] = "alerted",
};

enum { REST_NANOSECONDS = 10 * 1000 * 1000, LONGEST_WAIT_NANOSECONDS = 20 * 1000 * 1000 };
enum { MOST_AT_ONCE = 1 << 20, MOST_READS = 16 };

enum stage { IDLE, CONNECTING, SENT_SOME, SENT_ALL };

struct client {
    int fd;
    enum stage stage;
    /* In an open loop, when it should have begun. */
    uint64_t began;
    /* What the next queue waits for. */
    uint64_t due;
    uint64_t name;
    /* Bytes of the hello. */
    size_t sent;
    /* The answer has begun. */
    int answered;
    /* In one of the queues below. */
    struct client *before;
    struct client *after;
};

/* Every queue holds deadlines of one length, so the order of arrival is the order of time. */
struct queue {
    struct client *first;
    struct client *last;
};

struct loop {
    struct clients *clients;
    const struct load_options *options;
    struct hello hello;
    int epoll;
    uint64_t now;
    uint64_t random;
    uint32_t source;
    struct queue timeouts; /* every open connection that waits for nothing below */
    struct queue pauses;   /* between segments */
    struct queue rests;    /* no connection, for a while */
    struct queue free;     /* no connection, until there is one to make (open loop), or for good (one each) */
    uint64_t arrivals;     /* of this thread, of those that are begun */
    int is_starved;        /* the next arrival is overdue because no client is free */
};

static void push(struct queue *queue, struct client *client, uint64_t due)
{
    client->due = due;
    client->after = NULL;
    client->before = queue->last;
    *(queue->last == NULL ? &queue->first : &queue->last->after) = client;
    queue->last = client;
}

static void take(struct queue *queue, struct client *client)
{
    *(client->before == NULL ? &queue->first : &client->before->after) = client->after;
    *(client->after == NULL ? &queue->last : &client->after->before) = client->before;
}

static void add(_Atomic uint64_t *counter, uint64_t number)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + number, memory_order_relaxed);
}

static uint64_t next_random(struct loop *loop)
{
    /* xorshift64 (Marsaglia 2003): which name comes next must not be foreseeable for a cache. */
    uint64_t x = loop->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    return loop->random = x;
}

static void close_connection(struct client *client)
{
    if (client->fd >= 0)
        close(client->fd);
    client->fd = -1;
    client->stage = IDLE;
}

static uint64_t rest_of(const struct loop *loop)
{
    return loop->options->rest_nanoseconds > 0 ? loop->options->rest_nanoseconds : REST_NANOSECONDS;
}

/* Whether the connection's latency is asked for: in an open loop what should have begun while it is measured counts,
 * whenever it ends; in a closed loop what ends while it is measured. */
static int is_measured(const struct loop *loop, uint64_t began)
{
    const struct load_state *state = loop->clients->state;
    if (loop->options->rate == 0)
        return atomic_load_explicit(&state->measuring, memory_order_relaxed);
    return began >= atomic_load_explicit(&state->from, memory_order_relaxed) &&
           began < atomic_load_explicit(&state->to, memory_order_relaxed);
}

/* Whether a client begins by itself after a connection. */
static int is_closed_loop(const struct loop *loop)
{
    return loop->options->rate == 0 && !loop->options->once;
}

/* Counts, closes what is open, and lets the client rest. The client must be in no queue. */
static void give_up(struct loop *loop, struct client *client, enum failure failure)
{
    add(&loop->clients->failed[failure], 1);
    /* It took that long at least: left out, a server that answers nobody would look quick. */
    if (failure == TIMED_OUT && loop->options->rate > 0 && is_measured(loop, client->began))
        histogram_record(&loop->clients->latency, loop->now - client->began);
    close_connection(client);
    push(is_closed_loop(loop) ? &loop->rests : &loop->free, client, loop->now + rest_of(loop));
}

static enum failure failure_of(int code)
{
    switch (code) {
    case ECONNREFUSED: return REFUSED;
    case ECONNRESET:
    case EPIPE: return RESET;
    case ETIMEDOUT: return TIMED_OUT;
    case EADDRNOTAVAIL:
    case EADDRINUSE: return NO_ADDRESS;
    case EMFILE:
    case ENFILE: return NO_DESCRIPTOR_LEFT;
    default: return OTHER;
    }
}

/* 127.64.0.1 and up, another part for each thread: all of 127.0.0.0/8 is this machine. */
static int bind_source(struct loop *loop, int fd)
{
    const int on = 1;
    uint32_t number = loop->source;
    loop->source = number + 1 == loop->options->sources ? 0 : number + 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(0x7f400001u + (loop->clients->number % 64u << 16) + number);
    /* The port is then chosen by connect(2), for this target only: any other may use it at the same time (ip(7)). */
    return setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
                   bind(fd, (const struct sockaddr *)&source, sizeof source) != 0
               ? -1
               : 0;
}

static int open_socket(struct loop *loop)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -1;
    if ((loop->options->sources > 0 && bind_source(loop, fd) != 0) ||
        (loop->options->segment > 0 && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)) {
        int code = errno;
        close(fd);
        errno = code;
        return -1;
    }
    return fd;
}

/* Sends the segment of the hello that is next. Returns 1, 0 if not connected yet, -1 with errno. */
static int send_next(struct loop *loop, struct client *client)
{
    size_t segment = loop->options->segment;
    size_t from = client->stage == SENT_SOME ? client->sent : 0;
    size_t to = segment == 0 || loop->hello.length - from < segment ? loop->hello.length : from + segment;
    hello_set_name(&loop->hello, client->name);
    ssize_t sent = send(client->fd, loop->hello.bytes + from, to - from, MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN && client->stage == CONNECTING ? 0 : -1;
    if ((size_t)sent != to - from) {
        errno = ENOBUFS; /* an empty send buffer takes any hello */
        return -1;
    }
    client->sent = to;
    client->stage = to == loop->hello.length ? SENT_ALL : SENT_SOME;
    return 1;
}

/* Puts a client with a connection where it now belongs. */
static void enqueue(struct loop *loop, struct client *client)
{
    if (client->stage == SENT_SOME)
        push(&loop->pauses, client, loop->now + loop->options->pause_nanoseconds);
    else
        push(&loop->timeouts, client, loop->now + loop->options->timeout_nanoseconds);
}

/* `planned`: when it should begin, in an open loop; 0: now. */
static void begin(struct loop *loop, struct client *client, uint64_t planned)
{
    loop->now = clock_nanoseconds(CLOCK_MONOTONIC);
    client->began = planned > 0 ? planned : loop->now;
    client->name = loop->options->names == 1 ? 0 : next_random(loop) % loop->options->names;
    client->fd = open_socket(loop);
    client->stage = CONNECTING;
    client->answered = 0;
    if (client->fd < 0) {
        give_up(loop, client, failure_of(errno));
        return;
    }
    /* On loopback the handshake is over when connect returns, EINPROGRESS though it says: the hello goes out at once. */
    const struct sockaddr_in *target = &loop->options->target;
    int sent = connect(client->fd, (const struct sockaddr *)target, sizeof *target) == 0 || errno == EINPROGRESS
                   ? send_next(loop, client)
                   : -1;
    if (sent < 0) {
        give_up(loop, client, failure_of(errno));
        return;
    }
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET | (sent ? 0 : EPOLLOUT), .data.ptr = client};
    if (epoll_ctl(loop->epoll, EPOLL_CTL_ADD, client->fd, &wanted) != 0)
        fail_errno("epoll_ctl");
    enqueue(loop, client);
}

/* The answer is there: the connection is complete. */
static void complete(struct loop *loop, struct client *client)
{
    uint64_t end = clock_nanoseconds(CLOCK_MONOTONIC);
    add(&loop->clients->completed, 1);
    if (is_measured(loop, client->began))
        histogram_record(&loop->clients->latency, end - client->began);
    close_connection(client);
    if (!is_closed_loop(loop))
        push(&loop->free, client, 0);
    else if (loop->options->rest_nanoseconds > 0)
        push(&loop->rests, client, end + rest_of(loop));
    else
        begin(loop, client, 0);
}

/* Reads what is there of a whole answer, but goes on to the other clients after a while. MSG_TRUNC: bytes are dropped
 * in the kernel, uncopied (tcp(7)), so that the generator takes as little as it can from the machine. */
static void read_on(struct loop *loop, struct client *client)
{
    ssize_t length = 1;
    for (int turn = 0; length > 0 && turn < MOST_READS; turn++) {
        length = recv(client->fd, NULL, MOST_AT_ONCE, MSG_TRUNC);
        if (length > 0) {
            client->answered = 1;
            add(&loop->clients->bytes, (uint64_t)length);
        }
    }
    int code = errno;
    take(&loop->timeouts, client);
    if (length > 0) {
        /* There may be more, of which an edge has told already; this asks anew. */
        struct epoll_event wanted = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.ptr = client};
        if (epoll_ctl(loop->epoll, EPOLL_CTL_MOD, client->fd, &wanted) != 0)
            fail_errno("epoll_ctl");
    }
    if (length > 0 || (length < 0 && code == EAGAIN))
        push(&loop->timeouts, client, loop->now + loop->options->timeout_nanoseconds);
    else if (length == 0 && client->answered)
        complete(loop, client);
    else
        give_up(loop, client, length == 0 ? CLOSED : failure_of(code));
}

/* A fatal TLS alert (RFC 8446 6: level 2) is a router's refusal, no server's answer. */
static int is_refusal(const uint8_t *answer, ssize_t length)
{
    return length >= 7 && answer[0] == 21 && answer[5] == 2;
}

static void on_event(struct loop *loop, struct client *client, uint32_t events)
{
    struct queue *queue = client->stage == SENT_SOME ? &loop->pauses : &loop->timeouts;
    if (client->stage == CONNECTING && !(events & (EPOLLERR | EPOLLHUP))) {
        int sent = send_next(loop, client);
        if (sent != 0) {
            take(&loop->timeouts, client);
            if (sent < 0)
                give_up(loop, client, failure_of(errno));
            else
                enqueue(loop, client);
        }
        return;
    }
    if (loop->options->whole && client->stage == SENT_ALL) {
        read_on(loop, client);
        return;
    }
    /* The answer is only looked at: close() with bytes unread sends RST (RFC 1122 4.2.2.13), as SO_LINGER 0 would for
     * one more system call. For a FIN it is read. */
    uint8_t answer[64];
    ssize_t length = recv(client->fd, answer, sizeof answer, loop->options->fin ? 0 : MSG_PEEK);
    if (length < 0 && errno == EAGAIN)
        return;
    int code = errno;
    take(queue, client);
    if (is_refusal(answer, length))
        give_up(loop, client, ALERTED);
    else if (length > 0 && client->stage == SENT_ALL)
        complete(loop, client);
    else
        give_up(loop, client, length >= 0 ? CLOSED : failure_of(code));
}

/* When this thread's next connection should begin, in an open loop: the threads' arrivals interleave evenly. */
static uint64_t next_arrival(const struct loop *loop)
{
    const struct load_options *options = loop->options;
    double number = (double)loop->arrivals * options->threads + loop->clients->number;
    return options->start + (uint64_t)(number * 1e9 / (double)options->rate);
}

static int is_over(const struct loop *loop, uint64_t arrival)
{
    return arrival >= atomic_load_explicit(&loop->clients->state->to, memory_order_relaxed);
}

/* Begins what is due. An arrival that finds no client free begins later, but its time runs from when it was due. */
static void run_arrivals(struct loop *loop)
{
    for (;;) {
        uint64_t arrival = next_arrival(loop);
        if (arrival > loop->now || is_over(loop, arrival)) {
            loop->is_starved = 0;
            return;
        }
        struct client *client = loop->free.first;
        if (client == NULL) {
            loop->is_starved = 1;
            return;
        }
        take(&loop->free, client);
        loop->arrivals++;
        if (is_measured(loop, arrival)) {
            loop->clients->arrivals++;
            if (loop->is_starved)
                loop->clients->starved++;
            else
                histogram_record(&loop->clients->lateness, loop->now - arrival);
        }
        begin(loop, client, arrival);
    }
}

/* At the end of an open loop: what was not answered, or not even begun, counts with the time it has waited. */
static void count_unanswered(struct loop *loop, struct client *all)
{
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
    for (uint32_t i = 0; i < loop->clients->count; i++)
        if (all[i].stage != IDLE && is_measured(loop, all[i].began)) {
            add(&loop->clients->failed[UNANSWERED], 1);
            histogram_record(&loop->clients->latency, now - all[i].began);
        }
    for (uint64_t arrival; (arrival = next_arrival(loop)) <= now && !is_over(loop, arrival); loop->arrivals++)
        if (is_measured(loop, arrival)) {
            loop->clients->arrivals++;
            loop->clients->starved++;
            add(&loop->clients->failed[UNANSWERED], 1);
            histogram_record(&loop->clients->latency, now - arrival);
        }
}

static void run_queues(struct loop *loop)
{
    loop->now = clock_nanoseconds(CLOCK_MONOTONIC);
    const uint64_t now = loop->now;
    struct client *client;
    while ((client = loop->pauses.first) != NULL && client->due <= now) {
        take(&loop->pauses, client);
        if (send_next(loop, client) < 0)
            give_up(loop, client, failure_of(errno));
        else
            enqueue(loop, client);
    }
    while ((client = loop->timeouts.first) != NULL && client->due <= now) {
        take(&loop->timeouts, client);
        give_up(loop, client, TIMED_OUT);
    }
    while ((client = loop->rests.first) != NULL && client->due <= now) {
        take(&loop->rests, client);
        begin(loop, client, 0);
    }
    if (loop->options->rate > 0)
        run_arrivals(loop);
}

/* Waits for events, at most until the next deadline. */
static int wait_for_events(struct loop *loop, struct epoll_event *events, int room)
{
    const uint64_t before = clock_nanoseconds(CLOCK_MONOTONIC);
    uint64_t until = before + LONGEST_WAIT_NANOSECONDS;
    const struct client *next[] = {loop->pauses.first, loop->rests.first};
    for (size_t i = 0; i < ARRAY_LENGTH(next); i++)
        if (next[i] != NULL && next[i]->due < until)
            until = next[i]->due;
    if (loop->options->rate > 0 && loop->free.first != NULL) {
        uint64_t arrival = next_arrival(loop);
        if (arrival < until && !is_over(loop, arrival))
            until = arrival;
    }
    uint64_t wait = until > before ? until - before : 0;
    struct timespec timeout = {.tv_nsec = (long)wait};
    /* Milliseconds are too coarse for a pause between segments; the C library may be older than the call. */
    long ready = syscall(SYS_epoll_pwait2, loop->epoll, events, room, &timeout, NULL, 0);
    if (ready < 0 && errno == ENOSYS)
        ready = epoll_wait(loop->epoll, events, room, (int)((wait + 999999) / 1000000));
    if (ready < 0 && errno != EINTR)
        fail_errno("epoll_pwait2");
    loop->now = clock_nanoseconds(CLOCK_MONOTONIC);
    add(&loop->clients->slept, loop->now - before);
    return ready < 0 ? 0 : (int)ready;
}

void *clients_run(void *argument)
{
    struct clients *clients = argument;
    struct loop loop = {
        .clients = clients,
        .options = clients->options,
        .hello = clients->options->hello,
        .random = 0x9e3779b97f4a7c15u + clients->number,
        .epoll = epoll_create1(EPOLL_CLOEXEC),
    };
    if (loop.epoll < 0)
        fail_errno("epoll_create1");
    struct client *all = calloc(clients->count, sizeof *all);
    if (all == NULL)
        fail("no memory for %u clients", clients->count);
    /* The default slack of 50 us would lengthen each pause (prctl(2)). */
    prctl(PR_SET_TIMERSLACK, 1ul);

    for (uint32_t i = 0; i < clients->count; i++) {
        all[i].fd = -1;
        if (loop.options->rate > 0)
            push(&loop.free, &all[i], 0);
        else
            begin(&loop, &all[i], 0);
    }
    while (!atomic_load_explicit(&clients->state->stopping, memory_order_relaxed)) {
        struct epoll_event events[256];
        int ready = wait_for_events(&loop, events, ARRAY_LENGTH(events));
        for (int i = 0; i < ready; i++)
            on_event(&loop, events[i].data.ptr, events[i].events);
        run_queues(&loop);
        if (loop.options->rate > 0 && loop.timeouts.first == NULL && loop.pauses.first == NULL &&
            !loop.is_starved && is_over(&loop, next_arrival(&loop)))
            atomic_store_explicit(&clients->drained, 1, memory_order_relaxed);
    }
    if (loop.options->rate > 0)
        count_unanswered(&loop, all);
    for (uint32_t i = 0; i < clients->count; i++)
        close_connection(&all[i]);
    free(all);
    close(loop.epoll);
    return NULL;
}
