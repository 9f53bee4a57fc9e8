#include "claim.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "real.h"
#include "say.h"

/* An owner that is ending lets go within milliseconds. */
enum { LOCK_MILLISECONDS = 2000, LEAVING_MILLISECONDS = 500, PAUSE_MILLISECONDS = 10 };

enum probe { PROBE_ABSENT, PROBE_STALE, PROBE_ALIVE, PROBE_FAILED };

static void pause_shortly(void) {
  struct timespec time = {.tv_nsec = PAUSE_MILLISECONDS * 1000000L};
  nanosleep(&time, NULL);
}

static void fill(struct sockaddr_un *out, const char *path) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  memcpy(out->sun_path, path, strlen(path) + 1);
}

int claim_connect(const char *path) {
  struct sockaddr_un address;
  fill(&address, path);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd != -1 && connect(fd, (struct sockaddr *)&address, sizeof address) == -1) {
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

/* What is at the path; of a living owner its process, 0 if that cannot be told; of a failure errno. */
static enum probe probe(const char *path, pid_t *owner) {
  *owner = 0;
  int fd = claim_connect(path);
  if (fd == -1) {
    switch (errno) {
      case ENOENT:
        return PROBE_ABSENT;
      case ECONNREFUSED: { /* also of a file that is no socket */
        struct stat status;
        if (lstat(path, &status) == 0 && S_ISSOCK(status.st_mode)) return PROBE_STALE;
        errno = EEXIST;
        return PROBE_FAILED;
      }
      case EAGAIN: /* a full backlog, a socket of another type: somebody lives there */
      case EPROTOTYPE:
        return PROBE_ALIVE;
      default:
        return PROBE_FAILED;
    }
  }
  struct ucred credentials;
  socklen_t length = sizeof credentials;
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) *owner = credentials.pid;
  close(fd);
  return PROBE_ALIVE;
}

static int fail(const char *path, int error) {
  const char *advice = error == ENOENT    ? "; create its folder"
                       : error == EACCES  ? "; let this program's user write to its folder, or choose another path"
                       : error == EPERM   ? "; let this program's user write to its folder, or choose another path"
                       : error == EEXIST  ? ": something that is no socket is there; remove it or choose another path"
                       : error == EROFS   ? "; choose a path on a file system that can be written to"
                       : error == ENOTDIR ? "; a part of the path is no folder"
                       : error == EAGAIN  ? ": another process has kept its folder locked (flock) for 2 s; end that one"
                                          : "";
  say("cannot listen on %s: %s%s", path, error == EEXIST ? "in the way" : strerror(error), advice);
  return error;
}

static int in_use(const char *path, pid_t owner) {
  if (owner > 0)
    say("cannot listen on %s: it is in use by process %d; stop its server or choose another path", path, (int)owner);
  else
    say("cannot listen on %s: it is in use by a living process; stop it or choose another path", path);
  return EADDRINUSE;
}

/* The folder of a path, opened; -1 with errno. */
static int open_folder(const char *path) {
  char folder[PATH_MAX];
  size_t length = (size_t)(strrchr(path, '/') - path);
  memcpy(folder, path, length);
  folder[length] = 0;
  return open(length == 0 ? "/" : folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static int lock_folder(const char *path) {
  int fd = open_folder(path);
  if (fd == -1) return -1;
  for (int waited = 0; flock(fd, LOCK_EX | LOCK_NB) == -1; waited += PAUSE_MILLISECONDS) {
    if ((errno == EWOULDBLOCK && waited < LOCK_MILLISECONDS) || errno == EINTR) {
      pause_shortly();
      continue;
    }
    int error = errno;
    close(fd);
    errno = error;
    return -1;
  }
  return fd;
}

static int group_of(const struct environment *environment, gid_t *out) {
  char *end;
  *out = (gid_t)-1;
  if (environment->group[0] == 0) return 0;
  unsigned long number = strtoul(environment->group, &end, 10);
  const struct group *found = *end == 0 ? NULL : getgrnam(environment->group);
  if (*end != 0 && found == NULL) {
    say("SNI_HANDOFF_GROUP=%s: there is no such group; create it or choose another", environment->group);
    return EINVAL;
  }
  *out = *end == 0 ? (gid_t)number : found->gr_gid;
  return 0;
}

static int cannot_give(const char *path, const struct environment *environment) {
  say("cannot give %s to group %s: this program must be in that group, or root with CAP_CHOWN", path, environment->group);
  return EPERM;
}

/* chown(2): a group of the process's, or any with CAP_CHOWN. */
static bool may_give(gid_t group) {
  gid_t groups[NGROUPS_MAX];
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct capabilities[_LINUX_CAPABILITY_U32S_3];
  if (group == (gid_t)-1 || group == getegid()) return true;
  for (int i = 0, count = getgroups(NGROUPS_MAX, groups); i < count; i++)
    if (groups[i] == group) return true;
  return syscall(SYS_capget, &header, capabilities) == -1 || (capabilities[0].effective & 1U << CAP_CHOWN) != 0;
}

/* Binds with the mode and group wanted. Returns 0 or the errno; negative if it was said why. */
static int bind_path(int fd, const char *path, const struct environment *environment, gid_t group) {
  struct sockaddr_un address;
  fill(&address, path);
  /* Given to the path by way of the socket, so that it never has another; umask(2) has its say, hence chmod. */
  fchmod(fd, environment->mode);
  if (real()->bind(fd, (struct sockaddr *)&address, sizeof address) == -1) return errno;
  int error = group == (gid_t)-1 || lchown(path, (uid_t)-1, group) == 0 ? 0 : errno;
  if (error == EPERM) cannot_give(path, environment);
  if (error == 0 && chmod(path, environment->mode) == -1) error = errno;
  if (error != 0) unlink(path);
  return error == EPERM ? -EPERM : error;
}

static int claim_locked(int fd, const char *path, const struct environment *environment, gid_t group,
                        bool is_revival) {
  for (int waited = 0;;) {
    int error = bind_path(fd, path, environment, group);
    if (error == 0) return 0;
    if (error < 0) return -error;
    if (error != EADDRINUSE) return fail(path, error);
    pid_t owner;
    switch (probe(path, &owner)) {
      case PROBE_ALIVE:
        if (is_revival) return EADDRINUSE;
        if (waited >= LEAVING_MILLISECONDS) return in_use(path, owner);
        pause_shortly();
        waited += PAUSE_MILLISECONDS;
        break;
      case PROBE_STALE:
        if (unlink(path) == -1 && errno != ENOENT) return fail(path, errno);
        break;
      case PROBE_FAILED:
        return fail(path, errno);
      case PROBE_ABSENT:
        break;
    }
  }
}

/* The path of the socket: in a folder "PID.sock", or "PID-2.sock" and so on for a process with several. */
static bool socket_path(const struct target *target, int attempt, char *out) {
  size_t length = strlen(target->path);
  int size = target->path[length - 1] != '/'
                 ? snprintf(out, MOST_SOCKET_PATH, "%.*s", MOST_SOCKET_PATH, target->path)
             : attempt == 1 ? snprintf(out, MOST_SOCKET_PATH, "%.*s%d.sock", MOST_SOCKET_PATH, target->path, getpid())
                            : snprintf(out, MOST_SOCKET_PATH, "%.*s%d-%d.sock", MOST_SOCKET_PATH, target->path, getpid(),
                                       attempt);
  if (size < MOST_SOCKET_PATH) return true;
  say("cannot listen on %s: a socket's path has at most %d bytes; choose a shorter one", target->path,
      MOST_SOCKET_PATH - 1);
  return false;
}

/* "PID.sock", "PID-2.sock": only what this library makes in a folder is removed there. */
static bool is_own_name(const char *name) {
  static const char digits[] = "0123456789";
  size_t length = strspn(name, digits), more = name[length] == '-' ? strspn(name + length + 1, digits) : 0;
  if (more > 0) length += 1 + more;
  return length > 0 && strcmp(name + length, ".sock") == 0;
}

/* Those of servers that were killed with their helpers: a door would try each of them every second. */
static void remove_stale(const char *folder) {
  DIR *entries = opendir(folder);
  if (entries == NULL) return;
  for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
    char path[MOST_SOCKET_PATH];
    pid_t owner;
    if (!is_own_name(entry->d_name)) continue;
    if (snprintf(path, sizeof path, "%s%s", folder, entry->d_name) >= (int)sizeof path) continue;
    if (probe(path, &owner) == PROBE_STALE) unlink(path);
  }
  closedir(entries);
}

int claim_path(const struct target *target, const struct environment *environment, bool is_revival,
               struct claim *out) {
  pid_t owner;
  gid_t group;
  bool is_folder = target->path[strlen(target->path) - 1] == '/';
  int attempt = 1;
  do
    if (!socket_path(target, attempt, out->path)) return ENAMETOOLONG;
  while (is_folder && probe(out->path, &owner) == PROBE_ALIVE && attempt++ < MOST_TARGETS);
  int error = group_of(environment, &group);
  if (error != 0) return error;
  out->lock = lock_folder(out->path);
  if (out->lock == -1) return fail(out->path, errno);
  if (is_folder) remove_stale(target->path);
  out->descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (out->descriptor == -1)
    error = errno;
  else
    error = claim_locked(out->descriptor, out->path, environment, group, is_revival);
  if (error != 0) claim_close(out);
  return error;
}

void claim_close(const struct claim *claim) {
  if (claim->descriptor != -1) close(claim->descriptor);
  close(claim->lock);
}

int claim_probe(const struct target *target, const struct environment *environment, bool is_shared) {
  char path[MOST_SOCKET_PATH];
  pid_t owner;
  gid_t group;
  if (!socket_path(target, 1, path)) return ENAMETOOLONG;
  int unknown = group_of(environment, &group);
  if (unknown != 0) return unknown;
  if (!may_give(group)) return cannot_give(path, environment);
  int folder = open_folder(path);
  if (folder == -1) return fail(path, errno);
  int error = faccessat(folder, ".", W_OK | X_OK, AT_EACCESS) == 0 ? 0 : errno;
  close(folder);
  if (error != 0) return fail(path, error);
  if (is_shared || target->path[strlen(target->path) - 1] == '/') return 0;
  for (int waited = 0; probe(path, &owner) == PROBE_ALIVE; waited += PAUSE_MILLISECONDS) {
    if (waited >= LEAVING_MILLISECONDS) return in_use(path, owner);
    pause_shortly();
  }
  return 0;
}
