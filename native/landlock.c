#include "landlock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The same on all architectures (alpha, which Node does not run on, aside). */
#ifndef SYS_landlock_create_ruleset
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_add_rule 445
#define SYS_landlock_restrict_self 446
#endif

/* include/uapi/linux/landlock.h. */
enum { CREATE_RULESET_VERSION = 1 << 0, RULE_PATH_BENEATH = 1 };

struct ruleset_attributes {
  uint64_t handled_access_fs;
  uint64_t handled_access_net; /* from ABI 4; the kernel accepts fields that it does not know if they are 0 */
  uint64_t scoped;             /* from ABI 6 */
};

struct path_beneath {
  uint64_t allowed_access;
  int32_t parent_fd;
} __attribute__((packed));

/* EXECUTE, WRITE_FILE, READ_FILE, TRUNCATE and IOCTL_DEV: a rule for what is no folder may have no others. */
#define ACCESS_OF_FILES (UINT64_C(0x7) | UINT64_C(1) << 14 | UINT64_C(1) << 15)

int landlock_abi(void) { return (int)syscall(SYS_landlock_create_ruleset, NULL, 0, CREATE_RULESET_VERSION); }

static int open_path(const char *path) { return open(path, O_PATH | O_CLOEXEC); }

static int add(int ruleset, int path, uint64_t access) {
  struct stat status;
  if (fstat(path, &status) == -1) return -1;
  struct path_beneath rule = {
      .allowed_access = S_ISDIR(status.st_mode) ? access : access & ACCESS_OF_FILES,
      .parent_fd = path,
  };
  /* ENOMSG is a rule that allows nothing. */
  if (rule.allowed_access == 0) return 0;
  return (int)syscall(SYS_landlock_add_rule, ruleset, RULE_PATH_BENEATH, &rule, 0);
}

static bool is_out_of_reach(int error) {
  return error == ENOENT || error == ENOTDIR || error == EACCES || error == EPERM || error == ELOOP;
}

int landlock_create(const struct landlock_plan *plan, const char **call, const char **subject) {
  struct ruleset_attributes attributes = {
      .handled_access_fs = plan->handled_files,
      .handled_access_net = plan->handled_network,
      .scoped = plan->scoped,
  };
  *call = "landlock_create_ruleset";
  *subject = NULL;
  int ruleset = (int)syscall(SYS_landlock_create_ruleset, &attributes, sizeof attributes, 0);
  if (ruleset == -1) return -1;
  for (size_t i = 0; i < plan->count; i++) {
    *subject = plan->rules[i].path;
    *call = "open";
    int path = open_path(*subject);
    if (path == -1 && is_out_of_reach(errno)) continue;
    int added = -1;
    if (path != -1) {
      *call = "landlock_add_rule";
      added = add(ruleset, path, plan->rules[i].access & plan->handled_files);
      int error = errno;
      close(path);
      errno = error;
    }
    if (added == 0) continue;
    int error = errno;
    close(ruleset);
    errno = error;
    return -1;
  }
  return ruleset;
}

int landlock_restrict(int ruleset) { return (int)syscall(SYS_landlock_restrict_self, ruleset, 0); }
