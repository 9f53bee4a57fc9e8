#include "unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83 /* include/uapi/asm-generic/socket.h of Linux 6.16 */
#endif

static void close_keeping_errno(int fd) {
  int error = errno;
  close(fd);
  errno = error;
}

/* An address that the kernel takes. `folder` is -1 or a descriptor that must stay open while the address is used. */
struct address {
  struct sockaddr_un socket;
  socklen_t length;
  int folder;
};

static void release(struct address *address) {
  if (address->folder != -1) close_keeping_errno(address->folder);
}

/* A path that does not fit sun_path: through its opened folder, which has a short name under /proc. */
static int resolve_long(const char *path, struct address *out) {
  const char *slash = strrchr(path, '/');
  char folder[PATH_MAX];
  size_t length = slash == NULL ? 0 : (size_t)(slash - path);
  if (slash == NULL || length >= sizeof folder) {
    errno = ENAMETOOLONG;
    return -1;
  }
  memcpy(folder, path, length);
  folder[length] = 0;
  out->folder = open(length == 0 ? "/" : folder, O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (out->folder == -1) return -1;
  int needed = snprintf(out->socket.sun_path, sizeof out->socket.sun_path, "/proc/self/fd/%d/%s", out->folder, slash + 1);
  if ((size_t)needed < sizeof out->socket.sun_path) return 0;
  errno = ENAMETOOLONG;
  release(out);
  return -1;
}

static int resolve(const char *address, struct address *out) {
  size_t length = strlen(address);
  *out = (struct address){.socket.sun_family = AF_UNIX, .folder = -1, .length = sizeof out->socket};
  if (length == 0) { /* would be an autobind */
    errno = EINVAL;
    return -1;
  }
  if (address[0] == '@') {
    if (length > sizeof out->socket.sun_path) {
      errno = ENAMETOOLONG;
      return -1;
    }
    memcpy(out->socket.sun_path + 1, address + 1, length - 1);
    out->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
    return 0;
  }
  if (length >= sizeof out->socket.sun_path) return resolve_long(address, out);
  memcpy(out->socket.sun_path, address, length);
  return 0;
}

/*
 * Owner and mode of a path that bind made. Through O_PATH, so that a link that somebody put in its place is not
 * followed. The mode was given to bind by way of the socket (unix_bind in the kernel), but umask has its say there.
 */
static int set_permissions(const struct address *address, const struct unix_listen_options *options) {
  int fd = open(address->socket.sun_path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
  if (fd == -1) return -1;
  struct stat status;
  int result = fstat(fd, &status);
  if (result == 0 && !S_ISSOCK(status.st_mode)) {
    errno = ENOTSOCK;
    result = -1;
  }
  if (result == 0 && (options->uid != (uid_t)-1 || options->gid != (gid_t)-1)) {
    result = fchownat(fd, "", options->uid, options->gid, AT_EMPTY_PATH);
  }
  if (result == 0 && options->mode >= 0 && (status.st_mode & 07777) != (mode_t)options->mode) {
    char path[sizeof "/proc/self/fd/" + 10];
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    result = chmod(path, (mode_t)options->mode);
  }
  close_keeping_errno(fd);
  return result;
}

static int bind_and_listen(int fd, const struct address *address, int type, const struct unix_listen_options *options,
                           const char **call) {
  bool abstract = address->socket.sun_path[0] == 0;
  *call = "fchmod";
  if (!abstract && options->mode >= 0 && fchmod(fd, (mode_t)options->mode) == -1) return -1;
  *call = "bind";
  if (bind(fd, (const struct sockaddr *)&address->socket, address->length) == -1) return -1;
  *call = "chown";
  if (abstract || set_permissions(address, options) == 0) {
    *call = "listen";
    if (type == SOCK_DGRAM || listen(fd, options->backlog) == 0) return 0;
  }
  int error = errno;
  if (!abstract) unlink(address->socket.sun_path);
  errno = error;
  return -1;
}

int unix_listen(const char *path, int type, const struct unix_listen_options *options, const char **call) {
  struct address address;
  *call = "bind";
  if (resolve(path, &address) == -1) return -1;
  *call = "socket";
  int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd != -1 && bind_and_listen(fd, &address, type, options, call) == -1) {
    close_keeping_errno(fd);
    fd = -1;
  }
  release(&address);
  return fd;
}

int unix_ask_credentials(int fd, bool on) {
  int value = on;
  return setsockopt(fd, SOL_SOCKET, SO_PASSCRED, &value, sizeof value);
}

static int prepare(int fd, bool credentials, bool refuse_descriptors) {
  int off = 0;
  if (credentials && unix_ask_credentials(fd, true) == -1) return -1;
  if (refuse_descriptors && setsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &off, sizeof off) == -1) {
    return errno == ENOPROTOOPT ? 0 : -1;
  }
  return 0;
}

int unix_connect(const char *path, int type, bool credentials, bool refuse_descriptors, const char **call) {
  struct address address;
  *call = "connect";
  if (resolve(path, &address) == -1) return -1;
  *call = "socket";
  int fd = socket(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd != -1) {
    *call = "setsockopt";
    int result = prepare(fd, credentials, refuse_descriptors);
    if (result == 0) {
      *call = "connect";
      result = connect(fd, (struct sockaddr *)&address.socket, address.length);
    }
    if (result == -1) {
      close_keeping_errno(fd);
      fd = -1;
    }
  }
  release(&address);
  return fd;
}

int unix_reconnect(int fd, const char *path) {
  struct address address;
  if (resolve(path, &address) == -1) return errno;
  int error = connect(fd, (struct sockaddr *)&address.socket, address.length) == 0 ? 0 : errno;
  release(&address);
  return error;
}

int unix_accept(int listener) {
  for (;;) {
    int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    if (fd != -1 || (errno != EINTR && errno != ECONNABORTED)) return fd;
  }
}

int unix_pair(int type, int out[2]) { return socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, out); }

int unix_peer_credentials(int fd, struct ucred *out) {
  socklen_t length = sizeof *out;
  return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, out, &length);
}

static int option(int fd, int name, int *out) {
  socklen_t length = sizeof *out;
  return getsockopt(fd, SOL_SOCKET, name, out, &length);
}

int unix_describe(int fd, struct unix_description *out) {
  int domain, listening;
  if (option(fd, SO_DOMAIN, &domain) == -1) return errno == ENOTSOCK ? 0 : -1;
  if (domain != AF_UNIX) return 0;
  if (option(fd, SO_TYPE, &out->type) == -1 || option(fd, SO_ACCEPTCONN, &listening) == -1) return -1;
  out->listening = listening != 0;
  struct sockaddr_un address = {0};
  socklen_t length = sizeof address;
  if (getsockname(fd, (struct sockaddr *)&address, &length) == -1) return -1;
  size_t start = offsetof(struct sockaddr_un, sun_path);
  size_t bytes = length > start ? length - start : 0;
  if (bytes > sizeof address.sun_path) bytes = sizeof address.sun_path;
  bool abstract = bytes > 0 && address.sun_path[0] == 0;
  if (!abstract) bytes = strnlen(address.sun_path, bytes);
  memcpy(out->path, address.sun_path, bytes);
  if (abstract) out->path[0] = '@';
  out->path[bytes] = 0;
  out->path_length = bytes;
  return 1;
}
