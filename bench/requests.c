/*
 * Clients that make one request per connection, for servers behind the door: connect, TLS handshake (-s), GET, read to
 * the end, begin again; or, with -k, one request after the other on a connection that is kept for as long as the server
 * keeps it. A closed loop in one thread. Prints one JSON object as load.c does, with the CPU time of the processes it was
 * told to watch. SIGINT or SIGTERM ends it in order: requests that have begun are waited for, and those that get no answer
 * are counted.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "histogram.h"
#ifdef REQUESTS_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

static const char usage[] =
    "usage: requests [options] ADDRESS:PORT\n"
    "  -s NAME     over TLS, with this server name; certificates are not checked\n"
    "  -c CLIENTS  at the same time (default 64)\n"
    "  -d SECONDS  how long to measure (default 2)\n"
    "  -w SECONDS  warm-up before that, not measured (default 0.5)\n"
    "  -r MILLIS   a client's rest after each request (default 0: none)\n"
    "  -q FILE     sent in place of the request, 511 bytes at most; the server ends the connection\n"
    "  -l PROTOCOL offered by ALPN (with -s)\n"
    "  -e TEXT     what a whole answer ends with, 15 bytes at most (default: any answer is whole)\n"
    "  -k          keep connections; needs -e, to know an answer's end\n"
    "  -a SOURCES  client addresses, out of 127.64.0.0/16 (default 0: 127.0.0.1)\n"
    "  -u PID      report the CPU time of this process too; may be repeated\n";

enum { MOST_WATCHED = 64, EVENTS = 64, REST_MILLISECONDS = 20, LAST_ANSWERS_SECONDS = 10, TAIL = 16 };
enum stage { CONNECTING, SHAKING, READING, RESTING };
/* Refused: no connection was made, and so none is lost. Halved: the answer has an end too early. */
enum failure { REFUSED, RESET, CLOSED, HALVED, UNANSWERED, OTHER, FAILURES };
static const char last_head[] = "\r\nConnection: close\r\n";
static const char *const failure_names[FAILURES] = {"refused", "reset", "closed", "halved", "unanswered", "other"};

struct client {
    int fd;
    enum stage stage;
    uint64_t received;
    uint64_t began;
    /* The end of its rest. */
    uint64_t due;
    /* The last bytes of the answer. */
    char tail[TAIL];
    /* The server has said that it ends the connection behind this answer (RFC 9112 section 9.6). */
    int is_last;
#ifdef REQUESTS_TLS
    SSL *tls;
#endif
};

static struct sockaddr_in server;
static const char *server_name, *protocol;
static char request[512];
static size_t request_length;
static uint32_t sources, next_source;
static int epoll;
static uint64_t completed, failures[FAILURES];
static uint64_t rest;
static const char *ending = "";
static int is_keeping;
static uint64_t connections;
static uint64_t resting;
static int is_measuring, is_ending;
static struct histogram latency;
/* When the last answer was complete, and the longest time between two, in nanoseconds. */
static uint64_t answered_at, longest_gap;
#ifdef REQUESTS_TLS
static SSL_CTX *context;
#endif

static void let_rest(struct client *client, uint64_t nanoseconds)
{
    client->stage = RESTING;
    client->due = clock_nanoseconds(CLOCK_MONOTONIC) + nanoseconds;
    resting++;
}

static void begin(struct client *client);

/* The client must be open. */
static void leave(struct client *client)
{
#ifdef REQUESTS_TLS
    SSL_free(client->tls);
    client->tls = NULL;
#endif
    close(client->fd);
}

static void give_up(struct client *client, enum failure failure)
{
    failures[failure]++;
    leave(client);
    /* A closed port would make it spin. */
    const uint64_t least = REST_MILLISECONDS * 1000000ull;
    let_rest(client, rest > least ? rest : least);
}

static enum failure failure_of(int code)
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

static void count_answer(struct client *client)
{
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
    completed++;
    if (is_measuring) {
        histogram_record(&latency, now - client->began);
        if (!is_ending && now - answered_at > longest_gap)
            longest_gap = now - answered_at;
        answered_at = now;
    }
}

static void complete(struct client *client)
{
    count_answer(client);
    leave(client);
    if (rest > 0 || is_ending)
        let_rest(client, rest);
    else
        begin(client);
}

static int is_whole(const struct client *client)
{
    size_t length = strlen(ending);
    size_t have = client->received < TAIL ? (size_t)client->received : TAIL;
    return have >= length && memcmp(client->tail + have - length, ending, length) == 0;
}

/* The server has ended the connection. */
static void end(struct client *client)
{
    if (client->received == 0)
        give_up(client, CLOSED);
    else if (!is_whole(client))
        give_up(client, HALVED);
    else
        complete(client);
}

/* Keeps the last bytes. */
static void receive_tail(struct client *client, const char *bytes, size_t count)
{
    size_t have = client->received < TAIL ? (size_t)client->received : TAIL;
    client->received += count;
    if (count >= TAIL) {
        memcpy(client->tail, bytes + count - TAIL, TAIL);
        return;
    }
    size_t kept = have + count > TAIL ? TAIL - count : have;
    memmove(client->tail, client->tail + have - kept, kept);
    memcpy(client->tail + kept, bytes, count);
}

static void begin(struct client *client)
{
    const int on = 1;
    client->stage = CONNECTING;
    client->received = 0;
    client->is_last = 0;
    client->began = clock_nanoseconds(CLOCK_MONOTONIC);
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail_errno("socket");
    if (sources > 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7f400001u + next_source++ % sources);
        if (setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
            bind(client->fd, (const struct sockaddr *)&source, sizeof source) != 0)
            fail_errno("bind");
    }
    if (connect(client->fd, (const struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS) {
        give_up(client, failure_of(errno));
        return;
    }
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        fail_errno("epoll_ctl");
}

#ifdef REQUESTS_TLS
/* As errno: EAGAIN is later. */
static int tls_errno(struct client *client, int result)
{
    int code = errno;
    int error = SSL_get_error(client->tls, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return EAGAIN;
    return error == SSL_ERROR_SYSCALL && code != 0 && code != EAGAIN ? code : EPROTO;
}

/* 1: go on, 0: later, -1 with errno. */
static int shake(struct client *client)
{
    if (client->tls == NULL) {
        client->tls = SSL_new(context);
        if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1 ||
            SSL_set_tlsext_host_name(client->tls, server_name) != 1)
            fail("cannot begin TLS");
    }
    errno = 0;
    int result = SSL_connect(client->tls);
    if (result > 0)
        return 1;
    errno = tls_errno(client, result);
    return errno == EAGAIN ? 0 : -1;
}
#endif

static ssize_t receive(struct client *client, char *buffer, size_t size)
{
#ifdef REQUESTS_TLS
    if (client->tls != NULL) {
        errno = 0;
        int count = SSL_read(client->tls, buffer, (int)size);
        if (count > 0)
            return count;
        if (SSL_get_error(client->tls, count) == SSL_ERROR_ZERO_RETURN)
            return 0;
        errno = tls_errno(client, count);
        return -1;
    }
#endif
    return read(client->fd, buffer, size);
}

static int send_request(struct client *client)
{
#ifdef REQUESTS_TLS
    if (client->tls != NULL)
        return SSL_write(client->tls, request, (int)request_length) == (int)request_length;
#endif
    return write(client->fd, request, request_length) == (ssize_t)request_length;
}

/* The answer to a request on a kept connection is whole. 1: the next one is sent. */
static int go_on(struct client *client)
{
    if (client->is_last || is_ending) {
        complete(client);
        return 0;
    }
    count_answer(client);
    client->received = 0;
    client->began = clock_nanoseconds(CLOCK_MONOTONIC);
    if (send_request(client))
        return 1;
    give_up(client, failure_of(errno));
    return 0;
}

static int connect_error(int fd)
{
    int code = 0;
    socklen_t length = sizeof code;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &length) == 0 ? code : errno;
}

static void advance(struct client *client, uint32_t events)
{
    if (client->stage == RESTING)
        return;
    if (client->stage == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            give_up(client, failure_of(connect_error(client->fd)));
            return;
        }
        if (!(events & EPOLLOUT))
            return;
        client->stage = SHAKING;
    }
    if (client->stage == SHAKING) {
#ifdef REQUESTS_TLS
        int status = server_name == NULL ? 1 : shake(client);
        if (status < 0)
            give_up(client, failure_of(errno));
        if (status <= 0)
            return;
#endif
        if (!send_request(client)) {
            give_up(client, failure_of(errno));
            return;
        }
        connections++;
        client->stage = READING;
    }
    for (;;) {
        char buffer[4096];
        ssize_t count = receive(client, buffer, sizeof buffer);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count < 0) {
            give_up(client, failure_of(errno));
            return;
        }
        if (count == 0) {
            end(client);
            return;
        }
        /* The head comes in one piece with the first bytes from any server that writes it at once. */
        if (is_keeping && client->received == 0)
            client->is_last = memmem(buffer, (size_t)count, last_head, sizeof last_head - 1) != NULL;
        receive_tail(client, buffer, (size_t)count);
        if (is_keeping && is_whole(client) && !go_on(client))
            return;
    }
}

/* Begins again with those that have rested. Returns how long to wait for others, in milliseconds. */
static int end_rests(struct client *clients, uint64_t count)
{
    uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC), next = now + REST_MILLISECONDS * 1000000ull;
    if (resting == 0 || is_ending)
        return REST_MILLISECONDS;
    for (uint64_t i = 0; i < count; i++) {
        if (clients[i].stage != RESTING)
            continue;
        if (clients[i].due <= now) {
            resting--;
            begin(&clients[i]);
        } else if (clients[i].due < next) {
            next = clients[i].due;
        }
    }
    return (int)((next - now + 999999) / 1000000);
}

struct sample {
    uint64_t time, completed, connections, failures[FAILURES], watched[MOST_WATCHED];
};

static struct sample take_sample(const int *watched, unsigned count)
{
    struct sample sample = {.time = clock_nanoseconds(CLOCK_MONOTONIC), .completed = completed, .connections = connections};
    memcpy(sample.failures, failures, sizeof failures);
    for (unsigned i = 0; i < count; i++)
        sample.watched[i] = process_cpu_nanoseconds(watched[i]);
    return sample;
}

static struct sample begin_measuring(const int *watched, unsigned count)
{
    struct sample sample = take_sample(watched, count);
    answered_at = sample.time;
    is_measuring = 1;
    printf("{\"measuring\":true}\n");
    fflush(stdout);
    return sample;
}

static volatile sig_atomic_t is_told_to_end;

static void on_signal(int signal)
{
    (void)signal;
    is_told_to_end = 1;
}

/* Returns its length. */
static size_t read_request(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_errno("%s", path);
    size_t length = fread(request, 1, sizeof request, file);
    if (ferror(file))
        fail_errno("%s", path);
    fclose(file);
    if (length == 0 || length == sizeof request)
        fail("-q: 1 to %zu bytes", sizeof request - 1);
    return length;
}

int main(int count, char **arguments)
{
    uint64_t clients = 64, duration = 2 * NANOSECONDS_PER_SECOND, warm_up = NANOSECONDS_PER_SECOND / 2;
    int watched[MOST_WATCHED], option;
    unsigned watched_count = 0;
    end_with_parent(SIGKILL);
    while ((option = getopt(count, arguments, "s:c:d:w:r:q:l:e:ka:u:h")) != -1) {
        switch (option) {
        case 's': server_name = optarg; break;
        case 'c': clients = parse_number(optarg, "-c", 1, 10000); break;
        case 'd': duration = parse_seconds(optarg, "-d"); break;
        case 'w': warm_up = parse_seconds(optarg, "-w"); break;
        case 'r': rest = 1000000 * parse_number(optarg, "-r", 0, 60000); break;
        case 'q': request_length = read_request(optarg); break;
        case 'l': protocol = optarg; break;
        case 'e':
            if (strlen(optarg) >= TAIL)
                fail("-e: at most %d bytes", TAIL - 1);
            ending = optarg;
            break;
        case 'k': is_keeping = 1; break;
        case 'a': sources = (uint32_t)parse_number(optarg, "-a", 0, 65000); break;
        case 'u':
            if (watched_count == MOST_WATCHED)
                fail("at most %d times -u", MOST_WATCHED);
            watched[watched_count++] = (int)parse_number(optarg, "-u", 1, 1 << 30);
            break;
        default: print_usage(usage, option == 'h');
        }
    }
    if (optind != count - 1)
        print_usage(usage, 0);
    if (is_keeping && (*ending == '\0' || rest > 0))
        fail("-k needs -e, and goes without -r");
    server = parse_address(arguments[optind]);
    if (request_length == 0)
        request_length = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %.255s\r\n%s\r\n",
                                          server_name == NULL ? "localhost" : server_name,
                                          is_keeping ? "" : "Connection: close\r\n");
#ifdef REQUESTS_TLS
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fail("no TLS");
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (protocol != NULL) {
        unsigned char offer[256];
        size_t length = strlen(protocol);
        if (length == 0 || length >= sizeof offer)
            fail("-l: 1 to %zu bytes", sizeof offer - 1);
        offer[0] = (unsigned char)length;
        memcpy(offer + 1, protocol, length);
        if (SSL_CTX_set_alpn_protos(context, offer, (unsigned)length + 1) != 0)
            fail("no ALPN");
    }
#else
    if (server_name != NULL)
        fail("compiled without TLS");
#endif
    raise_descriptor_limit();
    /* Without SA_RESTART: the wait ends. */
    struct sigaction action = {.sa_handler = on_signal};
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    if (sigaction(SIGINT, &action, NULL) != 0 || sigaction(SIGTERM, &action, NULL) != 0)
        fail_errno("sigaction");
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail_errno("epoll_create1");
    struct client *all = calloc(clients, sizeof *all);
    if (all == NULL)
        fail("no memory");
    struct sample before = {0}, after;
    /* Without a warm-up the first answer counts too. */
    if (warm_up == 0)
        before = begin_measuring(watched, watched_count);
    /* Spread over the rest, so that they do not come all at once. */
    for (uint64_t i = 0; i < clients; i++)
        if (rest > 0)
            let_rest(&all[i], rest * i / clients);
        else
            begin(&all[i]);

    uint64_t start = clock_nanoseconds(CLOCK_MONOTONIC) + warm_up, last = UINT64_MAX;
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, end_rests(all, clients));
        for (int i = 0; i < ready; i++)
            advance(events[i].data.ptr, events[i].events);
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (before.time == 0 && (now >= start || is_told_to_end))
            before = begin_measuring(watched, watched_count);
        if (is_told_to_end && !is_ending) {
            is_ending = 1;
            last = now + LAST_ANSWERS_SECONDS * NANOSECONDS_PER_SECOND;
            if (now - answered_at > longest_gap)
                longest_gap = now - answered_at;
        }
        if (is_ending && (resting == clients || now >= last)) {
            failures[UNANSWERED] += clients - resting;
            break;
        }
        if (!is_ending && before.time != 0 && now >= before.time + duration)
            break;
    }
    after = take_sample(watched, watched_count);
    double seconds = (double)(after.time - before.time) / 1e9;
    uint64_t failed = 0;
    printf("{\"completed\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"failures\":{", after.completed - before.completed,
           after.connections - before.connections);
    for (int kind = 0; kind < FAILURES; kind++) {
        uint64_t times = after.failures[kind] - before.failures[kind];
        failed += times;
        printf("%s\"%s\":%" PRIu64, kind == 0 ? "" : ",", failure_names[kind], times);
    }
    printf("},\"failed\":%" PRIu64 ",\"seconds\":%.6f,\"latencyMicroseconds\":{\"p50\":%.1f,\"p99\":%.1f,\"max\":%.1f}", failed,
           seconds, (double)histogram_quantile(&latency, 0.5) / 1e3, (double)histogram_quantile(&latency, 0.99) / 1e3,
           (double)latency.largest / 1e3);
    printf(",\"longestGapMicroseconds\":%.1f,\"watched\":[", (double)longest_gap / 1e3);
    for (unsigned i = 0; i < watched_count; i++)
        printf("%s{\"pid\":%d,\"cpuSeconds\":%.9f}", i == 0 ? "" : ",", watched[i],
               (double)(after.watched[i] - before.watched[i]) / 1e9);
    printf("]}\n");
    return 0;
}
