#ifndef SNI_HANDOFF_DESCRIPTOR_H
#define SNI_HANDOFF_DESCRIPTOR_H

#include <stdbool.h>

/* What can be done with descriptors of any kind. Functions return -1 and set errno. */

/* fcntl(F_DUPFD_CLOEXEC), never 0, 1 or 2. The caller closes the result. */
int descriptor_duplicate(int fd);

/* dup3(2) with O_CLOEXEC cleared: `to` becomes what `from` is, and is what a started program inherits. */
int descriptor_duplicate_onto(int from, int to);

/* O_NONBLOCK, which is shared by all who have the open file: fcntl(2). */
int descriptor_set_non_blocking(int fd, bool on);

/*
 * Opens the folder at `path` and locks it exclusively (flock(2)); tries for 2 s, then EWOULDBLOCK. The caller closes the
 * result, which releases the lock. `*call` names the call that failed.
 */
int descriptor_lock_folder(const char *path, const char **call);

/* fcntl(F_GETFD): whether `fd` is open. */
bool descriptor_is_open(int fd);

#endif
