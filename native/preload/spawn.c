#include "spawn.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "real.h"
#include "say.h"

static const char helper_name[] = "sni-handoff-helper";

const char *spawn_library_path(void) {
  static char path[PATH_MAX];
  Dl_info info;
  if (path[0] != 0) return path;
  if (dladdr((void *)(size_t)spawn_library_path, &info) == 0 || realpath(info.dli_fname, path) == NULL) return NULL;
  return path;
}

static int helper_path(char *out) {
  const char *library = spawn_library_path();
  if (library == NULL) return ENOENT;
  size_t folder = (size_t)(strrchr(library, '/') + 1 - library);
  if (folder + sizeof helper_name > PATH_MAX) return ENAMETOOLONG;
  memcpy(out, library, folder);
  memcpy(out + folder, helper_name, sizeof helper_name);
  return 0;
}

/* In a child: says why it ends. */
static _Noreturn void end_with(int report, int error) {
  if (write(report, &error, sizeof error) == -1) _exit(126);
  _exit(127);
}

/*
 * The helper's part, where only async-signal-safe calls may be made (fork(2), of a process with threads). Descriptors of
 * the helper: 3 the path, 4 the pair's end, 5 where it says that it listens, or the errno why not.
 */
static _Noreturn void become_helper(const char *program, int path_descriptor, int pair_end, int report, const char *path,
                          const char *family) {
  const char *const arguments[] = {program, path, family, NULL};
  const char *const environment[] = {NULL};
  /* Out of the way of 3, 4 and 5 first. */
  int fds[] = {path_descriptor, pair_end, report};
  for (int i = 0; i < 3; i++) fds[i] = fcntl(fds[i], F_DUPFD, 16);
  for (int i = 0; i < 3; i++)
    if (fds[i] == -1 || dup2(fds[i], 3 + i) == -1) end_with(report, errno);
  real()->execve(program, (char *const *)arguments, (char *const *)environment);
  end_with(fds[2], errno);
}

/*
 * A fork whose end sends no SIGCHLD and that wait(2) without __WALL does not see (clone(2)). Only without exec: that sets
 * the signal to SIGCHLD again (de_thread in Linux's fs/exec.c). So the helper is a child of this one's, which ends.
 */
static pid_t fork_unseen(void) { return (pid_t)syscall(SYS_clone, 0, NULL, NULL, NULL, NULL); }

int spawn_helper(int path_descriptor, int pair_end, const char *path, sa_family_t family) {
  char program[PATH_MAX], number[8];
  int report[2];
  snprintf(number, sizeof number, "%d", family);
  int error = helper_path(program);
  if (error != 0) {
    say("cannot find the folder of this library: %s", strerror(error));
    return error;
  }
  real(); /* before the fork, after which dlsym may not be called */
  if (pipe2(report, O_CLOEXEC) == -1) return errno;
  /* The helper keeps them blocked: it ends when the last listener is closed, not when its service manager says so. */
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  pid_t pid = fork_unseen();
  if (pid == 0) {
    pid_t helper = fork_unseen();
    if (helper == 0) become_helper(program, path_descriptor, pair_end, report[1], path, number);
    if (helper == -1) end_with(report[1], errno);
    _exit(0);
  }
  error = pid == -1 ? errno : 0;
  pthread_sigmask(SIG_SETMASK, &before, NULL);
  close(report[1]);
  if (pid != -1) {
    int answer = EPIPE;
    ssize_t length;
    do length = read(report[0], &answer, sizeof answer);
    while (length == -1 && errno == EINTR);
    error = length == sizeof answer ? answer : EPIPE;
    while (waitpid(pid, NULL, __WALL) == -1 && errno == EINTR) continue;
  }
  close(report[0]);
  if (error != 0) say("cannot start %s: %s; reinstall sni-handoff", program, strerror(error));
  return error;
}
