#include "descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

int descriptor_duplicate(int fd) { return fcntl(fd, F_DUPFD_CLOEXEC, 3); }

int descriptor_set_non_blocking(int fd, bool on) {
  int flags = fcntl(fd, F_GETFL);
  if (flags == -1) return -1;
  int wanted = on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK;
  return wanted == flags ? 0 : fcntl(fd, F_SETFL, wanted);
}

int descriptor_lock_folder(const char *path, const char **call) {
  *call = "open";
  int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1) return -1;
  *call = "flock";
  while (flock(fd, LOCK_EX) == -1) {
    if (errno == EINTR) continue;
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

bool descriptor_is_open(int fd) { return fcntl(fd, F_GETFD) != -1; }
