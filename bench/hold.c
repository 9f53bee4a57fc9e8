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

#include "crowd.h"

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

static struct crowd crowd = {.clients = 10000, .sources = 1000, .pace = 128};
static struct client *clients;
static uint64_t opened, answered, lost;

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
    const struct linger reset = {.l_onoff = 1};
    const struct timeval patience = {.tv_sec = PATIENCE_SECONDS};
    uint64_t number = opened++;
    struct client *client = &clients[number];
    client->fd = crowd_socket(&crowd, number, 0);
    if (setsockopt(client->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset) != 0 ||
        setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience) != 0)
        fail_errno("setsockopt");
    if (connect(client->fd, (const struct sockaddr *)&crowd.target, sizeof crowd.target) != 0 ||
        send(client->fd, crowd.hello.bytes, crowd.hello.length, MSG_NOSIGNAL) != (ssize_t)crowd.hello.length)
        lose(client);
    else
        crowd_watch(&crowd, client->fd, EPOLLIN | EPOLLRDHUP, number);
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
    crowd_begin(&crowd, count, arguments, usage);
    clients = calloc(crowd.clients, sizeof *clients);
    if (clients == NULL)
        fail_errno("no memory");
    end_with_parent(SIGKILL);
    const uint64_t of_stop = UINT64_MAX;
    crowd_watch(&crowd, stop_descriptor(), EPOLLIN, of_stop);

    for (int ready_told = 0;;) {
        const int may_open = opened < crowd.clients && opened - answered - lost < crowd.pace;
        if (may_open)
            open_next();
        if (!ready_told && answered + lost == crowd.clients) {
            ready_told = 1;
            print_report("\"ready\":true,");
        }
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(crowd.epoll, events, EVENTS, may_open ? 0 : -1);
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
