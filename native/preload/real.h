#ifndef SNI_HANDOFF_PRELOAD_REAL_H
#define SNI_HANDOFF_PRELOAD_REAL_H

#include <spawn.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

/* The functions of the C library (or of the next library preloaded) behind those that this one replaces. */
struct real {
  int (*bind)(int, const struct sockaddr *, socklen_t);
  int (*listen)(int, int);
  int (*accept)(int, struct sockaddr *, socklen_t *);
  int (*accept4)(int, struct sockaddr *, socklen_t *, int);
  int (*getsockname)(int, struct sockaddr *, socklen_t *);
  int (*getpeername)(int, struct sockaddr *, socklen_t *);
  int (*getsockopt)(int, int, int, void *, socklen_t *);
  int (*setsockopt)(int, int, int, const void *, socklen_t);
  int (*shutdown)(int, int);
  ssize_t (*recv)(int, void *, size_t, int);
  int (*close)(int);
  int (*epoll_ctl)(int, int, int, struct epoll_event *);
  int (*execve)(const char *, char *const[], char *const[]);
  int (*execvpe)(const char *, char *const[], char *const[]);
  int (*fexecve)(int, char *const[], char *const[]);
  int (*posix_spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                     char *const[], char *const[]);
  int (*posix_spawnp)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                      char *const[], char *const[]);
};

/* Another library's constructor may call before this one's has run: found when first asked for. */
const struct real *real(void);

#define EXPORTED __attribute__((visibility("default")))

#endif
