#include "identity.h"

#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/un.h>

#include "real.h"

static const char received[] = "sni-handoff-received/";
static const char silent[] = "sni-handoff-silent/";

int identity_write(int fd, const struct identity *identity) {
  struct sockaddr_un name = {.sun_family = AF_UNIX};
  char text[ADDRESS_TEXT];
  uint64_t nonce;
  if (getrandom(&nonce, sizeof nonce, 0) != sizeof nonce) return errno;
  address_format(&identity->address, text);
  int length = snprintf(name.sun_path + 1, sizeof name.sun_path - 1, "%s%016llx/%s",
                        identity->is_silent ? silent : received, (unsigned long long)nonce, text);
  socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 + (size_t)length);
  return real()->bind(fd, (const struct sockaddr *)&name, size) == 0 ? 0 : errno;
}

static bool parse(const char *text, const char *prefix, struct identity *out) {
  size_t length = strlen(prefix);
  if (strncmp(text, prefix, length) != 0) return false;
  const char *slash = strchr(text + length, '/');
  out->is_silent = prefix == silent;
  return slash != NULL && address_parse(slash + 1, strlen(slash + 1), &out->address);
}

bool identity_read(int fd, struct identity *out) {
  struct sockaddr_un name;
  socklen_t length = sizeof name - 1;
  int error = errno;
  bool is_named = real()->getsockname(fd, (struct sockaddr *)&name, &length) == 0;
  errno = error;
  if (!is_named || name.sun_family != AF_UNIX || length <= offsetof(struct sockaddr_un, sun_path) + 1) return false;
  if (length > sizeof name - 1 || name.sun_path[0] != 0) return false;
  ((char *)&name)[length] = 0;
  return parse(name.sun_path + 1, received, out) || parse(name.sun_path + 1, silent, out);
}

int identity_search(bool (*wanted)(int fd, const struct identity *, const void *context), const void *context) {
  DIR *folder = opendir("/proc/self/fd");
  int found = -1;
  if (folder == NULL) return -1;
  for (struct dirent *entry; found == -1 && (entry = readdir(folder)) != NULL;) {
    struct identity identity;
    int fd = atoi(entry->d_name);
    if (entry->d_name[0] == '.' || fd == dirfd(folder)) continue;
    if (identity_read(fd, &identity) && wanted(fd, &identity, context)) found = fd;
  }
  closedir(folder);
  return found;
}
