/*
 * A connection that speaks plainly or by TLS, on a non-blocking socket. TLS is there where REQUESTS_TLS is defined.
 */
#ifndef BENCH_STREAM_H
#define BENCH_STREAM_H

#include <stddef.h>
#include <sys/types.h>

/* A TLS record's most: a buffer of that leaves nothing inside of the stream of which epoll would not tell. */
enum { STREAM_ROOM = 16 * 1024 };

struct stream {
    int fd;
    void *tls;
};

/* Once, before any stream: server name and ALPN protocol (NULL: none) of all of them. Ends the program without TLS. */
void stream_use_tls(const char *server_name, const char *protocol);

/* The handshake, if TLS is used. Returns 1 when it is done, 0 if there is more to wait for, -1 with errno. */
int stream_handshake(struct stream *stream);

/* As read(2); EAGAIN is later, EPROTO an end that TLS doesn't know. */
ssize_t stream_read(struct stream *stream, void *buffer, size_t size);

/* Returns 1 if all of it was taken. */
int stream_write(struct stream *stream, const void *bytes, size_t length);

/* Tells the other side that nothing follows (close_notify and FIN). */
void stream_finish(struct stream *stream);

/* Closes the descriptor. */
void stream_close(struct stream *stream);

#endif
