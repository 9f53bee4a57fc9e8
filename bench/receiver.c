/*
 * The server of the benchmark. Either a receiver of handed-over connections (-p PATH), an instance that speaks the
 * handoff protocol, version 1; or, with -u PATH, one that gets them in datagrams, the hello beside the descriptor, as
 * sni-router passes them; or, with -l ADDRESS:PORT, a server that accepts by itself: the baseline. The service behind
 * all of them is the same code with the same number of threads.
 *
 * SIGTERM: says DRAIN on all channels, serves what is open, and ends when all is closed, or after 2 seconds.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "channel.h"
#include "service.h"

static const char usage[] =
    "usage: receiver -p PATH [-p PATH …] [-A]\n"
    "       receiver -u PATH\n"
    "       receiver -l ADDRESS:PORT [-t THREADS] [-b BATCH] [-D SECONDS]\n"
    "  -p PATH      listen for doors on this SOCK_SEQPACKET socket; each -p adds a thread\n"
    "  -A           send no READY, no ACK: the door is the C floor, which reads nothing\n"
    "  -u PATH      take connections from this SOCK_DGRAM socket: what was read of each, and its descriptor\n"
    "  -l ADDRESS   accept TCP connections instead; port 0: a free one, told in the first line\n"
    "  -t THREADS   that accept (default 1)\n"
    "  -b BATCH     most connections accepted per wake (default 64)\n"
    "  -L BYTES     answer so many bytes and end the own side; 0: a TLS alert, and the client ends (default)\n"
    "  -D SECONDS   TCP_DEFER_ACCEPT (default 1; 0: none)\n";

enum { MOST_THREADS = 64, DRAIN_SECONDS = 2 };

enum listener_kind { DOORS, CLIENTS, DATAGRAMS };

struct worker {
    pthread_t thread;
    struct service service;
    struct channel_counts counts;
    int listener;
    enum listener_kind kind;
    int silent;
    unsigned batch;
    uint32_t channels;
    struct channel **by_descriptor;
};

static void watch(struct worker *worker, enum watched kind, int fd, uint32_t flags)
{
    struct epoll_event wanted = {.events = EPOLLIN | flags, .data.u64 = watch_data(kind, fd)};
    if (epoll_ctl(worker->service.epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
        fail_errno("epoll_ctl");
}

static int accept_one(struct worker *worker)
{
    int fd = accept4(worker->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd < 0 && errno != EAGAIN && errno != EINTR && errno != ECONNABORTED)
        fail_errno("accept4");
    return fd;
}

static void accept_connections(struct worker *worker)
{
    for (unsigned i = 0; i < worker->batch; i++) {
        int fd = accept_one(worker);
        if (fd < 0)
            return;
        service_take(&worker->service, fd);
    }
}

static void accept_channel(struct worker *worker)
{
    int fd = accept_one(worker);
    struct channel *channel = fd < 0 ? NULL : channel_open(fd, worker->silent);
    if (channel == NULL)
        return;
    worker->by_descriptor[fd] = channel;
    worker->channels++;
    watch(worker, CHANNEL, fd, 0);
}

static void read_channel(struct worker *worker, int fd)
{
    if (channel_read(worker->by_descriptor[fd], &worker->service, &worker->counts) == 0)
        return;
    worker->by_descriptor[fd] = NULL;
    worker->channels--;
}

/* A datagram is one connection. */
static void receive_connections(struct worker *worker)
{
    static _Thread_local uint8_t bytes[64 * 1024];
    for (unsigned i = 0; i < worker->batch; i++) {
        union {
            char bytes[CMSG_SPACE(sizeof(int))];
            struct cmsghdr alignment;
        } control;
        struct iovec vector = {.iov_base = bytes, .iov_len = sizeof bytes};
        struct msghdr header = {
            .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
        ssize_t length = recvmsg(worker->listener, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
        if (length < 0)
            return;
        struct cmsghdr *part = CMSG_FIRSTHDR(&header);
        if (part == NULL || part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) {
            worker->counts.refused++;
            continue;
        }
        int fd;
        memcpy(&fd, CMSG_DATA(part), sizeof fd);
        worker->counts.handoffs++;
        service_take_read(&worker->service, fd, bytes, (uint32_t)length);
    }
}

/* No new connection or channel from here on. */
static void begin_draining(struct worker *worker, int stop)
{
    epoll_ctl(worker->service.epoll, EPOLL_CTL_DEL, stop, NULL);
    epoll_ctl(worker->service.epoll, EPOLL_CTL_DEL, worker->listener, NULL);
    for (uint32_t fd = 0; fd < worker->service.most_descriptors; fd++)
        if (worker->by_descriptor[fd] != NULL)
            channel_drain(worker->by_descriptor[fd]);
}

static void *run(void *argument)
{
    struct worker *worker = argument;
    uint64_t drain_until = UINT64_MAX;
    while (drain_until == UINT64_MAX || worker->channels > 0 || worker->service.open > 0) {
        struct epoll_event events[256];
        int ready = epoll_wait(worker->service.epoll, events, ARRAY_LENGTH(events), drain_until == UINT64_MAX ? -1 : 50);
        for (int i = 0; i < ready; i++) {
            int fd = (int)(uint32_t)events[i].data.u64;
            switch ((enum watched)(events[i].data.u64 >> 32)) {
            case CONNECTION: service_event(&worker->service, fd, events[i].events); break;
            case CHANNEL: read_channel(worker, fd); break;
            case LISTENER:
                switch (worker->kind) {
                case DOORS: accept_channel(worker); break;
                case CLIENTS: accept_connections(worker); break;
                case DATAGRAMS: receive_connections(worker); break;
                }
                break;
            case STOP:
                drain_until = clock_nanoseconds(CLOCK_MONOTONIC) + DRAIN_SECONDS * NANOSECONDS_PER_SECOND;
                begin_draining(worker, fd);
            }
        }
        if (clock_nanoseconds(CLOCK_MONOTONIC) > drain_until)
            break;
    }
    return NULL;
}

/* A receiver that was killed leaves its socket file, at which nobody listens (unix(7): ECONNREFUSED). */
static void remove_leftover(const struct sockaddr_un *address, int type)
{
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED)
        unlink(address->sun_path);
    if (fd >= 0)
        close(fd);
}

/* The caller unlinks the path when it ends. */
static int listen_unix(const char *path, int type)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("the path is longer than %zu bytes: %s", sizeof address.sun_path - 1, path);
    strcpy(address.sun_path, path);
    remove_leftover(&address, type);
    int fd = socket(AF_UNIX, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || chmod(path, 0660) != 0 ||
        (type != SOCK_DGRAM && listen(fd, 128) != 0))
        fail_errno("listen %s", path);
    return fd;
}

static void print_report(const struct worker *workers, unsigned count)
{
    struct service service = {0};
    struct channel_counts counts = {0};
    for (unsigned i = 0; i < count; i++) {
        service.answered += workers[i].service.answered;
        service.unanswered += workers[i].service.unanswered;
        service.open += workers[i].service.open;
        counts.batches += workers[i].counts.batches;
        counts.handoffs += workers[i].counts.handoffs;
        counts.refused += workers[i].counts.refused;
        counts.revoked += workers[i].counts.revoked;
        counts.violations += workers[i].counts.violations;
    }
    printf("{\"answered\":%" PRIu64 ",\"unanswered\":%" PRIu64 ",\"open\":%u,\"batches\":%" PRIu64
           ",\"handoffs\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"revoked\":%" PRIu64 ",\"violations\":%" PRIu64 "}\n",
           service.answered, service.unanswered, service.open, counts.batches, counts.handoffs, counts.refused,
           counts.revoked, counts.violations);
}

int main(int count, char **arguments)
{
    static struct worker workers[MOST_THREADS];
    const char *paths[MOST_THREADS];
    const char *listen_at = NULL;
    unsigned path_count = 0, threads = 1, batch = 64;
    int silent = 0, defer_seconds = 1, datagrams = 0;
    uint64_t answer_length = 0;
    for (int option; (option = getopt(count, arguments, "p:u:Al:t:b:L:D:h")) != -1;)
        switch (option) {
        case 'p':
            if (path_count == MOST_THREADS)
                fail("-p: at most %d paths", MOST_THREADS);
            paths[path_count++] = optarg;
            break;
        case 'u':
            datagrams = 1;
            paths[0] = optarg;
            break;
        case 'A': silent = 1; break;
        case 'l': listen_at = optarg; break;
        case 't': threads = (unsigned)parse_number(optarg, "-t", 1, MOST_THREADS); break;
        case 'b': batch = (unsigned)parse_number(optarg, "-b", 1, 65536); break;
        case 'L': answer_length = parse_number(optarg, "-L", 0, INT64_MAX); break;
        case 'D': defer_seconds = (int)parse_number(optarg, "-D", 0, 60); break;
        default: print_usage(usage, option == 'h');
        }
    if ((path_count > 0) + (listen_at != NULL) + datagrams != 1 || optind != count)
        print_usage(usage, 0);
    if (datagrams)
        path_count = 1;
    if (path_count > 0)
        threads = path_count;

    end_with_parent(SIGTERM);
    uint32_t limit = raise_descriptor_limit();
    struct connection *connections = calloc(limit, sizeof *connections);
    if (connections == NULL)
        fail("no memory for %u descriptors", limit);
    int stop = stop_descriptor();
    struct sockaddr_in address;
    int shared = -1;
    if (listen_at != NULL) {
        address = parse_address(listen_at);
        shared = listen_tcp(&address, defer_seconds);
    }
    for (unsigned i = 0; i < threads; i++) {
        struct worker *worker = &workers[i];
        worker->service.epoll = epoll_create1(EPOLL_CLOEXEC);
        if (worker->service.epoll < 0)
            fail_errno("epoll_create1");
        worker->service.connections = connections;
        worker->service.most_descriptors = limit;
        worker->service.answer_length = answer_length;
        worker->by_descriptor = calloc(limit, sizeof *worker->by_descriptor);
        if (worker->by_descriptor == NULL)
            fail("no memory for %u descriptors", limit);
        worker->batch = batch;
        worker->silent = silent;
        worker->kind = listen_at != NULL ? CLIENTS : datagrams ? DATAGRAMS : DOORS;
        worker->listener =
            worker->kind == CLIENTS ? shared : listen_unix(paths[i], datagrams ? SOCK_DGRAM : SOCK_SEQPACKET);
        watch(worker, STOP, stop, 0);
        watch(worker, LISTENER, worker->listener, EPOLLEXCLUSIVE);
    }
    for (unsigned i = 1; i < threads; i++) {
        errno = pthread_create(&workers[i].thread, NULL, run, &workers[i]);
        if (errno != 0)
            fail_errno("pthread_create");
    }
    if (listen_at != NULL)
        print_ready_address(&address);
    else
        print_ready_path(paths[0]);
    run(&workers[0]);
    for (unsigned i = 1; i < threads; i++)
        pthread_join(workers[i].thread, NULL);
    for (unsigned i = 0; i < path_count; i++)
        unlink(paths[i]);
    print_report(workers, threads);
    return 0;
}
