#include "closer.h"

#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

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

bool closer_close(int fd) {
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
