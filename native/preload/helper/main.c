/* sni-handoff-helper PATH FAMILY: started by libsnihandoff.so, with descriptors as in spawn.c. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

#include "closing.h"
#include "helper.h"
#include "keeper.h"
#include "start.h"

enum { BACKLOG = 511, EVENTS = 64 };
enum {
  /* The door takes back what is not acknowledged for 500 ms: acknowledged here when it is two ticks old. */
  TICK_MILLISECONDS = 150,
  /* After DRAIN the door closes its channels at once if nothing is outstanding. */
  DRAIN_MILLISECONDS = 10000,
  DRAIN_WITH_LOST_MILLISECONDS = 50,
};

uint64_t now_milliseconds(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000 + (uint64_t)time.tv_nsec / 1000000;
}

/* The last of them: a flood of processes makes no flood of lines either. */
static bool is_told(enum cause cause, pid_t process) {
  static struct {
    enum cause cause;
    pid_t process;
  } told[64];
  static unsigned count;
  for (unsigned i = 0; i < 64; i++)
    if (told[i].cause == cause && told[i].process == process) return true;
  if (count == 64) return true;
  told[count].cause = cause;
  told[count++].process = process;
  return false;
}

void tell(enum cause cause, pid_t process, const char *format, ...) {
  struct stat status;
  va_list arguments;
  if (is_told(cause, process)) return;
  va_start(arguments, format);
  /* Who reads a server's pipe to its end would wait for this process, too: it has let go of it. */
  if (fstat(STDERR_FILENO, &status) == 0 && !S_ISCHR(status.st_mode)) {
    char line[512];
    int head = snprintf(line, sizeof line, "sni-handoff: ");
    int size = vsnprintf(line + head, sizeof line - (size_t)head - 1, format, arguments);
    size_t length = (size_t)head + (size_t)(size < 0 ? 0 : size);
    if (length > sizeof line - 2) length = sizeof line - 2;
    line[length] = '\n';
    if (write(STDERR_FILENO, line, length + 1) == -1) errno = 0;
  } else {
    openlog("sni-handoff", LOG_PID, LOG_DAEMON);
    vsyslog(LOG_WARNING, format, arguments);
  }
  va_end(arguments);
}

void watch(struct helper *helper, int fd, enum watched kind, unsigned index, uint32_t events) {
  struct epoll_event event = {.events = events, .data.u64 = (uint64_t)kind << 32 | index};
  if (epoll_ctl(helper->epoll, EPOLL_CTL_MOD, fd, &event) == -1 && errno == ENOENT)
    epoll_ctl(helper->epoll, EPOLL_CTL_ADD, fd, &event);
}

void start_ticking(struct helper *helper) {
  const struct itimerspec time = {.it_value.tv_nsec = TICK_MILLISECONDS * 1000000L};
  if (helper->is_ticking) return;
  helper->is_ticking = true;
  timerfd_settime(helper->timer, 0, &time, NULL);
}

static void tick(struct helper *helper) {
  uint64_t times;
  helper->is_ticking = read(helper->timer, &times, sizeof times) == -1;
  if (helper->is_ticking) return;
  returned_settle(helper);
  if (receivers_have_unread(helper)) {
    channels_age(helper);
    start_ticking(helper);
  }
  if (helper->returned_count > 0) start_ticking(helper);
}

/* The path's folder, locked; -1 if somebody else works there. */
static int lock_folder(const char *path) {
  char folder[sizeof(((struct helper *)0)->path)];
  const struct timespec pause = {.tv_nsec = 5000000};
  snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
  int fd = open(folder[0] == 0 ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  for (int attempt = 0; fd != -1 && attempt < 10; attempt++) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    nanosleep(&pause, NULL);
  }
  if (fd != -1) close(fd);
  return -1;
}

/* Removes the path, if it still is the one that was bound. */
static void release_path(struct helper *helper) {
  struct stat status;
  if (helper->path_descriptor == -1) return;
  /* From now on it looks dead, though the keeper has it, too: a successor that has the lock removes it by itself. */
  shutdown(helper->path_descriptor, SHUT_RDWR);
  int lock = lock_folder(helper->path);
  if (lock != -1 && lstat(helper->path, &status) == 0 && status.st_dev == helper->path_inode[0] &&
      status.st_ino == helper->path_inode[1])
    unlink(helper->path);
  if (lock != -1) close(lock);
  epoll_ctl(helper->epoll, EPOLL_CTL_DEL, helper->path_descriptor, NULL);
  close(helper->path_descriptor);
  helper->path_descriptor = -1;
}

/* What is in the batch is the door's again, and it is told so; what is owned goes to the receivers that are left. */
static void refuse_batch(struct helper *helper) {
  struct batch *batch = &helper->batch;
  unsigned kept = 0;
  for (unsigned i = batch->sent; i < batch->count; i++) {
    const struct channel *from = batch->from[i];
    bool is_owned = from == NULL || channel_has_acknowledged(from, batch->deliveries[i].sequence);
    if (is_owned && helper->receiver_count > 0) {
      batch->channel[kept] = -1;
      batch->from[kept] = NULL;
      batch->connection[kept] = batch->connection[i];
      batch->length[kept] = batch->length[i];
      batch->deliveries[kept] = batch->deliveries[i];
      batch->deliveries[kept++].is_owned = 1;
      continue;
    }
    if (!is_owned) channel_refuse(from, batch->deliveries[i].sequence, REFUSE_DRAINING);
    close(batch->connection[i]);
  }
  batch->sent = 0;
  batch->count = kept;
  receivers_pass(helper); /* what waited for the batch goes on */
}

void begin_to_end(struct helper *helper, bool has_lost) {
  release_path(helper);
  helper->must_recycle = false;
  helper->is_draining = true;
  helper->ends_at = now_milliseconds() + (has_lost ? DRAIN_WITH_LOST_MILLISECONDS : DRAIN_MILLISECONDS);
  refuse_batch(helper);
  channels_drain(helper);
}

static void recycle(struct helper *helper) {
  helper->must_recycle = false;
  refuse_batch(helper);
  channels_close(helper);
}

/* Milliseconds until something is due, as epoll_wait(2) wants it. */
static int patience(const struct helper *helper) {
  uint64_t due = helper->is_draining ? helper->ends_at : 0;
  if (helper->rests_until != 0 && (due == 0 || helper->rests_until < due)) due = helper->rests_until;
  if (due == 0) return -1;
  uint64_t now = now_milliseconds();
  return due <= now ? 0 : (int)(due - now);
}

static void handle(struct helper *helper, const struct epoll_event *event) {
  unsigned index = (unsigned)event->data.u64;
  switch ((enum watched)(event->data.u64 >> 32)) {
    case WATCH_PATH:
      if (helper->path_descriptor != -1) channels_accept(helper);
      break;
    case WATCH_CHANNEL:
      channel_readable(helper, index);
      break;
    case WATCH_RECEIVER:
      if (event->events & EPOLLOUT) receiver_writable(helper, index);
      if (event->events & (EPOLLIN | EPOLLHUP | EPOLLERR)) receiver_readable(helper, index);
      break;
    case WATCH_KEEPER:
      helper->has_lost_keeper = true;
      break;
    case WATCH_TIMER:
      tick(helper);
      break;
  }
}

static bool is_over(const struct helper *helper) {
  return helper->is_draining && (helper->channel_count == 0 || now_milliseconds() >= helper->ends_at);
}

/* Returns when it is over; or true in a process that has to begin anew in a killed helper's place. */
static bool serve(struct helper *helper, const struct receiver *given, char **arguments, bool is_successor) {
  helper->epoll = epoll_create1(EPOLL_CLOEXEC);
  helper->timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  watch(helper, helper->timer, WATCH_TIMER, 0, EPOLLIN);
  watch(helper, PATH_DESCRIPTOR, WATCH_PATH, 0, EPOLLIN);
  for (unsigned i = 0; i < MOST_RECEIVERS; i++)
    if (given[i].fd != -1) receivers_add(helper, given[i].fd, given[i].family);
  if (is_successor ? keeper_adopt(helper, arguments) : keeper_start(helper, arguments)) return true;
  while (!is_over(helper)) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(helper->epoll, events, EVENTS, patience(helper));
    for (int i = 0; i < count; i++) handle(helper, &events[i]);
    if (helper->must_recycle && !helper->is_draining) recycle(helper);
    if (helper->rests_until != 0 && helper->rests_until <= now_milliseconds()) receivers_pass_again(helper);
    if (helper->has_lost_keeper && !helper->is_draining) {
      helper->has_lost_keeper = false;
      if (keeper_start(helper, arguments)) return true;
    }
  }
  return false;
}

static void prepare(struct helper *helper, const char *path) {
  struct stat status;
  struct options *options = helper->options;
  *helper = (struct helper){.path_descriptor = PATH_DESCRIPTOR, .keeper = -1, .options = options};
  snprintf(helper->path, sizeof helper->path, "%s", path);
  if (lstat(path, &status) == 0) {
    helper->path_inode[0] = status.st_dev;
    helper->path_inode[1] = status.st_ino;
  }
  /* Not again those of the helper before, whose connections may be in the queue still. */
  helper->next_id = (uint32_t)getpid() << 12 ^ (uint32_t)now_milliseconds() << 20;
  for (unsigned i = 0; i < MOST_CHANNELS; i++) helper->channels[i].fd = -1;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) helper->receivers[i].fd = -1;
}

/*
 * Whether whoever reads standard error to its end would wait for this process: a pipe, a socketpair (which has no name,
 * unlike the journal's socket), a terminal.
 */
static bool is_waited_for(int fd) {
  struct stat status;
  struct sockaddr_un name;
  socklen_t length = sizeof name;
  if (fstat(fd, &status) == -1 || S_ISFIFO(status.st_mode) || S_ISCHR(status.st_mode)) return true;
  return S_ISSOCK(status.st_mode) &&
         (getpeername(fd, (struct sockaddr *)&name, &length) == -1 || length <= sizeof name.sun_family);
}

/* Nothing of the server is kept: its terminal, pipes, sockets, folder. */
static void detach(void) {
  struct rlimit limit;
  int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, STDIN_FILENO);
  dup2(null, STDOUT_FILENO);
  if (is_waited_for(STDERR_FILENO)) dup2(null, STDERR_FILENO);
  close_all(FIRST_OTHER, INT_MAX);
  for (int fd = PATH_DESCRIPTOR; fd <= PAIR_END; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
  setsid();
  if (chdir("/") == -1) errno = 0;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
  }
}

static void report(int error) {
  if (write(REPORT, &error, sizeof error) == -1) _exit(1);
  close(REPORT);
}

int main(int count, char **arguments) {
  static struct helper helper;
  static struct receiver given[MOST_RECEIVERS];
  if (count != 3 || fcntl(REPORT, F_GETFD) == -1) {
    fprintf(stderr, "sni-handoff-helper is started by libsnihandoff.so: LD_PRELOAD=$(sni-handoff preload)\n");
    return 2;
  }
  /* Who calls listen(2) is whom SO_PEERCRED names. */
  int error = listen(PATH_DESCRIPTOR, BACKLOG) == 0 ? 0 : errno;
  report(error);
  if (error != 0) return 1;
  detach();
  signal(SIGCHLD, SIG_IGN); /* no successor is left as a zombie */
  helper.options = mmap(NULL, sizeof *helper.options, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (helper.options == MAP_FAILED) return 1;
  for (unsigned i = 0; i < MOST_RECEIVERS; i++) helper.receivers[i].fd = -1;
  helper.receivers[0] = (struct receiver){.fd = PAIR_END, .family = (sa_family_t)atoi(arguments[2])};
  for (bool is_successor = false;; is_successor = true) {
    memcpy(given, helper.receivers, sizeof given);
    prepare(&helper, arguments[1]);
    if (!serve(&helper, given, arguments, is_successor)) return 0;
    keeper_name_process(arguments, false);
    listen(PATH_DESCRIPTOR, BACKLOG);
  }
}
