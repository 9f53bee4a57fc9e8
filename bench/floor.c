/*
 * The C floor: the least that any router which hands sockets over must do, and nothing else. For each connection
 * accept4, recv MSG_PEEK, sendmsg with the descriptor, close. It looks up no name, keeps no copy, reads no
 * acknowledgement. What a front door costs above this is what its thinking and its promises cost.
 *
 * One thread; level-triggered epoll on one listener, a batch of accepts per wake; a hello that has not come whole waits
 * edge-triggered (MSG_PEEK leaves the bytes, so a level would spin). When the receiver's queue is full, sendmsg blocks:
 * the clients wait in the backlog meanwhile, and no poll is paid for.
 *
 * With -m the messages of a batch go out by one sendmmsg, which saves about 1 us of 11 in batches of 64: what a router
 * gains that does likewise is no gain over C.
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
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "protocol.h"

static const char usage[] =
    "usage: floor -p PATH [-a ADDRESS:PORT] [-b BATCH] [-m COUNT] [-D SECONDS]\n"
    "  -p PATH      the receiver's SOCK_SEQPACKET socket\n"
    "  -a ADDRESS   where to listen (default 127.0.0.1:0: a free port, told in the first line)\n"
    "  -b BATCH     most connections accepted per wake (default 64)\n"
    "  -m COUNT     most messages per sendmmsg, up to 64 (default 1: sendmsg for each)\n"
    "  -D SECONDS   TCP_DEFER_ACCEPT (default 1; 0: none)\n";

enum { LARGEST_OUTBOX = 64 };

/* Messages to be sent, and the descriptors beside them. */
struct outbox {
    unsigned count;
    unsigned room;
    int fds[LARGEST_OUTBOX];
    struct message messages[LARGEST_OUTBOX];
    struct iovec vectors[LARGEST_OUTBOX];
    union {
        char bytes[CMSG_SPACE(sizeof(int))];
        struct cmsghdr header;
    } controls[LARGEST_OUTBOX];
    struct mmsghdr headers[LARGEST_OUTBOX];
};

struct router {
    int epoll;
    int listener;
    int stop;
    int receiver;
    int running;
    unsigned batch;
    struct outbox outbox;
    uint32_t sequence;
    uint64_t handed;
    uint64_t waited;
    uint64_t gone;
};

enum look { WHOLE, PARTIAL, GONE };

/* Whether the hello is there: as long as its first record says (RFC 8446 §5.1). */
static enum look peek(int fd)
{
    static uint8_t bytes[16 * 1024];
    ssize_t length = recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
    if (length <= 0)
        return length < 0 && (errno == EAGAIN || errno == EINTR) ? PARTIAL : GONE;
    return length >= 5 && length >= 5 + (bytes[3] << 8 | bytes[4]) ? WHOLE : PARTIAL;
}

static void prepare_outbox(struct outbox *outbox, unsigned room)
{
    outbox->room = room;
    for (unsigned i = 0; i < room; i++) {
        outbox->messages[i] = handoff_message();
        outbox->vectors[i] = (struct iovec){outbox->messages[i].bytes, outbox->messages[i].length};
        outbox->controls[i].header =
            (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        outbox->headers[i].msg_hdr = (struct msghdr){.msg_iov = &outbox->vectors[i],
                                                     .msg_iovlen = 1,
                                                     .msg_control = &outbox->controls[i],
                                                     .msg_controllen = sizeof outbox->controls[i]};
    }
}

/* Sends what is in the outbox, from `from` on. Returns how many, or -1 with errno. */
static int send_some(struct router *router, unsigned from)
{
    struct mmsghdr *headers = router->outbox.headers + from;
    unsigned count = router->outbox.count - from;
    if (count > 1)
        return sendmmsg(router->receiver, headers, count, MSG_NOSIGNAL);
    return sendmsg(router->receiver, &headers->msg_hdr, MSG_NOSIGNAL) < 0 ? -1 : 1;
}

/* Gives the connections in the outbox away, or drops them if the receiver is gone; closes them either way. */
static void flush(struct router *router)
{
    for (unsigned sent = 0; sent < router->outbox.count;) {
        int more = send_some(router, sent);
        if (more > 0) {
            sent += (unsigned)more;
        } else if (errno == EPIPE || errno == ECONNRESET) {
            router->running = 0;
            break;
        } else if (errno != EINTR) { /* a signal: the next wait sees it */
            fail_errno("sendmsg");
        }
    }
    for (unsigned i = 0; i < router->outbox.count; i++)
        close(router->outbox.fds[i]);
    router->handed += router->outbox.count;
    router->outbox.count = 0;
}

/* Takes the connection: sends it, now or with the others of its batch. */
static void hand_over(struct router *router, int fd, uint64_t now)
{
    struct outbox *outbox = &router->outbox;
    unsigned i = outbox->count++;
    outbox->fds[i] = fd;
    set_handoff(&outbox->messages[i], router->sequence++, now);
    memcpy(CMSG_DATA(&outbox->controls[i].header), &fd, sizeof fd);
    if (outbox->count == outbox->room)
        flush(router);
}

static void accept_batch(struct router *router)
{
    uint64_t now = clock_nanoseconds(CLOCK_REALTIME);
    for (unsigned i = 0; i < router->batch && router->running; i++) {
        /* Without SOCK_NONBLOCK: the receiver gets the flags that its own accept would give. */
        int fd = accept4(router->listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED)
                break;
            fail_errno("accept4");
        }
        switch (peek(fd)) {
        case WHOLE:
            hand_over(router, fd, now);
            break;
        case PARTIAL: {
            struct epoll_event wanted = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
            if (epoll_ctl(router->epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
                fail_errno("epoll_ctl");
            router->waited++;
            break;
        }
        case GONE:
            router->gone++;
            close(fd);
        }
    }
    flush(router);
}

static void continue_waiting(struct router *router, int fd, uint32_t events)
{
    enum look look = peek(fd);
    if (look == PARTIAL && !(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)))
        return;
    if (look != WHOLE) {
        router->gone++;
        close(fd);
        return;
    }
    /* A registration outlives close() while the receiver holds the same socket (epoll(7)). */
    epoll_ctl(router->epoll, EPOLL_CTL_DEL, fd, NULL);
    hand_over(router, fd, clock_nanoseconds(CLOCK_REALTIME));
    flush(router);
}

static void watch(struct router *router, int fd)
{
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(router->epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
        fail_errno("epoll_ctl");
}

static int connect_receiver(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        fail("the path is longer than %zu bytes: %s", sizeof address.sun_path - 1, path);
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        fail_errno("connect %s", path);
    return fd;
}

int main(int count, char **arguments)
{
    static struct router router = {.running = 1, .batch = 64};
    struct sockaddr_in address = parse_address("127.0.0.1:0");
    const char *path = NULL;
    unsigned outbox_room = 1;
    int defer_seconds = 1;
    for (int option; (option = getopt(count, arguments, "p:a:b:m:D:h")) != -1;)
        switch (option) {
        case 'p': path = optarg; break;
        case 'a': address = parse_address(optarg); break;
        case 'b': router.batch = (unsigned)parse_number(optarg, "-b", 1, 65536); break;
        case 'm': outbox_room = (unsigned)parse_number(optarg, "-m", 1, LARGEST_OUTBOX); break;
        case 'D': defer_seconds = (int)parse_number(optarg, "-D", 0, 60); break;
        default: print_usage(usage, option == 'h');
        }
    if (path == NULL || optind != count)
        print_usage(usage, 0);

    end_with_parent(SIGTERM);
    raise_descriptor_limit();
    prepare_outbox(&router.outbox, outbox_room);
    router.stop = stop_descriptor();
    router.epoll = epoll_create1(EPOLL_CLOEXEC);
    if (router.epoll < 0)
        fail_errno("epoll_create1");
    router.receiver = connect_receiver(path);
    router.listener = listen_tcp(&address, defer_seconds);
    watch(&router, router.stop);
    watch(&router, router.listener);
    print_ready_address(&address);

    while (router.running) {
        struct epoll_event events[256];
        int ready = epoll_wait(router.epoll, events, ARRAY_LENGTH(events), -1);
        for (int i = 0; i < ready; i++)
            if (events[i].data.fd == router.listener)
                accept_batch(&router);
            else if (events[i].data.fd == router.stop)
                router.running = 0;
            else
                continue_waiting(&router, events[i].data.fd, events[i].events);
    }
    printf("{\"handed\":%" PRIu64 ",\"waited\":%" PRIu64 ",\"gone\":%" PRIu64 "}\n", router.handed, router.waited,
           router.gone);
    return 0;
}
