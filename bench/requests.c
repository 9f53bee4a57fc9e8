/*
 * Clients that make one request per connection, for servers behind the door: connect, TLS handshake (-s), GET, read to
 * the end, begin again. A closed loop in one thread. Prints one JSON object as load.c does, with the CPU time of the
 * processes it was told to watch.
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
    "  -a SOURCES  client addresses, out of 127.64.0.0/16 (default 0: 127.0.0.1)\n"
    "  -u PID      report the CPU time of this process too; may be repeated\n";

enum { MOST_WATCHED = 64, EVENTS = 64, REST_MILLISECONDS = 20 };
enum stage { CONNECTING, SHAKING, READING };

struct client {
    int fd;
    enum stage stage;
    uint64_t received;
#ifdef REQUESTS_TLS
    SSL *tls;
#endif
};

static struct sockaddr_in server;
static const char *server_name;
static char request[512];
static size_t request_length;
static uint32_t sources, next_source;
static int epoll;
static uint64_t completed, failed;
#ifdef REQUESTS_TLS
static SSL_CTX *context;
#endif

static void begin(struct client *client);

/* The client must be open. */
static void end(struct client *client, int is_complete)
{
    *(is_complete ? &completed : &failed) += 1;
#ifdef REQUESTS_TLS
    SSL_free(client->tls);
    client->tls = NULL;
#endif
    close(client->fd);
    begin(client);
}

static void begin(struct client *client)
{
    const int on = 1;
    client->stage = CONNECTING;
    client->received = 0;
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
    if (connect(client->fd, (const struct sockaddr *)&server, sizeof server) != 0 && errno != EINPROGRESS)
        fail_errno("connect");
    struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = client};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, client->fd, &event) != 0)
        fail_errno("epoll_ctl");
}

#ifdef REQUESTS_TLS
/* 1: go on, 0: later, -1: failed. */
static int tls_status(struct client *client, int result)
{
    if (result > 0)
        return 1;
    int error = SSL_get_error(client->tls, result);
    return error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? 0 : -1;
}

static int shake(struct client *client)
{
    if (client->tls == NULL) {
        client->tls = SSL_new(context);
        if (client->tls == NULL || SSL_set_fd(client->tls, client->fd) != 1 ||
            SSL_set_tlsext_host_name(client->tls, server_name) != 1)
            fail("cannot begin TLS");
    }
    return tls_status(client, SSL_connect(client->tls));
}
#endif

static ssize_t receive(struct client *client, char *buffer, size_t size)
{
#ifdef REQUESTS_TLS
    if (client->tls != NULL) {
        int count = SSL_read(client->tls, buffer, (int)size);
        if (count > 0)
            return count;
        int error = SSL_get_error(client->tls, count);
        errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
        return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
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

static void advance(struct client *client, uint32_t events)
{
    if (client->stage == CONNECTING) {
        if (events & (EPOLLERR | EPOLLHUP)) {
            end(client, 0);
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
            end(client, 0);
        if (status <= 0)
            return;
#endif
        if (!send_request(client)) {
            end(client, 0);
            return;
        }
        client->stage = READING;
    }
    for (;;) {
        char buffer[4096];
        ssize_t count = receive(client, buffer, sizeof buffer);
        if (count < 0 && errno == EAGAIN)
            return;
        if (count <= 0) {
            end(client, count == 0 && client->received > 0);
            return;
        }
        client->received += (uint64_t)count;
    }
}

struct sample {
    uint64_t time, completed, failed, watched[MOST_WATCHED];
};

static struct sample take_sample(const int *watched, unsigned count)
{
    struct sample sample = {
        .time = clock_nanoseconds(CLOCK_MONOTONIC), .completed = completed, .failed = failed};
    for (unsigned i = 0; i < count; i++)
        sample.watched[i] = process_cpu_nanoseconds(watched[i]);
    return sample;
}

int main(int count, char **arguments)
{
    uint64_t clients = 64, duration = 2 * NANOSECONDS_PER_SECOND, warm_up = NANOSECONDS_PER_SECOND / 2;
    int watched[MOST_WATCHED], option;
    unsigned watched_count = 0;
    end_with_parent(SIGKILL);
    while ((option = getopt(count, arguments, "s:c:d:w:a:u:h")) != -1) {
        switch (option) {
        case 's': server_name = optarg; break;
        case 'c': clients = parse_number(optarg, "-c", 1, 10000); break;
        case 'd': duration = parse_seconds(optarg, "-d"); break;
        case 'w': warm_up = parse_seconds(optarg, "-w"); break;
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
    server = parse_address(arguments[optind]);
    request_length = (size_t)snprintf(request, sizeof request, "GET / HTTP/1.1\r\nHost: %.255s\r\nConnection: close\r\n\r\n",
                                      server_name == NULL ? "localhost" : server_name);
#ifdef REQUESTS_TLS
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fail("no TLS");
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
#else
    if (server_name != NULL)
        fail("compiled without TLS");
#endif
    raise_descriptor_limit();
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0)
        fail_errno("epoll_create1");
    struct client *all = calloc(clients, sizeof *all);
    if (all == NULL)
        fail("no memory");
    for (uint64_t i = 0; i < clients; i++)
        begin(&all[i]);

    uint64_t start = clock_nanoseconds(CLOCK_MONOTONIC) + warm_up;
    struct sample before = {0}, after;
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, REST_MILLISECONDS);
        for (int i = 0; i < ready; i++)
            advance(events[i].data.ptr, events[i].events);
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (before.time == 0 && now >= start)
            before = take_sample(watched, watched_count);
        if (before.time != 0 && now >= before.time + duration)
            break;
    }
    after = take_sample(watched, watched_count);
    double seconds = (double)(after.time - before.time) / 1e9;
    printf("{\"completed\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"seconds\":%.6f,\"watched\":[", after.completed - before.completed,
           after.failed - before.failed, seconds);
    for (unsigned i = 0; i < watched_count; i++)
        printf("%s{\"pid\":%d,\"cpuSeconds\":%.9f}", i == 0 ? "" : ",", watched[i],
               (double)(after.watched[i] - before.watched[i]) / 1e9);
    printf("]}\n");
    return 0;
}
