#include "common.h"

#include <errno.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "service.h"

/* A TLS alert, close_notify (RFC 8446 §6.1): a client that speaks TLS would understand it. */
static const uint8_t answer[] = {21, 3, 3, 0, 2, 1, 0};

enum { MOST_AT_ONCE = 256 * 1024 };

static void drop(struct service *service, int fd)
{
    if (service->connections[fd].answered)
        service->answered++;
    else
        service->unanswered++;
    service->open--;
    close(fd);
}

/* Keeps the first bytes for the record's length; the rest of the hello is only counted. */
static void count_bytes(struct connection *connection, const uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length && connection->received + i < sizeof connection->header; i++)
        connection->header[connection->received + i] = bytes[i];
    connection->received += length;
    if (connection->received >= sizeof connection->header)
        connection->length = 5u + ((uint32_t)connection->header[3] << 8 | connection->header[4]);
}

/* Sends what the socket takes of a long answer, and ends the receiver's side after it. Returns -1 if that failed. */
static int stream(struct connection *connection, int fd)
{
    static const uint8_t bytes[MOST_AT_ONCE];
    size_t length = connection->left < sizeof bytes ? (size_t)connection->left : sizeof bytes;
    ssize_t sent = send(fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent < 0)
        return errno == EAGAIN || errno == EINTR ? 0 : -1;
    connection->left -= (uint64_t)sent;
    connection->answered = connection->left == 0;
    return connection->answered ? shutdown(fd, SHUT_WR) : 0;
}

/* Reads what is there and answers once the hello is whole. Returns -1 if the connection is over. */
static int serve(const struct service *service, struct connection *connection, int fd)
{
    static _Thread_local uint8_t bytes[16 * 1024];
    if (connection->left > 0)
        return stream(connection, fd);
    while (connection->received < connection->length) {
        ssize_t length = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT);
        if (length <= 0)
            return length < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
        count_bytes(connection, bytes, (uint32_t)length);
    }
    if (service->answer_length > 0) {
        connection->left = service->answer_length;
        return stream(connection, fd);
    }
    if (send(fd, answer, sizeof answer, MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof answer)
        return -1;
    connection->answered = 1;
    return 0;
}

/* Room to send is asked for only while there is something to send, and then level-triggered: each connection sends once
 * a turn, so that none starves the others. */
static void watch(const struct service *service, struct connection *connection, int fd)
{
    uint32_t wanted = connection->left > 0 ? EPOLLOUT | EPOLLRDHUP : EPOLLIN | EPOLLRDHUP | EPOLLET;
    if (wanted == connection->wanted)
        return;
    struct epoll_event event = {.events = wanted, .data.u64 = watch_data(CONNECTION, fd)};
    if (epoll_ctl(service->epoll, connection->wanted == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &event) != 0)
        fail_errno("epoll_ctl");
    connection->wanted = wanted;
}

void service_take(struct service *service, int fd)
{
    service_take_read(service, fd, NULL, 0);
}

void service_take_read(struct service *service, int fd, const uint8_t *bytes, uint32_t length)
{
    if ((uint32_t)fd >= service->most_descriptors)
        fail("descriptor %d is over the limit of %u", fd, service->most_descriptors);
    struct connection *connection = &service->connections[fd];
    *connection = (struct connection){.length = sizeof connection->header};
    count_bytes(connection, bytes, length);
    service->open++;
    if (serve(service, connection, fd) < 0) {
        drop(service, fd);
        return;
    }
    watch(service, connection, fd);
}

void service_event(struct service *service, int fd, uint32_t events)
{
    struct connection *connection = &service->connections[fd];
    const uint32_t over = EPOLLRDHUP | EPOLLHUP | EPOLLERR;
    if ((!connection->answered && serve(service, connection, fd) < 0) || (events & over) != 0)
        drop(service, fd);
    else
        watch(service, connection, fd);
}
