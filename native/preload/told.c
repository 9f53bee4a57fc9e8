#include "told.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "lock.h"
#include "real.h"

#ifndef SO_COOKIE
#define SO_COOKIE 57 /* asm-generic/socket.h of Linux 4.12 */
#endif

/* Descriptors are small and dense: pages of entries, made when one of them is needed. */
enum { PAGE = 256, PAGES = 4096 };

struct entry {
  uint64_t cookie; /* of the socket, so that the next one of the same number is told apart; 0: none */
  union address sides[2];
};

static struct entry *pages[PAGES];
static atomic_bool is_used;

static uint64_t cookie_of(int fd) {
  uint64_t cookie = 0;
  socklen_t length = sizeof cookie;
  return real()->getsockopt(fd, SOL_SOCKET, SO_COOKIE, &cookie, &length) == 0 ? cookie : 0;
}

void told_remember(int fd, const union address *client, const union address *server) {
  if (fd < 0 || fd / PAGE >= PAGES) return;
  uint64_t cookie = cookie_of(fd);
  lock();
  struct entry **page = &pages[fd / PAGE];
  if (*page == NULL) *page = calloc(PAGE, sizeof **page);
  if (*page != NULL) {
    (*page)[fd % PAGE] = (struct entry){cookie, {*client, *server}};
    atomic_store(&is_used, true);
  }
  unlock();
}

bool told_recall(int fd, enum told_side side, union address *out) {
  if (!atomic_load_explicit(&is_used, memory_order_relaxed) || fd < 0 || fd / PAGE >= PAGES) return false;
  struct entry entry = {0};
  lock();
  if (pages[fd / PAGE] != NULL) entry = pages[fd / PAGE][fd % PAGE];
  unlock();
  int error = errno;
  bool found = entry.cookie != 0 && entry.cookie == cookie_of(fd);
  errno = error;
  if (found) *out = entry.sides[side];
  return found;
}
