#include "replace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum { MOST_REGISTRATIONS = 64 };

struct registration {
  int epoll;
  struct epoll_event event;
};

/* proc(5): /proc/PID/fdinfo/FD of an epoll set has a line "tfd: … events: … data: …" for each file watched. */
static int find_registrations(int fd, struct registration *out) {
  DIR *folder = opendir("/proc/self/fdinfo");
  int count = 0;
  if (folder == NULL) return 0;
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    char path[64], line[256];
    int epoll = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || epoll == dirfd(folder)) continue;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", epoll);
    FILE *file = fopen(path, "re");
    if (file == NULL) continue;
    while (count < MOST_REGISTRATIONS && fgets(line, sizeof line, file) != NULL) {
      int watched;
      uint32_t events;
      uint64_t data;
      if (sscanf(line, "tfd: %d events: %" SCNx32 " data: %" SCNx64, &watched, &events, &data) == 3 && watched == fd)
        out[count++] = (struct registration){epoll, {.events = events, .data.u64 = data}};
    }
    fclose(file);
  }
  closedir(folder);
  return count;
}

int replace_descriptor(int fd, int replacement) {
  struct registration registrations[MOST_REGISTRATIONS];
  int status = fcntl(fd, F_GETFL), flags = fcntl(fd, F_GETFD);
  int count = find_registrations(fd, registrations);
  for (int i = 0; i < count; i++) epoll_ctl(registrations[i].epoll, EPOLL_CTL_DEL, fd, NULL);
  int error = 0;
  if (status == -1 || fcntl(replacement, F_SETFL, status & ~O_ACCMODE & (O_NONBLOCK | O_ASYNC)) == -1 ||
      dup3(replacement, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) == -1)
    error = errno;
  close(replacement);
  for (int i = 0; i < count; i++) epoll_ctl(registrations[i].epoll, EPOLL_CTL_ADD, fd, &registrations[i].event);
  return error;
}
