#include "common.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stream.h"
#ifdef REQUESTS_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>

static SSL_CTX *context;
static const char *name;

void stream_use_tls(const char *server_name, const char *protocol)
{
    name = server_name;
    context = SSL_CTX_new(TLS_client_method());
    if (context == NULL)
        fail("no TLS");
    SSL_CTX_set_options(context, SSL_OP_IGNORE_UNEXPECTED_EOF);
    if (protocol == NULL)
        return;
    unsigned char offer[256];
    size_t length = strlen(protocol);
    if (length == 0 || length >= sizeof offer)
        fail("-l: 1 to %zu bytes", sizeof offer - 1);
    offer[0] = (unsigned char)length;
    memcpy(offer + 1, protocol, length);
    if (SSL_CTX_set_alpn_protos(context, offer, (unsigned)length + 1) != 0)
        fail("no ALPN");
}

/* As errno: EAGAIN is later. */
static int tls_errno(const struct stream *stream, int result)
{
    int code = errno;
    int error = SSL_get_error(stream->tls, result);
    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return EAGAIN;
    return error == SSL_ERROR_SYSCALL && code != 0 && code != EAGAIN ? code : EPROTO;
}

int stream_handshake(struct stream *stream)
{
    if (context == NULL)
        return 1;
    if (stream->tls == NULL) {
        stream->tls = SSL_new(context);
        if (stream->tls == NULL || SSL_set_fd(stream->tls, stream->fd) != 1 ||
            SSL_set_tlsext_host_name(stream->tls, name) != 1)
            fail("cannot begin TLS");
    }
    errno = 0;
    int result = SSL_connect(stream->tls);
    if (result > 0)
        return 1;
    errno = tls_errno(stream, result);
    return errno == EAGAIN ? 0 : -1;
}

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
    if (stream->tls == NULL)
        return read(stream->fd, buffer, size);
    errno = 0;
    int count = SSL_read(stream->tls, buffer, (int)size);
    if (count > 0)
        return count;
    if (SSL_get_error(stream->tls, count) == SSL_ERROR_ZERO_RETURN)
        return 0;
    errno = tls_errno(stream, count);
    return -1;
}

int stream_write(struct stream *stream, const void *bytes, size_t length)
{
    if (stream->tls == NULL)
        return write(stream->fd, bytes, length) == (ssize_t)length;
    errno = 0;
    int written = SSL_write(stream->tls, bytes, (int)length);
    if (written != (int)length)
        errno = tls_errno(stream, written);
    return written == (int)length;
}

void stream_finish(struct stream *stream)
{
    if (stream->tls != NULL)
        SSL_shutdown(stream->tls);
    ERR_clear_error();
    shutdown(stream->fd, SHUT_WR);
}

void stream_close(struct stream *stream)
{
    SSL_free(stream->tls);
    stream->tls = NULL;
    close(stream->fd);
    stream->fd = -1;
}

#else

void stream_use_tls(const char *server_name, const char *protocol)
{
    (void)server_name, (void)protocol;
    fail("compiled without TLS");
}

int stream_handshake(struct stream *stream)
{
    (void)stream;
    return 1;
}

ssize_t stream_read(struct stream *stream, void *buffer, size_t size)
{
    return read(stream->fd, buffer, size);
}

int stream_write(struct stream *stream, const void *bytes, size_t length)
{
    return write(stream->fd, bytes, length) == (ssize_t)length;
}

void stream_finish(struct stream *stream)
{
    shutdown(stream->fd, SHUT_WR);
}

void stream_close(struct stream *stream)
{
    close(stream->fd);
    stream->fd = -1;
}

#endif
