/*
 * An HTTPS server behind a front door: epoll, OpenSSL, one thread. Answers GET with who asks.
 *
 *   cc -O2 -o https https.c -lssl -lcrypto
 *   ./https /run/app/door.sock cert.pem key.pem
 *
 * A port in the socket's place is listened on without a door: for development, and to compare. SIGTERM: takes what is on
 * the way, finishes the requests that are open, and exits with 0.
 */
#define SNI_HANDOFF_IMPLEMENTATION
#include "sni_handoff.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/signalfd.h>

enum { MOST_HEAD = 16 * 1024, SECONDS_IDLE = 30, SECONDS_TO_FINISH = 10 };

struct connection {
  struct connection *previous, *next; /* by the time of their last event, the oldest first */
  SSL *ssl;
  time_t last;
  int fd;
  uint32_t wanted; /* of epoll */
  int is_last;     /* ends after this answer */
  uint32_t read, answered, answer_length;
  union sni_handoff_address client;
  char answer[256];
  char head[MOST_HEAD];
};

static struct {
  int epoll, listener, signals, is_draining;
  time_t deadline;
  SSL_CTX *tls;
  struct sni_handoff *receiver;
  struct connection all; /* the ring's head */
  uint32_t open;
} server;

static _Noreturn void fail(const char *what, const char *why) {
  fprintf(stderr, "https: %s: %s\n", what, why);
  exit(1);
}

static time_t seconds(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC_COARSE, &now);
  return now.tv_sec;
}

static void watch(int operation, int fd, uint32_t events, void *what) {
  struct epoll_event event = {.events = events, .data.ptr = what};
  if (epoll_ctl(server.epoll, operation, fd, &event) == -1) fail("epoll_ctl", strerror(errno));
}

static void unlink_connection(struct connection *connection) {
  connection->previous->next = connection->next;
  connection->next->previous = connection->previous;
}

static void touch(struct connection *connection) {
  connection->last = seconds();
  connection->previous = server.all.previous;
  connection->next = &server.all;
  connection->previous->next = server.all.previous = connection;
}

static void end(struct connection *connection) {
  unlink_connection(connection);
  SSL_free(connection->ssl);
  /* For a moment the door may still have the socket too: until then close alone would end neither of these. */
  if (connection->wanted != 0) watch(EPOLL_CTL_DEL, connection->fd, 0, NULL);
  shutdown(connection->fd, SHUT_WR);
  close(connection->fd);
  free(connection);
  server.open--;
  if (server.receiver != NULL) sni_handoff_ended(server.receiver);
}

/* An answer to the request whose head ends before `end_of_head`; what follows it is kept for the next one. */
static void answer(struct connection *connection, char *end_of_head) {
  char name[INET6_ADDRSTRLEN] = "unknown", body[128];
  const union sni_handoff_address *client = &connection->client;
  int is_v6 = client->any.sa_family == AF_INET6, is_get = strncmp(connection->head, "GET ", 4) == 0;
  if (is_v6 || client->any.sa_family == AF_INET)
    inet_ntop(client->any.sa_family, is_v6 ? (const void *)&client->v6.sin6_addr : &client->v4.sin_addr, name, sizeof name);
  int length = snprintf(body, sizeof body, is_v6 ? "hello from c: [%s]:%u\n" : "hello from c: %s:%u\n", name,
                        (unsigned)ntohs(is_v6 ? client->v6.sin6_port : client->v4.sin_port));
  end_of_head[-2] = 0;
  /* Bodies are not read: after another method the connection ends. */
  connection->is_last = server.is_draining || !is_get || strcasestr(connection->head, "\r\nConnection: close") != NULL ||
                        strcasestr(connection->head, " HTTP/1.0\r\n") != NULL;
  connection->answered = 0;
  connection->answer_length = (uint32_t)snprintf(
      connection->answer, sizeof connection->answer,
      "HTTP/1.1 %s\r\nContent-Type: text/plain\r\nContent-Length: %d\r\nConnection: %s\r\n\r\n%s",
      is_get ? "200 OK" : "405 Method Not Allowed\r\nAllow: GET", is_get ? length : 0,
      connection->is_last ? "close" : "keep-alive", is_get ? body : "");
  connection->read -= (uint32_t)(end_of_head - connection->head);
  memmove(connection->head, end_of_head, connection->read + 1);
}

/* Reads and answers as far as it goes without blocking. Returns 0 if the connection is over. */
static int serve(struct connection *connection, uint32_t *wanted) {
  for (;;) {
    int result;
    char *end_of_head = strstr(connection->head, "\r\n\r\n");
    ERR_clear_error();
    if (connection->answered < connection->answer_length) {
      result = SSL_write(connection->ssl, connection->answer + connection->answered,
                         (int)(connection->answer_length - connection->answered));
      if (result > 0) connection->answered += (uint32_t)result;
      if (result > 0 && connection->answered == connection->answer_length && connection->is_last) {
        SSL_shutdown(connection->ssl); /* close_notify: the client knows that this was all */
        return 0;
      }
    } else if (end_of_head != NULL) {
      answer(connection, end_of_head + 4);
      continue;
    } else if (connection->read == MOST_HEAD - 1) {
      return 0;
    } else {
      result = SSL_read(connection->ssl, connection->head + connection->read, (int)(MOST_HEAD - 1 - connection->read));
      if (result > 0) connection->head[connection->read += (uint32_t)result] = 0;
    }
    if (result <= 0) {
      int reason = SSL_get_error(connection->ssl, result);
      *wanted = reason == SSL_ERROR_WANT_WRITE ? EPOLLOUT : EPOLLIN;
      return reason == SSL_ERROR_WANT_READ || reason == SSL_ERROR_WANT_WRITE;
    }
  }
}

static void on_event(struct connection *connection) {
  uint32_t wanted = EPOLLIN;
  unlink_connection(connection);
  touch(connection);
  if (!serve(connection, &wanted)) {
    end(connection);
  } else if (wanted != connection->wanted) {
    watch(connection->wanted == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, connection->fd, wanted, connection);
    connection->wanted = wanted;
  }
}

/* A connection of ours, by whatever way it came. Its first bytes are there: it is served at once. */
static void take(int fd, union sni_handoff_address client) {
  struct connection *connection = malloc(sizeof *connection);
  SSL *ssl = SSL_new(server.tls);
  server.open++;
  if (connection == NULL || ssl == NULL || SSL_set_fd(ssl, fd) != 1) fail("a connection", "no memory");
  memset(connection, 0, offsetof(struct connection, head) + 1);
  SSL_set_accept_state(ssl);
  connection->ssl = ssl;
  connection->fd = fd;
  connection->client = client;
  touch(connection);
  on_event(connection);
}

static void on_connection(void *context, int fd, const struct sni_handoff_info *info) {
  (void)context;
  take(fd, sni_handoff_client(fd, info));
}

static void accept_connections(void) {
  for (int i = 0; i < 64; i++) {
    union sni_handoff_address client;
    socklen_t length = sizeof client;
    int fd = accept4(server.listener, &client.any, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd == -1) return;
    take(fd, client);
  }
}

static void begin_to_end(void) {
  struct signalfd_siginfo signal;
  if (read(server.signals, &signal, sizeof signal) <= 0 || server.is_draining) return;
  server.is_draining = 1;
  server.deadline = seconds() + SECONDS_TO_FINISH;
  if (server.receiver != NULL) sni_handoff_drain(server.receiver, 0);
  if (server.listener != -1) close(server.listener);
  server.listener = -1;
  /* Nothing is under way on connections that wait for a next request. */
  for (struct connection *each = server.all.next, *next; each != &server.all; each = next) {
    next = each->next;
    if (each->answer_length > 0 && each->answered == each->answer_length && each->read == 0) end(each);
  }
}

static void end_old(void) {
  time_t now = seconds();
  int is_late = server.is_draining && now >= server.deadline;
  while (server.all.next != &server.all && (is_late || now - server.all.next->last > SECONDS_IDLE)) end(server.all.next);
}

static int listen_on(const char *port) {
  const int on = 1, off = 0;
  struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)atoi(port))};
  int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == -1 ||
      setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off) == -1 ||
      setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, &on, sizeof on) == -1 ||
      bind(fd, (struct sockaddr *)&address, sizeof address) == -1 || listen(fd, 4096) == -1)
    fail(port, strerror(errno));
  return fd;
}

static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *length, const unsigned char *offered,
                           unsigned offered_length, void *context) {
  static const unsigned char spoken[] = "\x08http/1.1";
  unsigned char *chosen;
  (void)ssl, (void)context;
  int result = SSL_select_next_proto(&chosen, length, spoken, sizeof spoken - 1, offered, offered_length);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static SSL_CTX *load_tls(const char *certificate, const char *key) {
  SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
  if (tls == NULL || SSL_CTX_set_min_proto_version(tls, TLS1_2_VERSION) != 1) fail("OpenSSL", "no TLS 1.2");
  if (SSL_CTX_use_certificate_chain_file(tls, certificate) != 1)
    fail(certificate, ERR_reason_error_string(ERR_peek_last_error()));
  if (SSL_CTX_use_PrivateKey_file(tls, key, SSL_FILETYPE_PEM) != 1)
    fail(key, ERR_reason_error_string(ERR_peek_last_error()));
  SSL_CTX_set_mode(tls, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE);
  SSL_CTX_set_alpn_select_cb(tls, choose_protocol, NULL);
  return tls;
}

static void start(char **arguments) {
  sigset_t stops;
  sigemptyset(&stops);
  sigaddset(&stops, SIGTERM);
  sigaddset(&stops, SIGINT);
  sigprocmask(SIG_BLOCK, &stops, NULL);
  signal(SIGPIPE, SIG_IGN);
  server.all.next = server.all.previous = &server.all;
  server.tls = load_tls(arguments[2], arguments[3]);
  server.listener = -1;
  server.signals = signalfd(-1, &stops, SFD_CLOEXEC | SFD_NONBLOCK);
  server.epoll = epoll_create1(EPOLL_CLOEXEC);
  watch(EPOLL_CTL_ADD, server.signals, EPOLLIN, &server.signals);
  if (arguments[1][0] != 0 && strspn(arguments[1], "0123456789") == strlen(arguments[1])) {
    server.listener = listen_on(arguments[1]);
    watch(EPOLL_CTL_ADD, server.listener, EPOLLIN, &server.listener);
  } else {
    char error[SNI_HANDOFF_ERROR_LENGTH];
    struct sni_handoff_options options = sni_handoff_defaults(arguments[1], on_connection, NULL);
    options.tells_ended = 1;
    server.receiver = sni_handoff_open(&options, error);
    if (server.receiver == NULL) fail("cannot receive", error);
    watch(EPOLL_CTL_ADD, sni_handoff_fd(server.receiver), EPOLLIN, &server.receiver);
  }
  printf("listening on %s\n", arguments[1]);
  fflush(stdout);
}

int main(int count, char **arguments) {
  if (count != 4) {
    fprintf(stderr, "usage: https SOCKET|PORT CERTIFICATE KEY\n");
    return 2;
  }
  start(arguments);
  for (int receives = server.receiver != NULL; !server.is_draining || receives || server.open > 0;) {
    struct epoll_event events[256];
    int ready = epoll_wait(server.epoll, events, 256, server.open > 0 || server.is_draining ? 1000 : -1);
    int is_asked_to_end = 0;
    for (int i = 0; i < ready; i++) {
      void *what = events[i].data.ptr;
      if (what == &server.receiver) receives = sni_handoff_step(server.receiver);
      else if (what == &server.listener) accept_connections();
      else if (what == &server.signals) is_asked_to_end = 1;
      else on_event(what);
    }
    /* These free connections, which later events of the same turn may name. */
    if (is_asked_to_end) begin_to_end();
    end_old();
  }
  sni_handoff_close(server.receiver);
  server.receiver = NULL;
  SSL_CTX_free(server.tls);
  close(server.epoll);
  close(server.signals);
  return 0;
}
