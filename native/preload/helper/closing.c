#include "closing.h"

#include <errno.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_close_range
#define SYS_close_range 436 /* include/uapi/asm-generic/unistd.h of Linux 5.9 */
#endif

/* close_range(2) by its number: glibc has it from 2.34 only, musl 1.2.5 has not. Before Linux 5.9, one after the other. */
void close_all(int first, int last) {
  struct rlimit limit;
  if (syscall(SYS_close_range, (unsigned)first, (unsigned)last, 0U) == 0 || errno != ENOSYS) return;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && (rlim_t)last >= limit.rlim_max) last = (int)limit.rlim_max - 1;
  for (int fd = first; fd <= last; fd++) close(fd);
}
