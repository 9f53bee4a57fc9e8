/*
 * Clients that are slow: half of them connect and say nothing, the other half send one byte of a ClientHello a second.
 * None of them ever completes its hello. The bytes of a second are spread over it, so that the program takes little of the
 * machine. SIGTERM or SIGINT: prints what became of them, and ends.
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
#include <sys/timerfd.h>
#include <unistd.h>

#include "crowd.h"

static const char usage[] =
    "usage: slow -f FILE [options] ADDRESS:PORT\n"
    "  -f FILE     the ClientHello whose first bytes are sent\n"
    "  -c CLIENTS  (default 10000)\n"
    "  -s SOURCES  client addresses, out of 127.128.0.0/9 (default 1000; 0: 127.0.0.1)\n"
    "  -o RATE     connections opened a second (default 4000)\n";

enum { TICKS_PER_SECOND = 100, EVENTS = 256 };

/* A client's number says what it does: even ones say nothing, odd ones send. */
struct client {
    int fd;
    size_t sent;
};

static struct crowd crowd = {.clients = 10000, .sources = 1000, .pace = 4000};
static struct client *clients;
static uint64_t opened, lost, bytes_sent;

static void lose(struct client *client)
{
    lost++;
    close(client->fd);
    client->fd = -1;
}

static void send_byte(struct client *client)
{
    if (client->fd < 0 || client->sent + 1 >= crowd.hello.length)
        return;
    ssize_t sent = send(client->fd, crowd.hello.bytes + client->sent, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent == 1) {
        client->sent++;
        bytes_sent++;
    } else if (errno != EAGAIN) {
        lose(client);
    }
}

static void open_next(void)
{
    uint64_t number = opened++;
    struct client *client = &clients[number];
    client->fd = crowd_socket(&crowd, number, SOCK_NONBLOCK);
    if (connect(client->fd, (const struct sockaddr *)&crowd.target, sizeof crowd.target) != 0 && errno != EINPROGRESS)
        fail_errno("connect");
    /* Only its end is of interest. */
    crowd_watch(&crowd, client->fd, EPOLLRDHUP, number);
    if (number % 2 == 1)
        send_byte(client);
}

/* What is due in a hundredth of a second. */
static void tick(uint64_t number)
{
    if (opened < crowd.clients) {
        uint64_t end = opened + crowd.pace / TICKS_PER_SECOND + 1;
        while (opened < crowd.clients && opened < end)
            open_next();
        if (opened == crowd.clients) {
            printf("{\"ready\":true,\"opened\":%" PRIu64 "}\n", opened);
            fflush(stdout);
        }
        return;
    }
    for (uint64_t i = number % TICKS_PER_SECOND * 2 + 1; i < crowd.clients; i += 2 * TICKS_PER_SECOND)
        send_byte(&clients[i]);
}

static void print_report(void)
{
    printf("{\"opened\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"bytesSent\":%" PRIu64 "}\n", opened, lost, bytes_sent);
}

int main(int count, char **arguments)
{
    crowd_begin(&crowd, count, arguments, usage);
    clients = calloc(crowd.clients, sizeof *clients);
    int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    if (clients == NULL || timer < 0)
        fail_errno("no memory or descriptors");
    end_with_parent(SIGKILL);
    const long every = NANOSECONDS_PER_SECOND / TICKS_PER_SECOND;
    const struct itimerspec interval = {{.tv_nsec = every}, {.tv_nsec = every}};
    if (timerfd_settime(timer, 0, &interval, NULL) != 0)
        fail_errno("timerfd_settime");
    const uint64_t of_timer = UINT64_MAX, of_stop = UINT64_MAX - 1;
    crowd_watch(&crowd, timer, EPOLLIN, of_timer);
    crowd_watch(&crowd, stop_descriptor(), EPOLLIN, of_stop);

    for (uint64_t ticks = 0;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(crowd.epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            uint64_t data = events[i].data.u64, expirations;
            if (data == of_stop) {
                print_report();
                return 0;
            }
            if (data != of_timer) {
                if (clients[data].fd >= 0)
                    lose(&clients[data]);
                continue;
            }
            /* After a stop (SIGSTOP) there is nothing to catch up with. */
            if (read(timer, &expirations, sizeof expirations) == sizeof expirations)
                tick(ticks++);
        }
    }
}
