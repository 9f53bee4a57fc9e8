#include "epoll_set.h"

#include <errno.h>
#include <limits.h>
#include <linux/time_types.h>
#include <math.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>

int epoll_set_open(void) { return epoll_create1(EPOLL_CLOEXEC); }

static int control(int set, int operation, int fd, uint32_t events, uint32_t tag, uint32_t index) {
  struct epoll_event event = {.events = events, .data.u64 = (uint64_t)tag << 32 | index};
  return epoll_ctl(set, operation, fd, &event);
}

int epoll_set_add(int set, int fd, uint32_t events, uint32_t tag, uint32_t index) {
  return control(set, EPOLL_CTL_ADD, fd, events, tag, index);
}

int epoll_set_modify(int set, int fd, uint32_t events, uint32_t tag, uint32_t index) {
  return control(set, EPOLL_CTL_MOD, fd, events, tag, index);
}

int epoll_set_remove(int set, int fd) {
  int result = control(set, EPOLL_CTL_DEL, fd, 0, 0, 0);
  return result == -1 && errno == ENOENT ? 0 : result;
}

static int wait_rounded(int set, struct epoll_event *out, int most, double timeout) {
  double milliseconds = ceil(timeout);
  return epoll_wait(set, out, most, timeout < 0 ? -1 : milliseconds > INT_MAX ? INT_MAX : (int)milliseconds);
}

static int wait_precise(int set, struct epoll_event *out, int most, double timeout) {
#ifdef SYS_epoll_pwait2
  static atomic_bool missing;
  if (timeout > 0 && timeout <= INT_MAX && !atomic_load_explicit(&missing, memory_order_relaxed)) {
    long long nanoseconds = (long long)(timeout * 1e6);
    struct __kernel_timespec limit = {.tv_sec = nanoseconds / 1000000000, .tv_nsec = nanoseconds % 1000000000};
    int count = (int)syscall(SYS_epoll_pwait2, set, out, most, &limit, NULL, 0);
    /* EPERM: older seccomp filters (containers) answer so for calls that they don't know. */
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
    atomic_store_explicit(&missing, 1, memory_order_relaxed);
  }
#endif
  return wait_rounded(set, out, most, timeout);
}

int epoll_set_wait(int set, struct epoll_event *out, int most, double timeout) {
  int count = wait_precise(set, out, most, timeout);
  return count == -1 && errno == EINTR ? 0 : count;
}
