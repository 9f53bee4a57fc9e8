#ifndef SNI_HANDOFF_PRIVILEGE_H
#define SNI_HANDOFF_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "landlock.h"

/*
 * Giving up privileges. Linux keeps user, groups, capabilities, no_new_privs and Landlock for each thread
 * (credentials(7)); only execve(2) leaves a process with one thread, whose they are. So all of it is done by a thread
 * made for it, and what fails has changed nothing: that thread ends, and the others are as they were.
 */

struct privilege_identity {
  uid_t uid;
  gid_t gid;
  const gid_t *groups;
  size_t group_count;
};

struct privilege_failure {
  const char *call;
  int error;
  const char *subject; /* or NULL; of the arguments' life */
};

struct privilege_execution {
  const struct privilege_identity *identity; /* NULL: as it is */
  uint64_t capabilities;                     /* bits that are kept, of those there are */
  const struct landlock_plan *landlock;      /* NULL: none */
  const int *keep;                           /* descriptors that the program gets, beside 0, 1 and 2 */
  size_t keep_count;
  const char *file;
  char *const *arguments, *const *environment; /* ended by NULL */
};

/* Executes the program in place of the whole process. Returns only if that failed, with all as before. */
void privilege_execute(const struct privilege_execution *execution, struct privilege_failure *failure);

/*
 * Whether somebody could open paths for reading: `errors[i]` is 0 or the errno. -1 (and `failure`) if this process can't
 * try it in their place.
 */
int privilege_try_reading(const struct privilege_identity *identity, char *const *paths, size_t count, int *errors,
                          struct privilege_failure *failure);

/* An account of this system by name, getpwnam(3): false if there is none, or it cannot be told now. */
bool privilege_find_account(const char *user, uid_t *uid, gid_t *gid);

/*
 * The groups of a user, getgrouplist(3), `gid` among them: of the account `user`, else of the one with this `uid`; `gid`
 * alone if there is none. `groups` has room for `*count`; returns -1 with the number needed in `*count`.
 */
int privilege_groups(const char *user, uid_t uid, gid_t gid, gid_t *groups, int *count);

#endif
