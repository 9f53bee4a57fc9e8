#include "keeper.h"

#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "closing.h"
#include "start.h"

/* In a helper's successor: the keeper that started it. */
static pid_t starter;

/* Least milliseconds from one successor to the next: one that ends at once must not keep a core busy. */
#define LEAST_LIFE 250

static int open_process(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

void keeper_name_process(char **arguments, bool is_keeper) {
  size_t room = strlen(arguments[0]);
  const char *name = is_keeper ? "sni-handoff-keeper" : "sni-handoff-helper";
  /* In place: proc(5), /proc/PID/cmdline. */
  if (room >= strlen(name)) {
    memset(arguments[0], ' ', room);
    memcpy(arguments[0], name, strlen(name));
  }
  prctl(PR_SET_NAME, name);
}

/* Whether the server has closed its listening sockets. */
static bool is_left(const struct helper *helper) {
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) {
    struct pollfd end = {.fd = helper->receivers[i].fd};
    if (end.fd != -1 && !(poll(&end, 1, 0) == 1 && (end.revents & POLLHUP))) return false;
  }
  return true;
}

static int compare(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

/* None of the helper's channels may stay, whose ends the door waits for; only the pairs' ends. */
static void close_others(const struct helper *helper) {
  int kept[MOST_RECEIVERS + 1] = {REPORT}, count = 1, next = PAIR_END;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++)
    if (helper->receivers[i].fd >= next) kept[count++] = helper->receivers[i].fd;
  qsort(kept, (size_t)count, sizeof *kept, compare);
  for (int i = 0; i < count; next = kept[i++] + 1)
    if (kept[i] > next) close_all(next, kept[i] - 1);
  close_all(next, INT_MAX);
}

/*
 * The keeper's life: waits for the helper's end. Returns in the helper's successor; the keeper itself ends here.
 * `process` is the helper's descriptor.
 */
static void keep(const struct helper *helper, int process, char **arguments) {
  keeper_name_process(arguments, true);
  starter = getpid();
  dup2(process, REPORT);
  close_others(helper);
  uint64_t started = now_milliseconds();
  for (process = REPORT;;) {
    struct pollfd end = {.fd = process, .events = POLLIN};
    if (poll(&end, 1, -1) == -1) continue;
    uint64_t lived = now_milliseconds() - started;
    if (lived < LEAST_LIFE) poll(NULL, 0, (int)(LEAST_LIFE - lived));
    if (is_left(helper)) _exit(0);
    started = now_milliseconds();
    pid_t pid = fork();
    if (pid == 0) return;
    close(process);
    process = pid == -1 ? -1 : open_process(pid);
    if (process == -1) _exit(1); /* the listening sockets hear of it, as if there were no keeper */
  }
}

static void watch_keeper(struct helper *helper, pid_t pid) {
  if (helper->keeper != -1) {
    /* The new keeper has a copy for a moment, and with it the registration would live on (epoll(7)). */
    epoll_ctl(helper->epoll, EPOLL_CTL_DEL, helper->keeper, NULL);
    close(helper->keeper);
  }
  helper->keeper = pid == -1 ? -1 : open_process(pid);
  if (helper->keeper == -1)
    tell(CAUSE_LIMIT, 0, "%s: no second process can be started to hold it; it ends with this one", helper->path);
  else
    watch(helper, helper->keeper, WATCH_KEEPER, 0, EPOLLIN);
}

bool keeper_adopt(struct helper *helper, char **arguments) {
  helper->keeper = open_process(starter);
  /* Its parent is another process by now if the keeper was killed meanwhile: that one is not to be killed, nor kept. */
  if (helper->keeper != -1 && getppid() == starter) {
    watch(helper, helper->keeper, WATCH_KEEPER, 0, EPOLLIN);
    return false;
  }
  return keeper_start(helper, arguments);
}

void keeper_renew(struct helper *helper) {
  if (helper->keeper != -1) syscall(SYS_pidfd_send_signal, helper->keeper, SIGKILL, NULL, 0);
}

bool keeper_start(struct helper *helper, char **arguments) {
  int self = open_process(getpid());
  pid_t pid = self == -1 ? -1 : fork();
  if (pid == 0) {
    keep(helper, self, arguments);
    close(REPORT);
    return true;
  }
  if (self != -1) close(self);
  watch_keeper(helper, pid);
  return false;
}
