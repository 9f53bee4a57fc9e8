#include "closer.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* musl has the standard's name for it, older glibc only this. */
#ifndef sigev_notify_thread_id
#define sigev_notify_thread_id _sigev_un._tid
#endif

/* Most descriptors that wait for the thread. */
enum { QUEUE_LENGTH = 64 };

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t filled = PTHREAD_COND_INITIALIZER;
static int queue[QUEUE_LENGTH];
static unsigned queue_first, queue_count;
static bool thread_runs;

static void *close_queued(void *unused) {
  (void)unused;
  for (;;) {
    pthread_mutex_lock(&mutex);
    while (queue_count == 0) pthread_cond_wait(&filled, &mutex);
    int fd = queue[queue_first];
    queue_first = (queue_first + 1) % QUEUE_LENGTH;
    queue_count--;
    pthread_mutex_unlock(&mutex);
    close(fd);
  }
  return NULL;
}

/* Signals are the main thread's: a handler run here would cut a lingering close short. */
static bool start_thread(void) {
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pthread_attr_t attributes;
  pthread_t thread;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, 256 * 1024);
  int error = pthread_create(&thread, &attributes, close_queued, NULL);
  pthread_attr_destroy(&attributes);
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  return error == 0;
}

static bool enqueue(int fd) {
  bool queued = false;
  pthread_mutex_lock(&mutex);
  if (!thread_runs) thread_runs = start_thread();
  if (thread_runs && queue_count < QUEUE_LENGTH) {
    queue[(queue_first + queue_count++) % QUEUE_LENGTH] = fd;
    queued = true;
    pthread_cond_signal(&filled);
  }
  pthread_mutex_unlock(&mutex);
  return queued;
}

/* --- closes that linger all the same ------------------------------------------------------------------------------ */

/*
 * Who has a copy can set SO_LINGER, and close that copy, between getsockopt and close below. A close that lingers goes on
 * when a signal comes (tcp_close, sk_stream_wait_close), so a timer of the thread sends it one, again and again while it
 * closes. The signal is one of those for applications that has no handler yet; ours does nothing.
 */
enum { LONGEST_CLOSE = 5000000 }; /* nanoseconds */

static pthread_once_t once = PTHREAD_ONCE_INIT;
static pthread_key_t timer_key;
static int wake_signal; /* 0: there is none */

static void on_wake(int number) { (void)number; }

/* The kernel's timers, not the C library's: those of glibc are in librt before 2.34. */
static void delete_timer(void *timer) {
  syscall(SYS_timer_delete, *(int *)timer);
  free(timer);
}

static void prepare(void) {
  if (pthread_key_create(&timer_key, delete_timer) != 0) return;
  for (int number = SIGRTMAX; number > SIGRTMIN && wake_signal == 0; number--) {
    struct sigaction before;
    const struct sigaction wanted = {.sa_handler = on_wake};
    if (sigaction(number, NULL, &before) != 0 || before.sa_handler != SIG_DFL) continue;
    if (sigaction(number, &wanted, NULL) == 0) wake_signal = number;
  }
}

/* The calling thread's; NULL if it cannot have one: then a close may linger. */
static int *own_timer(void) {
  pthread_once(&once, prepare);
  if (wake_signal == 0) return NULL;
  int *timer = pthread_getspecific(timer_key);
  if (timer != NULL) return timer;
  struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = wake_signal};
  event.sigev_notify_thread_id = (int)syscall(SYS_gettid);
  timer = malloc(sizeof *timer);
  if (timer == NULL) return NULL;
  if (syscall(SYS_timer_create, CLOCK_MONOTONIC, &event, timer) != 0) {
    free(timer);
    return NULL;
  }
  if (pthread_setspecific(timer_key, timer) != 0) {
    delete_timer(timer);
    return NULL;
  }
  sigset_t wake;
  sigemptyset(&wake);
  sigaddset(&wake, wake_signal);
  pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
  return timer;
}

/* Every so many nanoseconds; 0: no more. */
static void set_timer(const int *timer, long nanoseconds) {
  const struct itimerspec often = {{0, nanoseconds}, {0, nanoseconds}};
  if (timer != NULL) syscall(SYS_timer_settime, *timer, 0, &often, NULL);
}

static bool close_one(int fd) {
  struct linger linger;
  socklen_t length = sizeof linger;
  bool lingers = getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &length) == 0 && linger.l_onoff && linger.l_linger > 0;
  if (lingers) {
    if (enqueue(fd)) return true;
    linger.l_onoff = 0;
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
  }
  close(fd);
  return false;
}

int closer_close_all(const int32_t *fds, int count) {
  const int *timer = own_timer();
  int lingering = 0;
  set_timer(timer, LONGEST_CLOSE);
  for (int i = 0; i < count; i++) lingering += close_one(fds[i]);
  set_timer(timer, 0);
  return lingering;
}

bool closer_close(int fd) { return closer_close_all(&fd, 1) > 0; }
