/*
 * exec: a program that cleans its environment before it executes itself anew (nginx's upgrade by USR2) would leave the
 * new one with a listening descriptor that it cannot accept from. Where one is inherited, the variables are, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "identity.h"
#include "listeners.h"
#include "real.h"
#include "spawn.h"

static const char *const names[] = {"LD_PRELOAD", "SNI_HANDOFF", "SNI_HANDOFF_MODE", "SNI_HANDOFF_GROUP"};
enum { NAMES = sizeof names / sizeof *names };

/* As this process was started with them: "NAME=value". Of LD_PRELOAD only this library. */
static char *kept[NAMES];

__attribute__((constructor)) static void keep(void) {
  for (int i = 0; i < NAMES; i++) {
    const char *value = i == 0 ? spawn_library_path() : getenv(names[i]);
    if (value == NULL) continue;
    size_t size = strlen(names[i]) + 1 + strlen(value) + 1;
    kept[i] = malloc(size);
    if (kept[i] != NULL) snprintf(kept[i], size, "%s=%s", names[i], value);
  }
}

static bool is_inherited(int fd, const struct identity *identity, const void *context) {
  (void)identity, (void)context;
  return (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0;
}

static bool names_variable(const char *entry, const char *name) {
  size_t length = strlen(name);
  return strncmp(entry, name, length) == 0 && entry[length] == '=';
}

static bool has(char *const environment[], const char *name) {
  for (; environment != NULL && *environment != NULL; environment++)
    if (names_variable(*environment, name)) return true;
  return false;
}

/*
 * The environment with what is missing added; the same one if nothing is, or no listener is inherited. `*made` is to be
 * freed if exec fails.
 */
static char *const *complete(char *const environment[], char ***made) {
  int error = errno;
  bool is_missing = !has(environment, names[0]) || !has(environment, names[1]);
  *made = NULL;
  if (configuration()->count == 0 || !is_missing || identity_search(is_inherited, NULL) == -1) return environment;
  size_t count = 0;
  while (environment != NULL && environment[count] != NULL) count++;
  char **whole = malloc((count + NAMES + 1) * sizeof *whole);
  errno = error;
  if (whole == NULL) return environment;
  if (count > 0) memcpy(whole, environment, count * sizeof *whole);
  for (int i = 0; i < NAMES; i++)
    if (kept[i] != NULL && !has(environment, names[i])) whole[count++] = kept[i];
  whole[count] = NULL;
  return *made = whole;
}

static int failed(int result, char **made) {
  int error = errno;
  free(made);
  errno = error;
  return result;
}

EXPORTED int execve(const char *path, char *const arguments[], char *const environment[]) {
  char **made;
  char *const *whole = complete(environment, &made);
  return failed(real()->execve(path, arguments, (char *const *)whole), made);
}

EXPORTED int execv(const char *path, char *const arguments[]) { return execve(path, arguments, environ); }

EXPORTED int execvpe(const char *file, char *const arguments[], char *const environment[]) {
  char **made;
  char *const *whole = complete(environment, &made);
  return failed(real()->execvpe(file, arguments, (char *const *)whole), made);
}

EXPORTED int execvp(const char *file, char *const arguments[]) { return execvpe(file, arguments, environ); }

EXPORTED int fexecve(int fd, char *const arguments[], char *const environment[]) {
  char **made;
  char *const *whole = complete(environment, &made);
  return failed(real()->fexecve(fd, arguments, (char *const *)whole), made);
}

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                           char *const[], char *const[]);

static int spawn_by(spawn_function *function, pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                    const posix_spawnattr_t *attributes, char *const arguments[], char *const environment[]) {
  char **made;
  char *const *whole = complete(environment, &made);
  int error = function(pid, path, actions, attributes, arguments, (char *const *)whole);
  free(made);
  return error;
}

EXPORTED int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *actions,
                         const posix_spawnattr_t *restrict attributes, char *const arguments[],
                         char *const environment[]) {
  return spawn_by(real()->posix_spawn, pid, path, actions, attributes, arguments, environment);
}

EXPORTED int posix_spawnp(pid_t *restrict pid, const char *restrict file, const posix_spawn_file_actions_t *actions,
                          const posix_spawnattr_t *restrict attributes, char *const arguments[],
                          char *const environment[]) {
  return spawn_by(real()->posix_spawnp, pid, file, actions, attributes, arguments, environment);
}
