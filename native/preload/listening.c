/* bind(2) and listen(2): a configured address is answered here, and received for by a helper. */
#include "listening.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "claim.h"
#include "identity.h"
#include "inherited.h"
#include "joining.h"
#include "listeners.h"
#include "real.h"
#include "replace.h"
#include "say.h"
#include "spawn.h"

/* Also of a process that has none yet: one may come by exec or SCM_RIGHTS at any time. */
bool listening_any(void) { return configuration()->count > 0; }

void listening_tell_option(int fd, const struct inherited_option *option) {
  struct request request = {.kind = REQUEST_OPTION, .option = *option};
  send(fd, &request, sizeof request, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int option_of(int fd, int level, int name) {
  int value = 0;
  socklen_t length = sizeof value;
  real()->getsockopt(fd, level, name, &value, &length);
  return value;
}

static bool has_address(int fd, const struct identity *identity, const void *address) {
  (void)fd;
  return !identity->is_silent && address_equal(&identity->address, address);
}

static const struct target *target_of(const union address *address) {
  return environment_find(configuration(), address);
}

static bool has_target(int fd, const struct identity *identity, const void *target) {
  (void)fd;
  return !identity->is_silent && target_of(&identity->address) == target;
}

static int fail(int error) {
  errno = error;
  return -1;
}

/* Told where a listener is not received although its port is named. */
static void mention_other_address(const union address *address) {
  const struct target *near = environment_find_port(configuration(), address);
  char wanted[ADDRESS_TEXT], named[ADDRESS_TEXT];
  if (near == NULL) return;
  address_format(address, wanted);
  address_format(&near->address, named);
  say("%s is not received from a door: SNI_HANDOFF names %s; write %u=%s for every address of this port", wanted, named,
      address_port(address), near->path);
}

static bool is_folder(const struct target *target) { return target->path[strlen(target->path) - 1] == '/'; }

/* Of targets that are folders: the socket that this process has made there. */
static struct {
  pid_t pid;
  char path[MOST_SOCKET_PATH];
} made[MOST_TARGETS];

/* Where this process's listeners of a target are received, if there are any; NULL if that is not known. */
static const char *path_of(const struct target *target) {
  size_t index = (size_t)(target - configuration()->targets);
  if (!is_folder(target)) return target->path;
  return made[index].pid == getpid() ? made[index].path : NULL;
}

static void remember_path(const struct target *target, const char *path) {
  size_t index = (size_t)(target - configuration()->targets);
  strcpy(made[index].path, path);
  made[index].pid = getpid();
}

/* Whether the path can be had, alone or with whoever has it: 0 or the errno. */
static int probe(int fd, const struct target *target) {
  bool is_shared = option_of(fd, SOL_SOCKET, SO_REUSEPORT);
  int error = claim_probe(target, configuration(), is_shared);
  if (error != 0 || !is_shared || is_folder(target) || may_join(target->path)) return error;
  return claim_probe(target, configuration(), false);
}

static int bind_received(int fd, const union address *address, const struct target *target) {
  struct bound bound = {.target = target, .address = *address};
  /* Another one of this process: it shares what comes, as SO_REUSEPORT would. */
  if (identity_search(has_address, address) != -1) {
    if (!option_of(fd, SOL_SOCKET, SO_REUSEPORT)) return fail(EADDRINUSE);
  } else if (identity_search(has_target, target) == -1) {
    int error = probe(fd, target);
    if (error != 0) return fail(error);
  }
  int error = bound_add(fd, &bound);
  return error == 0 ? 0 : fail(error);
}

EXPORTED int bind(int fd, const struct sockaddr *address, socklen_t length) {
  const struct environment *environment = configuration();
  union address wanted;
  if ((environment->count == 0 && environment->complaint[0] == 0) || !address_read(address, length, &wanted) ||
      option_of(fd, SOL_SOCKET, SO_TYPE) != SOCK_STREAM)
    return real()->bind(fd, address, length);
  if (environment->complaint[0] != 0) {
    static atomic_flag told = ATOMIC_FLAG_INIT;
    if (!atomic_flag_test_and_set(&told)) say("%s", environment->complaint);
    return fail(EINVAL);
  }
  const struct target *target = target_of(&wanted);
  if (target != NULL) return bind_received(fd, &wanted, target);
  mention_other_address(&wanted);
  return real()->bind(fd, address, length);
}

/* Swaps the socket for the pair's end, or a silent one. Closes `replacement`. */
static int put(int fd, int replacement, const struct identity *identity, bool is_fresh) {
  int error = is_fresh ? identity_write(replacement, identity) : 0;
  if (error != 0) {
    close(replacement);
    return error;
  }
  return replace_descriptor(fd, replacement);
}

/* A new pair and a new helper. Returns this process's end, or -1 with errno; `path` is where. */
static int start(const struct target *target, sa_family_t family, bool is_revival, char path[MOST_SOCKET_PATH]) {
  struct claim claim;
  int pair[2];
  int error = claim_path(target, configuration(), is_revival, &claim);
  if (error != 0) return fail(error);
  strcpy(path, claim.path);
  error = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == -1 ? errno : 0;
  if (error == 0) {
    error = spawn_helper(claim.descriptor, pair[1], claim.path, family);
    close(pair[1]);
    if (error != 0) close(pair[0]);
  }
  if (error != 0) unlink(claim.path);
  claim_close(&claim);
  if (error != 0) return fail(error);
  if (is_folder(target)) remember_path(target, path);
  return pair[0];
}

static void announce(const struct bound *bound, const char *path) {
  char text[ADDRESS_TEXT];
  address_format(&bound->address, text);
  say("%s is received on %s", text, path);
}

struct family_of_target {
  const struct target *target;
  sa_family_t family;
};

static bool has_family_too(int fd, const struct identity *identity, const void *context) {
  const struct family_of_target *wanted = context;
  return has_target(fd, identity, wanted->target) && identity->address.any.sa_family == wanted->family;
}

/*
 * What takes the socket's place: an end of a pair, new or another process's; a silent socket, if another address of the
 * same path and family is received already; -1 with errno. `path` is where.
 */
static int replacement_for(int fd, const struct bound *bound, struct identity *identity, char path[MOST_SOCKET_PATH]) {
  const struct target *target = bound->target;
  const struct family_of_target same = {target, bound->address.any.sa_family};
  const char *known = path_of(target);
  int joined = -1;
  if (known != NULL) {
    strcpy(path, known);
    if (identity_search(has_family_too, &same) != -1) {
      identity->is_silent = true;
      return socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    }
    if (identity_search(has_target, target) != -1)
      joined = join(path, same.family, JOIN_AGAIN);
    else if (!is_folder(target) && option_of(fd, SOL_SOCKET, SO_REUSEPORT))
      joined = join(path, same.family, JOIN_SHARED);
  }
  return joined != -1 ? joined : start(target, same.family, false, path);
}

static int listen_received(int fd, const struct bound *bound) {
  struct inherited_option options[MOST_INHERITED];
  struct identity identity = {.address = bound->address};
  char path[MOST_SOCKET_PATH];
  int same = identity_search(has_address, &bound->address);
  int count = inherited_collect(fd, bound->address.any.sa_family, options);
  bool is_shared = option_of(fd, SOL_SOCKET, SO_REUSEPORT);
  int replacement = same != -1 ? dup(same) : replacement_for(fd, bound, &identity, path);
  if (replacement == -1) return -1;
  bound_remove(fd);
  int error = put(fd, replacement, &identity, same == -1);
  if (error != 0) return fail(error);
  if (is_shared && !identity.is_silent)
    listening_tell_option(fd, &(struct inherited_option){SOL_SOCKET, SO_REUSEPORT, {1}, sizeof(int)});
  for (int i = 0; i < count && !identity.is_silent; i++) {
    inherited_remember(&options[i]);
    listening_tell_option(fd, &options[i]);
  }
  if (same == -1) announce(bound, path);
  return 0;
}

EXPORTED int listen(int fd, int backlog) {
  struct bound bound;
  struct identity identity;
  if (bound_find(fd, &bound)) return listen_received(fd, &bound);
  if (listening_any() && identity_read(fd, &identity)) return 0; /* another backlog: the window is the door's matter */
  return real()->listen(fd, backlog);
}

int listening_revive(int fd) {
  struct identity identity;
  char path[MOST_SOCKET_PATH];
  if (!identity_read(fd, &identity)) return EINVAL;
  const struct target *target = target_of(&identity.address);
  if (target == NULL) return EINVAL;
  sa_family_t family = identity.address.any.sa_family;
  int replacement = -1;
  /* Another process of the server may be at it. */
  for (int attempt = 0; replacement == -1 && attempt < 3; attempt++) {
    if (!is_folder(target)) replacement = join(target->path, family, JOIN_AGAIN);
    if (replacement == -1) replacement = start(target, family, true, path);
    if (replacement == -1 && errno != EADDRINUSE) break;
  }
  return replacement == -1 ? errno : put(fd, replacement, &identity, true);
}
