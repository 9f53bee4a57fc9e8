/*
 * As instance.mjs, with examples/c/sni_handoff.h in place of the library. Arguments: NAME PATH JOURNAL. SIGUSR2 does nothing.
 */
#define SNI_HANDOFF_IMPLEMENTATION
#include "../../../examples/c/sni_handoff.h"

#include <arpa/inet.h>
#include <signal.h>
#include <sys/signalfd.h>

enum { ROOM = 8192, RECORD_HEADER = 5 };

struct connection {
  int fd;
  int hello_is_read;
  size_t length;
  char client[INET6_ADDRSTRLEN];
  char bytes[ROOM];
};

static const char *name;
static int journal, poll_set, open_count;
static struct sni_handoff *receiver;

/* One write(2) with O_APPEND: whole, also if the process is killed. */
static void note(const char *what, const char *client, const char *more)
{
  struct timespec now;
  char line[256];
  clock_gettime(CLOCK_MONOTONIC, &now);
  double time = (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
  int length = snprintf(line, sizeof line, "%s %s %d %s %.3f%s\n", what, client, getpid(), name, time, more);
  if (write(journal, line, (size_t)length) != length) abort();
}

static void end(struct connection *connection)
{
  /* The door may have a copy for a moment: the set would keep it. */
  epoll_ctl(poll_set, EPOLL_CTL_DEL, connection->fd, NULL);
  close(connection->fd);
  free(connection);
  open_count--;
  sni_handoff_ended(receiver);
}

static void drop(struct connection *connection, size_t count)
{
  connection->length -= count;
  memmove(connection->bytes, connection->bytes + count, connection->length);
}

/* Returns 0 if the client cannot be answered. */
static int answer(struct connection *connection, size_t length)
{
  char number[32], text[96];
  snprintf(number, sizeof number, " %.*s", (int)length, connection->bytes);
  note("answered", connection->client, number);
  int count = snprintf(text, sizeof text, "%s %d%s\n", name, getpid(), number);
  return send(connection->fd, text, (size_t)count, MSG_NOSIGNAL) == count;
}

/* Returns 0 if the connection is over. */
static int take(struct connection *connection)
{
  ssize_t count = recv(connection->fd, connection->bytes + connection->length, ROOM - connection->length, MSG_DONTWAIT);
  if (count < 0) return errno == EAGAIN;
  if (count == 0) return 0;
  connection->length += (size_t)count;
  if (!connection->hello_is_read) {
    const unsigned char *header = (const unsigned char *)connection->bytes;
    if (connection->length < RECORD_HEADER) return 1;
    size_t hello = RECORD_HEADER + (size_t)header[3] * 256 + header[4];
    if (connection->length < hello) return 1;
    drop(connection, hello);
    connection->hello_is_read = 1;
  }
  for (;;) {
    const char *line_end = memchr(connection->bytes, '\n', connection->length);
    if (line_end == NULL) return 1;
    size_t length = (size_t)(line_end - connection->bytes);
    if (!answer(connection, length)) return 0;
    drop(connection, length + 1);
  }
}

static void on_connection(void *context, int fd, const struct sni_handoff_info *info)
{
  (void)context;
  struct connection *connection = calloc(1, sizeof *connection);
  if (connection == NULL) abort();
  union sni_handoff_address client = sni_handoff_client(fd, info);
  connection->fd = fd;
  open_count++;
  if (client.any.sa_family != AF_INET) strcpy(connection->client, "gone");
  else inet_ntop(AF_INET, &client.v4.sin_addr, connection->client, sizeof connection->client);
  note("owned", connection->client, "");
  struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
  if (epoll_ctl(poll_set, EPOLL_CTL_ADD, fd, &event) != 0) end(connection);
}

int main(int count, char **arguments)
{
  char error[SNI_HANDOFF_ERROR_LENGTH];
  sigset_t signals;
  int is_draining = 0, is_drained = 0;
  if (count != 4) return 2;
  name = arguments[1];
  journal = open(arguments[3], O_WRONLY | O_APPEND | O_CLOEXEC);
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGUSR2);
  sigprocmask(SIG_BLOCK, &signals, NULL);
  int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
  poll_set = epoll_create1(EPOLL_CLOEXEC);
  struct sni_handoff_options options = sni_handoff_defaults(arguments[2], on_connection, NULL);
  options.tells_ended = 1;
  receiver = sni_handoff_open(&options, error);
  if (receiver == NULL || journal < 0) {
    fprintf(stderr, "%s\n", receiver == NULL ? error : arguments[3]);
    return 1;
  }
  struct epoll_event door = {.events = EPOLLIN, .data.ptr = &receiver}, asked = {.events = EPOLLIN, .data.ptr = &signals};
  epoll_ctl(poll_set, EPOLL_CTL_ADD, sni_handoff_fd(receiver), &door);
  epoll_ctl(poll_set, EPOLL_CTL_ADD, signal_fd, &asked);
  printf("{\"ready\":true}\n");
  fflush(stdout);
  while (!is_drained || open_count > 0) {
    struct epoll_event events[64];
    int ready = epoll_wait(poll_set, events, 64, -1);
    int door_is_ready = 0;
    for (int i = 0; i < ready; i++) {
      if (events[i].data.ptr == &receiver) {
        door_is_ready = 1;
      } else if (events[i].data.ptr == &signals) {
        struct signalfd_siginfo signal;
        if (read(signal_fd, &signal, sizeof signal) == sizeof signal && signal.ssi_signo == SIGTERM && !is_draining) {
          is_draining = 1;
          sni_handoff_drain(receiver, 0);
          door_is_ready = 1;
        }
      } else if (!take(events[i].data.ptr)) {
        end(events[i].data.ptr);
      }
    }
    if (door_is_ready && !is_drained && !sni_handoff_step(receiver)) {
      is_drained = 1;
      epoll_ctl(poll_set, EPOLL_CTL_DEL, sni_handoff_fd(receiver), NULL);
    }
  }
  sni_handoff_close(receiver);
  return 0;
}
