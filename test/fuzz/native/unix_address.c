/* Paths and abstract names that JavaScript gives, as they come to the kernel: native/unix_socket.c. */
#include "../../../native/unix_socket.h"

#include <errno.h>
#include <fcntl.h>

#include "input.h"

/*
 * What would change something is answered here (ld(1), --wrap): the address is checked instead. Folders are really
 * opened, which changes nothing.
 */
static const char *asked;

static int check_address(const struct sockaddr *address, socklen_t length) {
  const struct sockaddr_un *given = (const void *)address;
  size_t start = offsetof(struct sockaddr_un, sun_path);
  CHECK(length > start && length <= sizeof *given, "an address of %u bytes", length);
  CHECK(given->sun_family == AF_UNIX, "family %u", given->sun_family);
  size_t asked_length = strlen(asked);
  if (asked[0] == '@') {
    CHECK(given->sun_path[0] == 0 && length - start == asked_length, "an abstract name of another length");
    CHECK(memcmp(given->sun_path + 1, asked + 1, asked_length - 1) == 0, "another abstract name");
  } else {
    CHECK(memchr(given->sun_path, 0, length - start) != NULL, "a path without an end");
    CHECK(given->sun_path[0] != 0, "a path became an abstract name");
    if (asked_length < sizeof given->sun_path) {
      CHECK(strcmp(given->sun_path, asked) == 0, "another path");
    } else {
      const char *last = strrchr(asked, '/');
      CHECK(strncmp(given->sun_path, "/proc/self/fd/", 14) == 0, "not through the folder's descriptor");
      CHECK(strcmp(strrchr(given->sun_path, '/'), last) == 0, "another name in the folder");
    }
  }
  errno = ECONNREFUSED;
  return -1;
}

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length);
int __wrap_unlink(const char *path);

int __wrap_connect(int fd, const struct sockaddr *address, socklen_t length) {
  (void)fd;
  return check_address(address, length);
}

int __wrap_bind(int fd, const struct sockaddr *address, socklen_t length) {
  (void)fd;
  return check_address(address, length);
}

/* libFuzzer removes files, too. */
int __real_unlink(const char *path);

int __wrap_unlink(const char *path) {
  CHECK(asked == NULL, "%s would be removed", path);
  return __real_unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static const int types[] = {SOCK_SEQPACKET, SOCK_STREAM, SOCK_DGRAM};
  static int before;
  struct input input = {bytes, length};
  uint8_t which = take_byte(&input);
  char *path = take_text(&input, 4095);
  const char *call = NULL;
  struct unix_listen_options options = {.backlog = 1, .mode = which & 4 ? 0600 : -1, .uid = (uid_t)-1, .gid = (gid_t)-1};
  int type = types[(which >> 4) % 3];
  if (before == 0) before = open_descriptors();
  asked = path;
  int result = which & 1 ? unix_listen(path, type, &options, &call) : unix_connect(path, type, which & 2, which & 8, &call);
  asked = NULL;
  CHECK(result == -1 && call != NULL, "it succeeded");
  CHECK((which & 0x80) == 0 || open_descriptors() == before, "descriptors are left");
  free(path);
  return 0;
}
