#include "real.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

static struct real functions;
static atomic_bool is_found;

/* dlsym(3): a function pointer from a data pointer, which ISO C has no cast for. */
static void find(const char *name, void *out) { *(void **)out = dlsym(RTLD_NEXT, name); }

const struct real *real(void) {
  if (atomic_load_explicit(&is_found, memory_order_acquire)) return &functions;
  /* Two threads at once find the same. */
  find("bind", &functions.bind);
  find("listen", &functions.listen);
  find("accept", &functions.accept);
  find("accept4", &functions.accept4);
  find("getsockname", &functions.getsockname);
  find("getpeername", &functions.getpeername);
  find("getsockopt", &functions.getsockopt);
  find("setsockopt", &functions.setsockopt);
  find("shutdown", &functions.shutdown);
  find("recv", &functions.recv);
  find("close", &functions.close);
  find("epoll_ctl", &functions.epoll_ctl);
  find("execve", &functions.execve);
  find("execvpe", &functions.execvpe);
  find("fexecve", &functions.fexecve);
  find("posix_spawn", &functions.posix_spawn);
  find("posix_spawnp", &functions.posix_spawnp);
  atomic_store_explicit(&is_found, true, memory_order_release);
  return &functions;
}
