#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

int descriptor_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }

int descriptor_duplicate_onto(int from, int to) { return from == to ? 0 : dup2(from, to); }

int descriptor_set_non_blocking(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags == -1) return -1;
  int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return wanted == flags ? 0 : fcntl(fd, F_SETFL, wanted);
}

enum { LOCK_TRIES = 200 };
static const struct timespec lock_pause = {.tv_nsec = 10 * 1000 * 1000};

int descriptor_lock_folder(const char *path, const char **call) {
  *call = "open";
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1) return -1;
  *call = "flock";
  /* Whoever may open the folder can hold the lock: a start must not wait for that for ever. */
  for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) == -1; tries++) {
    int error = errno;
    if (error == EINTR) continue;
    if (error == EWOULDBLOCK && tries < LOCK_TRIES) {
      nanosleep(&lock_pause, NULL);
      continue;
    }
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

bool descriptor_is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }
