#include "listeners.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "lock.h"

enum { MOST_BOUND = 1024 };

static struct entry {
  bool is_used;
  ino_t inode;
  struct bound bound;
} entries[MOST_BOUND];
static atomic_uint used;

static struct environment environment;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void read_environment(void) {
  environment_parse(getenv("SNI_HANDOFF"), getenv("SNI_HANDOFF_MODE"), getenv("SNI_HANDOFF_GROUP"), &environment);
}

const struct environment *configuration(void) {
  pthread_once(&once, read_environment);
  return &environment;
}

/* Before the program may clear its environment. */
__attribute__((constructor)) static void at_start(void) { configuration(); }

static bool inode_of(int fd, ino_t *out) {
  struct stat status;
  int error = errno;
  bool found = fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
  errno = error;
  *out = found ? status.st_ino : 0;
  return found;
}

static struct entry *find(ino_t inode) {
  for (int i = 0; i < MOST_BOUND; i++)
    if (entries[i].is_used && entries[i].inode == inode) return &entries[i];
  return NULL;
}

int bound_add(int fd, const struct bound *bound) {
  ino_t inode;
  if (!inode_of(fd, &inode)) return ENOTSOCK;
  lock();
  /* Of a socket that was closed without listening, whose inode number came again. */
  struct entry *entry = find(inode);
  for (int i = 0; entry == NULL && i < MOST_BOUND; i++)
    if (!entries[i].is_used) entry = &entries[i];
  if (entry != NULL) {
    if (!entry->is_used) atomic_fetch_add(&used, 1);
    *entry = (struct entry){.is_used = true, .inode = inode, .bound = *bound};
  }
  unlock();
  return entry == NULL ? ENOBUFS : 0;
}

bool bound_find(int fd, struct bound *out) {
  ino_t inode;
  if (atomic_load_explicit(&used, memory_order_relaxed) == 0 || !inode_of(fd, &inode)) return false;
  lock();
  const struct entry *entry = find(inode);
  if (entry != NULL) *out = entry->bound;
  unlock();
  return entry != NULL;
}

void bound_remove(int fd) {
  ino_t inode;
  if (!inode_of(fd, &inode)) return;
  lock();
  struct entry *entry = find(inode);
  if (entry != NULL) {
    entry->is_used = false;
    atomic_fetch_sub(&used, 1);
  }
  unlock();
}
