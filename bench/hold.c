/*
 * Clients that stay: each connects, sends a ClientHello, waits for the first bytes of the answer, and keeps its connection.
 * At most so many are waiting for theirs at the same time, so that nobody's queue overflows. SIGTERM or SIGINT: prints what
 * became of them, and ends; their connections end by RST, which leaves no port waiting.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "hello.h"

static const char usage[] =
    "usage: hold -f FILE [options] ADDRESS:PORT\n"
    "  -f FILE     the ClientHello that each sends\n"
    "  -c CLIENTS  (default 10000)\n"
    "  -s SOURCES  client addresses, out of 127.128.0.0/9 (default 1000; 0: 127.0.0.1)\n"
    "  -o WAITING  at most that have no answer yet (default 128)\n";

enum { EVENTS = 256, PATIENCE_SECONDS = 5, FATAL_ALERT_LENGTH = 7 };

struct client {
    int fd;
    int answered;
};

static struct sockaddr_in target;
static struct client *clients;
static uint64_t client_count = 10000, opened, answered, lost;
static uint32_t sources = 1000;
static struct hello hello;
static int epoll;

static void watch(int fd, uint64_t data)
{
    struct epoll_event wanted = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = data};
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
        fail_errno("epoll_ctl");
}

static void lose(struct client *client)
{
    lost++;
    if (client->answered)
        answered--;
    close(client->fd);
    client->fd = -1;
}

/* A connection that is refused, or whose SYN nobody answers, is a lost one. */
static void open_next(void)
{
    const int on = 1;
    const struct linger reset = {.l_onoff = 1};
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    uint64_t number = opened++;
    struct client *client = &clients[number];
    client->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (client->fd < 0)
        fail_errno("socket");
    if (setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0 ||
        setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
        fail_errno("setsockopt");
    if (sources > 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7f800001u + (uint32_t)(number % sources));
        if (setsockopt(client->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
            bind(client->fd, (const struct sockaddr *)&source, sizeof source) != 0)
            fail_errno("bind");
    }
    if (connect(client->fd, (const struct sockaddr *)&target, sizeof target) != 0 ||
        send(client->fd, hello.bytes, hello.length, MSG_NOSIGNAL) != (ssize_t)hello.length)
        lose(client);
    else
        watch(client->fd, number);
}

/* Bytes or the end. A fatal alert (RFC 8446 section 6: level 2) is a router's refusal. */
static void look_at(struct client *client)
{
    uint8_t bytes[1024];
    ssize_t length = recv(client->fd, bytes, sizeof bytes, MSG_DONTWAIT);
    if (length < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (length <= 0 || (!client->answered && length == FATAL_ALERT_LENGTH && bytes[0] == 21 && bytes[5] == 2)) {
        lose(client);
    } else if (!client->answered) {
        client->answered = 1;
        answered++;
    }
}

static void print_report(const char *more)
{
    printf("{%s\"opened\":%" PRIu64 ",\"held\":%" PRIu64 ",\"lost\":%" PRIu64 "}\n", more, opened, answered, lost);
    fflush(stdout);
}

int main(int count, char **arguments)
{
    const char *file = NULL;
    uint64_t most_waiting = 128;
    for (int option; (option = getopt(count, arguments, "f:c:s:o:h")) != -1;)
        switch (option) {
        case 'f': file = optarg; break;
        case 'c': client_count = parse_number(optarg, "-c", 1, 1000000); break;
        case 's': sources = (uint32_t)parse_number(optarg, "-s", 0, 1000000); break;
        case 'o': most_waiting = parse_number(optarg, "-o", 1, 1000000); break;
        default: print_usage(usage, option == 'h');
        }
    if (file == NULL || optind + 1 != count)
        print_usage(usage, 0);
    target = parse_address(arguments[optind]);
    hello_load(&hello, file, 1);
    raise_descriptor_limit_for(client_count, 32);
    clients = calloc(client_count, sizeof *clients);
    epoll = epoll_create1(EPOLL_CLOEXEC);
    if (clients == NULL || epoll < 0)
        fail_errno("no memory or descriptors");
    end_with_parent(SIGKILL);
    const uint64_t of_stop = UINT64_MAX;
    watch(stop_descriptor(), of_stop);

    for (int ready_told = 0;;) {
        const int may_open = opened < client_count && opened - answered - lost < most_waiting;
        if (may_open)
            open_next();
        if (!ready_told && answered + lost == client_count) {
            ready_told = 1;
            print_report("\"ready\":true,");
        }
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, may_open ? 0 : -1);
        for (int i = 0; i < ready; i++) {
            uint64_t data = events[i].data.u64;
            if (data == of_stop) {
                print_report("");
                return 0;
            }
            if (clients[data].fd >= 0)
                look_at(&clients[data]);
        }
    }
}
