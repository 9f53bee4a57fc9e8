/*
 * LD_PRELOAD: kills the process at a system call. SNI_HANDOFF_TEST_CUT is "CALL:N:before" or "CALL:N:after"; the N-th call
 * (from 1) is meant, of
 *   accept4             on a TCP socket
 *   sendmmsg, recvmmsg, sendmsg   on a unix SEQPACKET socket: a channel
 *   close               of a connected TCP socket
 * For a process that a door starts to take over from it the variable is SNI_HANDOFF_TEST_CUT_SUCCESSOR.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static char call_meant[16];
static int number_meant;
static int is_after;
static atomic_int calls;

__attribute__((constructor)) static void begin(void)
{
  char when[8] = "";
  int is_successor = getenv("SNI_HANDOFF_STAGE") != NULL;
  const char *what = getenv(is_successor ? "SNI_HANDOFF_TEST_CUT_SUCCESSOR" : "SNI_HANDOFF_TEST_CUT");
  if (what == NULL || sscanf(what, "%15[a-z0-9]:%d:%7s", call_meant, &number_meant, when) != 3) number_meant = 0;
  is_after = strcmp(when, "after") == 0;
}

static int option(int fd, int name)
{
  int value = -1;
  socklen_t length = sizeof value;
  return getsockopt(fd, SOL_SOCKET, name, &value, &length) == 0 ? value : -1;
}

static int is_tcp(int fd)
{
  int domain = option(fd, SO_DOMAIN);
  return (domain == AF_INET || domain == AF_INET6) && option(fd, SO_TYPE) == SOCK_STREAM;
}

static int is_channel(int fd)
{
  return option(fd, SO_DOMAIN) == AF_UNIX && option(fd, SO_TYPE) == SOCK_SEQPACKET;
}

/* Whether this is the call that is meant: counted once. */
static int is_meant(const char *call)
{
  return number_meant > 0 && strcmp(call, call_meant) == 0 && atomic_fetch_add(&calls, 1) + 1 == number_meant;
}

static void die(void)
{
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

#define WITH_CUT(call, applies, type, ...)                                     \
  static type (*real)() = NULL;                                                \
  if (real == NULL) real = (type(*)())dlsym(RTLD_NEXT, #call);                 \
  int meant = number_meant > 0 && (applies) && is_meant(#call);                \
  if (meant && !is_after) die();                                               \
  type result = real(__VA_ARGS__);                                             \
  if (meant) die();                                                            \
  return result;

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
  WITH_CUT(accept4, is_tcp(fd), int, fd, address, length, flags)
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags)
{
  WITH_CUT(sendmmsg, is_channel(fd), int, fd, messages, count, flags)
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned int count, int flags, struct timespec *timeout)
{
  WITH_CUT(recvmmsg, is_channel(fd), int, fd, messages, count, flags, timeout)
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
  WITH_CUT(sendmsg, is_channel(fd), ssize_t, fd, message, flags)
}

int close(int fd)
{
  WITH_CUT(close, is_tcp(fd) && option(fd, SO_ACCEPTCONN) == 0, int, fd)
}
