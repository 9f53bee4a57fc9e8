#ifndef SNI_HANDOFF_LANDLOCK_H
#define SNI_HANDOFF_LANDLOCK_H

#include <stddef.h>
#include <stdint.h>

/*
 * landlock(7), by system call numbers and structures of our own: the headers of a distribution are often older than its
 * kernel. Functions return -1 and set errno.
 */

/* What a path and all below it may be used for: LANDLOCK_ACCESS_FS_*. */
struct landlock_rule {
  const char *path;
  uint64_t access;
};

struct landlock_plan {
  uint64_t handled_files;   /* LANDLOCK_ACCESS_FS_*: refused everywhere but where a rule allows it */
  uint64_t handled_network; /* LANDLOCK_ACCESS_NET_*: refused */
  uint64_t scoped;          /* LANDLOCK_SCOPE_* */
  const struct landlock_rule *rules;
  size_t count;
};

/* The kernel's ABI, from 1; -1: ENOSYS (not built in), EOPNOTSUPP (not enabled at boot), or refused by a filter. */
int landlock_abi(void);

/*
 * A ruleset's descriptor, which the caller closes. Paths that are not there, or that may not be reached now, get no rule.
 * `*call` names the call that failed, `*subject` the path (or NULL).
 */
int landlock_create(const struct landlock_plan *plan, const char **call, const char **subject);

/* Restricts the calling thread, which must have no_new_privs or CAP_SYS_ADMIN. */
int landlock_restrict(int ruleset);

#endif
