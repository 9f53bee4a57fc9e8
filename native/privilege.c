#include "privilege.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC (1U << 2) /* include/uapi/linux/close_range.h of Linux 5.11 */
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif

#define CAPABILITY(number) (UINT64_C(1) << (number))

static bool fail(struct privilege_failure *failure, const char *call, const char *subject) {
  *failure = (struct privilege_failure){.call = call, .error = errno, .subject = subject};
  return false;
}

/* --- a thread of its own ------------------------------------------------------------------------------------------ */

struct errand {
  bool (*run)(void *argument, struct privilege_failure *failure);
  void *argument;
  struct privilege_failure *failure;
  bool done;
};

static void *run_errand(void *data) {
  struct errand *errand = data;
  errand->done = errand->run(errand->argument, errand->failure);
  return NULL;
}

static bool on_own_thread(bool (*run)(void *, struct privilege_failure *), void *argument,
                          struct privilege_failure *failure) {
  struct errand errand = {.run = run, .argument = argument, .failure = failure};
  /* A change of user by any thread clears it for the process (prctl(2)). */
  int dumpable = prctl(PR_GET_DUMPABLE);
  pthread_t thread;
  errno = pthread_create(&thread, NULL, run_errand, &errand);
  if (errno != 0) return fail(failure, "pthread_create", NULL);
  pthread_join(thread, NULL);
  if (dumpable == 1) prctl(PR_SET_DUMPABLE, 1);
  return errand.done;
}

/* --- user and groups ---------------------------------------------------------------------------------------------- */

/* Numbers of the calls with 32-bit ids. */
#ifdef SYS_setresuid32
enum { SETGROUPS = SYS_setgroups32, SETRESGID = SYS_setresgid32, SETRESUID = SYS_setresuid32 };
#else
enum { SETGROUPS = SYS_setgroups, SETRESGID = SYS_setresgid, SETRESUID = SYS_setresuid };
#endif

/* Not the C library's functions: those change all threads. */
static bool assume(const struct privilege_identity *identity, struct privilege_failure *failure) {
  if (syscall(SETGROUPS, identity->group_count, identity->groups) == -1) return fail(failure, "setgroups", NULL);
  if (syscall(SETRESGID, identity->gid, identity->gid, identity->gid) == -1) return fail(failure, "setresgid", NULL);
  if (syscall(SETRESUID, identity->uid, identity->uid, identity->uid) == -1) return fail(failure, "setresuid", NULL);
  return true;
}

bool privilege_find_account(const char *user, uid_t *uid, gid_t *gid) {
  struct passwd *account = getpwnam(user);
  if (account == NULL) return false;
  *uid = account->pw_uid;
  *gid = account->pw_gid;
  return true;
}

int privilege_groups(const char *user, uid_t uid, gid_t gid, gid_t *groups, int *count) {
  struct passwd *account = getpwnam(user);
  if (account == NULL) account = getpwuid(uid);
  if (account != NULL) return getgrouplist(account->pw_name, gid, groups, count) == -1 ? -1 : 0;
  *count = 1;
  groups[0] = gid;
  return 0;
}

/* --- capabilities ------------------------------------------------------------------------------------------------- */

struct capability_sets {
  uint64_t effective, permitted, inheritable;
};

static bool get_capabilities(struct capability_sets *sets, struct privilege_failure *failure) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3];
  if (syscall(SYS_capget, &header, data) == -1) return fail(failure, "capget", NULL);
  sets->effective = data[0].effective | (uint64_t)data[1].effective << 32;
  sets->permitted = data[0].permitted | (uint64_t)data[1].permitted << 32;
  sets->inheritable = data[0].inheritable | (uint64_t)data[1].inheritable << 32;
  return true;
}

static bool set_capabilities(uint64_t all, struct privilege_failure *failure) {
  struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
  struct __user_cap_data_struct low = {(uint32_t)all, (uint32_t)all, (uint32_t)all};
  struct __user_cap_data_struct high = {(uint32_t)(all >> 32), (uint32_t)(all >> 32), (uint32_t)(all >> 32)};
  struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {low, high};
  return syscall(SYS_capset, &header, data) == -1 ? fail(failure, "capset", NULL) : true;
}

/* capabilities(7): what is not in the bounding set is not gained by any execve, not even as root. */
static bool bound(uint64_t kept, struct privilege_failure *failure) {
  for (int i = 0; i < 64 && prctl(PR_CAPBSET_READ, i) != -1; i++) {
    if ((kept & CAPABILITY(i)) == 0 && prctl(PR_CAPBSET_DROP, i) == -1) return fail(failure, "prctl", "PR_CAPBSET_DROP");
  }
  return true;
}

/* Permitted, effective, inheritable and ambient, so that they outlast execve. */
static bool keep_only(uint64_t kept, struct privilege_failure *failure) {
  if (!set_capabilities(kept, failure)) return false;
  if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) == -1) return fail(failure, "prctl", "PR_CAP_AMBIENT");
  for (int i = 0; i < 64; i++) {
    if ((kept & CAPABILITY(i)) == 0) continue;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, i, 0, 0) == -1) return fail(failure, "prctl", "PR_CAP_AMBIENT");
  }
  return true;
}

static bool change_credentials(const struct privilege_execution *execution, struct privilege_failure *failure) {
  struct capability_sets had;
  if (!get_capabilities(&had, failure)) return false;
  uint64_t kept = execution->capabilities & had.permitted;
  if ((had.effective & CAPABILITY(CAP_SETPCAP)) != 0 && !bound(kept, failure)) return false;
  if (execution->identity != NULL) {
    if (prctl(PR_SET_KEEPCAPS, 1) == -1) return fail(failure, "prctl", "PR_SET_KEEPCAPS");
    if (!assume(execution->identity, failure)) return false;
  }
  if (!keep_only(kept, failure)) return false;
  if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) return fail(failure, "prctl", "PR_SET_NO_NEW_PRIVS");
  return true;
}

/* --- descriptors -------------------------------------------------------------------------------------------------- */

/* close_range(2) from Linux 5.11; before, one after the other. */
static bool close_all_on_exec(struct privilege_failure *failure) {
  if (syscall(SYS_close_range, 3, ~0U, CLOSE_RANGE_CLOEXEC) == 0) return true;
  if (errno != ENOSYS && errno != EINVAL && errno != EPERM) return fail(failure, "close_range", NULL);
  DIR *folder = opendir("/proc/thread-self/fd");
  if (folder == NULL) return fail(failure, "open", "/proc/thread-self/fd");
  for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
    int fd = atoi(entry->d_name);
    if (fd > 2) fcntl(fd, F_SETFD, FD_CLOEXEC);
  }
  closedir(folder);
  return true;
}

static bool keep_descriptors(const int *keep, size_t count, struct privilege_failure *failure) {
  if (!close_all_on_exec(failure)) return false;
  /* Node has set FD_CLOEXEC on these too. One that is closed stays so. */
  for (int fd = 0; fd <= 2; fd++) fcntl(fd, F_SETFD, 0);
  for (size_t i = 0; i < count; i++) {
    if (fcntl(keep[i], F_SETFD, 0) == -1) return fail(failure, "fcntl", "F_SETFD");
  }
  return true;
}

/* --- terminal ----------------------------------------------------------------------------------------------------- */

/*
 * Whoever has a terminal as its controlling one can type on it (TIOCSTI, ioctl_tty(2)): commands for root's shell, which has
 * started this process. So it gives it up, for all its threads. Output and Ctrl-C stay: signals go by the process group.
 */
static void leave_terminal(void) {
  if (getsid(0) == getpid()) return; /* would be hung up; and there is no shell behind it */
  int terminal = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (terminal == -1) return;
  ioctl(terminal, TIOCNOTTY);
  close(terminal);
}

/* --- what the thread does ----------------------------------------------------------------------------------------- */

static bool become(const struct privilege_execution *execution, struct privilege_failure *failure) {
  if (!keep_descriptors(execution->keep, execution->keep_count, failure)) return false;
  int ruleset = -1;
  if (execution->landlock != NULL) {
    /* While it may still open every path. */
    const char *call, *subject;
    ruleset = landlock_create(execution->landlock, &call, &subject);
    if (ruleset == -1) return fail(failure, call, subject);
  }
  leave_terminal();
  if (change_credentials(execution, failure)) {
    if (ruleset != -1 && landlock_restrict(ruleset) == -1) {
      fail(failure, "landlock_restrict_self", NULL);
    } else {
      execve(execution->file, execution->arguments, execution->environment);
      fail(failure, "execve", execution->file);
    }
  }
  if (ruleset != -1) close(ruleset);
  return false;
}

static bool execute(void *argument, struct privilege_failure *failure) {
  const struct privilege_execution *execution = argument;
  /* A table of descriptors of its own, so that their flags stay as they were for the others if this fails. */
  bool own_table = unshare(CLONE_FILES) == 0; /* containers' filters may refuse it */
  /* The mask outlasts execve. Node unblocks it where it takes SIGUSR1, which before would end the process. */
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGUSR1);
  pthread_sigmask(SIG_BLOCK, &blocked, NULL);
  bool became = become(execution, failure);
  if (!own_table) {
    for (int fd = 0; fd <= 2; fd++) fcntl(fd, F_SETFD, FD_CLOEXEC);
    for (size_t i = 0; i < execution->keep_count; i++) fcntl(execution->keep[i], F_SETFD, FD_CLOEXEC);
  }
  return became;
}

void privilege_execute(const struct privilege_execution *execution, struct privilege_failure *failure) {
  on_own_thread(execute, (void *)execution, failure);
}

struct reading {
  const struct privilege_identity *identity;
  char *const *paths;
  size_t count;
  int *errors;
};

static bool try_reading(void *argument, struct privilege_failure *failure) {
  const struct reading *reading = argument;
  if (reading->identity != NULL && !assume(reading->identity, failure)) return false;
  for (size_t i = 0; i < reading->count; i++) {
    int fd = open(reading->paths[i], O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    reading->errors[i] = fd == -1 ? errno : 0;
    if (fd != -1) close(fd);
  }
  return true;
}

int privilege_try_reading(const struct privilege_identity *identity, char *const *paths, size_t count, int *errors,
                          struct privilege_failure *failure) {
  struct reading reading = {.identity = identity, .paths = paths, .count = count, .errors = errors};
  return on_own_thread(try_reading, &reading, failure) ? 0 : -1;
}
