#include "epolled.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "real.h"

/* Descriptors are small and dense: pages of entries, made when one of them is needed. No locks: close(2) may be called
 * in a signal handler, or between fork and exec. A descriptor belongs to one thread at a time. */
enum { PAGE = 256, PAGES = 4096, SETS = 2 };

struct entry {
  /* Who received it; 0: nobody. A child that shares the sets closes its copy only. */
  _Atomic pid_t pid;
  /* Epoll sets that it is in, one more than their descriptor; 0: none. More are not followed. */
  atomic_int sets[SETS];
};

static _Atomic(struct entry *) pages[PAGES];

static struct entry *find(int fd) {
  struct entry *page = fd < 0 || fd / PAGE >= PAGES ? NULL : atomic_load_explicit(&pages[fd / PAGE], memory_order_acquire);
  struct entry *entry = page == NULL ? NULL : &page[fd % PAGE];
  return entry == NULL || atomic_load_explicit(&entry->pid, memory_order_relaxed) == 0 ? NULL : entry;
}

void epolled_begin(int fd) {
  if (fd < 0 || fd / PAGE >= PAGES) return;
  struct entry *page = atomic_load_explicit(&pages[fd / PAGE], memory_order_acquire);
  if (page == NULL) {
    struct entry *made = calloc(PAGE, sizeof *made);
    if (made == NULL) return;
    if (atomic_compare_exchange_strong(&pages[fd / PAGE], &page, made))
      page = made;
    else
      free(made); /* another thread was first */
  }
  struct entry *entry = &page[fd % PAGE];
  for (int i = 0; i < SETS; i++) atomic_store_explicit(&entry->sets[i], 0, memory_order_relaxed);
  atomic_store_explicit(&entry->pid, getpid(), memory_order_relaxed);
}

static void replace_set(struct entry *entry, int from, int to) {
  for (int i = 0; i < SETS; i++)
    if (atomic_compare_exchange_strong(&entry->sets[i], &(int){from}, to)) return;
}

EXPORTED int epoll_ctl(int set, int operation, int fd, struct epoll_event *event) {
  int result = real()->epoll_ctl(set, operation, fd, event);
  struct entry *entry = result == -1 || operation == EPOLL_CTL_MOD ? NULL : find(fd);
  if (entry == NULL) return result;
  if (operation == EPOLL_CTL_ADD)
    replace_set(entry, 0, set + 1);
  else
    replace_set(entry, set + 1, 0);
  return result;
}

static void leave_sets(struct entry *entry, int fd) {
  int error = errno;
  if (atomic_load_explicit(&entry->pid, memory_order_relaxed) != getpid()) return;
  for (int i = 0; i < SETS; i++) {
    int set = atomic_exchange_explicit(&entry->sets[i], 0, memory_order_relaxed);
    if (set != 0) real()->epoll_ctl(set - 1, EPOLL_CTL_DEL, fd, &(struct epoll_event){0});
  }
  atomic_store_explicit(&entry->pid, 0, memory_order_relaxed);
  errno = error;
}

EXPORTED int close(int fd) {
  struct entry *entry = find(fd);
  if (entry != NULL) leave_sets(entry, fd);
  return real()->close(fd);
}
