/*
 * LD_PRELOAD: makes calls of one object of the process fail, as a file says that the test writes (inject.ts). What fails
 * is not done, except close(2): Linux has closed the descriptor whatever it answers (close(2), "Dealing with error
 * returns").
 *
 * SNI_FAULTS is the file. SNI_FAULTS_OBJECT is the last part of the object's name, as dladdr(3) has it
 * ("sni_handoff.node"): Node's own calls, of libuv and V8, are not the project's to answer for; without it all fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "sites.h"

#define NUMBERED(name) SITE_##name,
enum site { FAULT_SITES(NUMBERED) SITES };

/* In the test's words: inject.ts. */
struct fault {
  _Atomic uint32_t error; /* 0: nothing fails */
  _Atomic uint32_t first; /* the first call to fail, from 1 */
  _Atomic uint32_t every; /* then each so many; 0: that one only */
  _Atomic uint32_t calls;
  _Atomic uint32_t failed;
};

struct control {
  _Atomic uint32_t turns; /* waits for events, whoever waits, but for V8's tasks */
  _Atomic uint32_t tasks; /* waits for those */
  _Atomic uint32_t empty; /* of both: that no event ended */
  struct fault faults[SITES];
};

static struct control *control;
static const char *object = "";

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("SNI_FAULTS");
  const char *name = getenv("SNI_FAULTS_OBJECT");
  if (name != NULL) object = name;
  if (path == NULL) return;
  int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd == -1) return;
  void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped != MAP_FAILED) control = mapped;
  close(fd);
}

static bool is_concerned(void *caller) {
  Dl_info found;
  if (*object == 0) return true;
  if (dladdr(caller, &found) == 0 || found.dli_fname == NULL) return false;
  const char *slash = strrchr(found.dli_fname, '/');
  return strcmp(slash == NULL ? found.dli_fname : slash + 1, object) == 0;
}

/* Whether this call fails; then with errno. */
static bool fails(enum site site, void *caller) {
  if (control == NULL) return false;
  struct fault *fault = &control->faults[site];
  uint32_t error = atomic_load(&fault->error);
  if (error == 0 || !is_concerned(caller)) return false;
  uint32_t call = atomic_fetch_add(&fault->calls, 1) + 1;
  uint32_t first = atomic_load(&fault->first), every = atomic_load(&fault->every);
  if (call < first || (call > first && (every == 0 || (call - first) % every != 0))) return false;
  atomic_fetch_add(&fault->failed, 1);
  errno = (int)error;
  return true;
}

#define FAILS(name) fails(SITE_##name, __builtin_return_address(0))

/* Declares `real`, the C library's own. */
#define REAL(result, name, ...)                                                     \
  typedef result name##_type(__VA_ARGS__);                                          \
  static name##_type *_Atomic known;                                                \
  name##_type *real = atomic_load_explicit(&known, memory_order_relaxed);           \
  if (real == NULL) {                                                               \
    real = (name##_type *)dlsym(RTLD_NEXT, #name);                                  \
    atomic_store_explicit(&known, real, memory_order_relaxed);                      \
  }

/* --- connections and messages ------------------------------------------------------------------------------------- */

int accept4(int fd, struct sockaddr *restrict address, socklen_t *restrict length, int flags) {
  REAL(int, accept4, int, struct sockaddr *, socklen_t *, int)
  return FAILS(accept4) ? -1 : real(fd, address, length, flags);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
  REAL(ssize_t, recv, int, void *, size_t, int)
  if (flags & MSG_PEEK ? FAILS(recv_peek) : FAILS(recv)) return -1;
  return real(fd, bytes, length, flags);
}

ssize_t recvmsg(int fd, struct msghdr *header, int flags) {
  REAL(ssize_t, recvmsg, int, struct msghdr *, int)
  return FAILS(recvmsg) ? -1 : real(fd, header, flags);
}

int recvmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags, struct timespec *timeout) {
  REAL(int, recvmmsg, int, struct mmsghdr *, unsigned, int, struct timespec *)
  return FAILS(recvmmsg) ? -1 : real(fd, headers, count, flags, timeout);
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
  REAL(ssize_t, send, int, const void *, size_t, int)
  return FAILS(send) ? -1 : real(fd, bytes, length, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *header, int flags) {
  REAL(ssize_t, sendmsg, int, const struct msghdr *, int)
  return FAILS(sendmsg) ? -1 : real(fd, header, flags);
}

int sendmmsg(int fd, struct mmsghdr *headers, unsigned count, int flags) {
  REAL(int, sendmmsg, int, struct mmsghdr *, unsigned, int)
  return FAILS(sendmmsg) ? -1 : real(fd, headers, count, flags);
}

int shutdown(int fd, int how) {
  REAL(int, shutdown, int, int)
  return FAILS(shutdown) ? -1 : real(fd, how);
}

/* --- waiting ------------------------------------------------------------------------------------------------------ */

int epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
  REAL(int, epoll_ctl, int, int, int, struct epoll_event *)
  void *caller = __builtin_return_address(0);
  enum site site = operation == EPOLL_CTL_ADD   ? SITE_epoll_ctl_add
                   : operation == EPOLL_CTL_MOD ? SITE_epoll_ctl_mod
                                                : SITE_epoll_ctl_del;
  return fails(site, caller) ? -1 : real(set, operation, fd, event);
}

/*
 * The eventfd that the thread wrote to last, and how often it has waited since. libuv wakes a loop so (uv_async_send), and
 * so does each task that V8 gives to a thread of JavaScript. A task that gives the next one, until another thread is done
 * with its part, makes a turn of the loop each time: thousands, where the other thread does not get the processor. The
 * project's own code writes to other threads' loops only (postMessage): a loop that wakes itself is V8's.
 */
static _Thread_local int written = -1;
static _Thread_local uint32_t waits;

static int waited(int count) {
  int error = errno;
  waits++;
  if (control != NULL) atomic_fetch_add(&control->turns, 1);
  if (control != NULL && count == 0) atomic_fetch_add(&control->empty, 1);
  errno = error;
  return count;
}

/* libuv's events have the descriptor: what the thread has waited since it woke itself was for a task. */
static void look_for_task(const struct epoll_event *events, int count) {
  for (int i = 0; i < count && control != NULL; i++) {
    if (events[i].data.fd != written) continue;
    atomic_fetch_sub(&control->turns, waits);
    atomic_fetch_add(&control->tasks, waits);
    break;
  }
  written = -1;
  waits = 0;
}

int epoll_wait(int set, struct epoll_event *events, int most, int timeout) {
  REAL(int, epoll_wait, int, struct epoll_event *, int, int)
  return waited(FAILS(epoll_wait) ? -1 : real(set, events, most, timeout));
}

/* Of libuv only. */
int epoll_pwait(int set, struct epoll_event *events, int most, int timeout, const sigset_t *signals) {
  REAL(int, epoll_pwait, int, struct epoll_event *, int, int, const sigset_t *)
  int count = waited(FAILS(epoll_wait) ? -1 : real(set, events, most, timeout, signals));
  look_for_task(events, count);
  return count;
}

int epoll_create1(int flags) {
  REAL(int, epoll_create1, int)
  return FAILS(epoll_create1) ? -1 : real(flags);
}

int poll(struct pollfd *looks, nfds_t count, int timeout) {
  REAL(int, poll, struct pollfd *, nfds_t, int)
  return FAILS(poll) ? -1 : real(looks, count, timeout);
}

/* epoll_pwait2 has no wrapper in the C libraries that the addon is built with. */
long syscall(long number, ...) {
  REAL(long, syscall, long, long, long, long, long, long, long)
  long arguments[6];
  va_list list;
  va_start(list, number);
  for (int i = 0; i < 6; i++) arguments[i] = va_arg(list, long);
  va_end(list);
#ifdef SYS_epoll_pwait2
  if (number == SYS_epoll_pwait2 && FAILS(epoll_pwait2)) return waited(-1);
#endif
  long result = real(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4], arguments[5]);
#ifdef SYS_epoll_pwait2
  if (number == SYS_epoll_pwait2) waited((int)result);
#endif
  return result;
}

/* --- sockets ------------------------------------------------------------------------------------------------------ */

int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict length) {
  REAL(int, getsockopt, int, int, int, void *, socklen_t *)
  enum site site = level == IPPROTO_TCP && name == TCP_INFO       ? SITE_getsockopt_tcp_info
                   : level == SOL_SOCKET && name == SO_LINGER     ? SITE_getsockopt_linger
                   : level == SOL_SOCKET && name == SO_PEERCRED   ? SITE_getsockopt_peercred
                   : level == SOL_SOCKET && name == SO_ERROR      ? SITE_getsockopt_error
                                                                  : SITE_getsockopt;
  return fails(site, __builtin_return_address(0)) ? -1 : real(fd, level, name, value, length);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t length) {
  REAL(int, setsockopt, int, int, int, const void *, socklen_t)
  enum site site = level != SOL_SOCKET   ? SITE_setsockopt
                   : name == SO_LINGER   ? SITE_setsockopt_linger
                   : name == SO_RCVLOWAT ? SITE_setsockopt_low_water
                   : name == SO_PASSCRED ? SITE_setsockopt_passcred
                                         : SITE_setsockopt;
  return fails(site, __builtin_return_address(0)) ? -1 : real(fd, level, name, value, length);
}

int socket(int domain, int type, int protocol) {
  REAL(int, socket, int, int, int)
  return FAILS(socket) ? -1 : real(domain, type, protocol);
}

int socketpair(int domain, int type, int protocol, int out[2]) {
  REAL(int, socketpair, int, int, int, int *)
  return FAILS(socketpair) ? -1 : real(domain, type, protocol, out);
}

int bind(int fd, const struct sockaddr *address, socklen_t length) {
  REAL(int, bind, int, const struct sockaddr *, socklen_t)
  return FAILS(bind) ? -1 : real(fd, address, length);
}

int listen(int fd, int backlog) {
  REAL(int, listen, int, int)
  return FAILS(listen) ? -1 : real(fd, backlog);
}

int connect(int fd, const struct sockaddr *address, socklen_t length) {
  REAL(int, connect, int, const struct sockaddr *, socklen_t)
  return FAILS(connect) ? -1 : real(fd, address, length);
}

int getsockname(int fd, struct sockaddr *restrict address, socklen_t *restrict length) {
  REAL(int, getsockname, int, struct sockaddr *, socklen_t *)
  return FAILS(getsockname) ? -1 : real(fd, address, length);
}

int getpeername(int fd, struct sockaddr *restrict address, socklen_t *restrict length) {
  REAL(int, getpeername, int, struct sockaddr *, socklen_t *)
  return FAILS(getpeername) ? -1 : real(fd, address, length);
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

/* F_GETFD, F_GETFL and their like are let be: fcntl(2) has them fail for descriptors that are not open, and for nothing else. */
static bool fcntl_fails(int command, void *caller) {
  switch (command) {
    case F_DUPFD:
    case F_DUPFD_CLOEXEC:
      return fails(SITE_fcntl_dupfd, caller);
    case F_SETPIPE_SZ:
    case F_GETPIPE_SZ:
      return fails(SITE_fcntl_pipe_size, caller);
    case F_SETFL:
    case F_SETFD:
      return fails(SITE_fcntl, caller);
    default:
      return false;
  }
}

int fcntl(int fd, int command, ...) {
  REAL(int, fcntl, int, int, void *)
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return fcntl_fails(command, __builtin_return_address(0)) ? -1 : real(fd, command, argument);
}

int fcntl64(int fd, int command, ...) {
  REAL(int, fcntl64, int, int, void *)
  va_list list;
  va_start(list, command);
  void *argument = va_arg(list, void *);
  va_end(list);
  return fcntl_fails(command, __builtin_return_address(0)) ? -1 : real(fd, command, argument);
}

int ioctl(int fd, unsigned long request, ...) {
  REAL(int, ioctl, int, unsigned long, void *)
  va_list list;
  va_start(list, request);
  void *argument = va_arg(list, void *);
  va_end(list);
  if (request == SIOCINQ ? FAILS(ioctl_inq) : FAILS(ioctl)) return -1;
  return real(fd, request, argument);
}

int flock(int fd, int operation) {
  REAL(int, flock, int, int)
  return FAILS(flock) ? -1 : real(fd, operation);
}

int dup2(int from, int to) {
  REAL(int, dup2, int, int)
  return FAILS(dup2) ? -1 : real(from, to);
}

int close(int fd) {
  REAL(int, close, int)
  bool is_failed = FAILS(close);
  int error = errno;
  int result = real(fd);
  if (!is_failed) return result;
  errno = error;
  return -1;
}

int pipe2(int out[2], int flags) {
  REAL(int, pipe2, int *, int)
  return FAILS(pipe2) ? -1 : real(out, flags);
}

ssize_t splice(int from, off64_t *from_offset, int to, off64_t *to_offset, size_t length, unsigned flags) {
  REAL(ssize_t, splice, int, off64_t *, int, off64_t *, size_t, unsigned)
  return FAILS(splice) ? -1 : real(from, from_offset, to, to_offset, length, flags);
}

ssize_t write(int fd, const void *bytes, size_t length) {
  REAL(ssize_t, write, int, const void *, size_t)
  if (length == sizeof(uint64_t)) {
    written = fd;
    waits = 0;
  }
  return FAILS(write) ? -1 : real(fd, bytes, length);
}
