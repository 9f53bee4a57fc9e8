/* Unpacking for what src/native/addon.ts has under "privileges"; privilege.h does it. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "addon.h"
#include "arguments.h"
#include "errno_name.h"
#include "privilege.h"

/* Most elements of any list here: far above what environments and plans have. */
enum { MOST_ELEMENTS = 1 << 20 };
enum { USER_SPACE = 256, MOST_GROUPS = 65536 };

/* --- memory of one call ------------------------------------------------------------------------------------------- */

struct block {
  struct block *next;
  _Alignas(16) uint8_t bytes[];
};

/* Zeroed; NULL leaves an exception pending. */
static void *take_memory(napi_env env, struct block **blocks, size_t count, size_t size) {
  struct block *block = calloc(1, sizeof *block + count * size);
  if (block == NULL) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  block->next = *blocks;
  *blocks = block;
  return block->bytes;
}

static void release_memory(struct block *blocks) {
  for (struct block *next; blocks != NULL; blocks = next) {
    next = blocks->next;
    free(blocks);
  }
}

/* --- arguments ---------------------------------------------------------------------------------------------------- */

/* A property that must be there; undefined is for the taking of its type to refuse. */
static bool take_needed(napi_env env, napi_value object, const char *name, napi_value *out) {
  return take_property(env, object, name, out) && (*out != NULL || succeeded(env, napi_get_undefined(env, out)));
}

static bool take_length(napi_env env, napi_value array, const char *name, uint32_t *out) {
  if (napi_get_array_length(env, array, out) != napi_ok) return throw_range(env, name, "an array");
  return *out <= MOST_ELEMENTS ? true : throw_range(env, name, "shorter");
}

/* Text of any length. */
static bool take_string(napi_env env, struct block **blocks, napi_value value, const char *name, char **out) {
  size_t length = 0;
  napi_get_value_string_utf8(env, value, NULL, 0, &length); /* 0 if it is no string, which take_text says */
  *out = take_memory(env, blocks, length + 1, 1);
  return *out != NULL && take_text(env, value, name, *out, length + 1);
}

/* An array of text, ended by NULL. */
static bool take_strings(napi_env env, struct block **blocks, napi_value array, const char *name, char ***out,
                         uint32_t *count) {
  if (!take_length(env, array, name, count)) return false;
  *out = take_memory(env, blocks, *count + 1, sizeof **out);
  for (uint32_t i = 0; *out != NULL && i < *count; i++) {
    napi_value element;
    if (!succeeded(env, napi_get_element(env, array, i, &element))) return false;
    if (!take_string(env, blocks, element, name, &(*out)[i])) return false;
  }
  return *out != NULL;
}

static bool take_number_at(napi_env env, napi_value array, uint32_t i, const char *name, int64_t most, int64_t *out) {
  napi_value element;
  return succeeded(env, napi_get_element(env, array, i, &element)) && take_integer(env, element, name, 0, most, out);
}

static bool take_identity(napi_env env, struct block **blocks, napi_value object, struct privilege_identity *out) {
  int64_t uid = -1, gid = -1, group;
  napi_value groups;
  uint32_t count;
  if (!take_integer_property(env, object, "uid", 0, UINT32_MAX - 1, &uid) ||
      !take_integer_property(env, object, "gid", 0, UINT32_MAX - 1, &gid) ||
      !take_needed(env, object, "groups", &groups) || !take_length(env, groups, "groups", &count)) {
    return false;
  }
  if (uid == -1 || gid == -1) return throw_range(env, uid == -1 ? "uid" : "gid", "given");
  gid_t *list = take_memory(env, blocks, count + 1, sizeof *list);
  for (uint32_t i = 0; list != NULL && i < count; i++) {
    if (!take_number_at(env, groups, i, "groups", UINT32_MAX - 1, &group)) return false;
    list[i] = (gid_t)group;
  }
  *out = (struct privilege_identity){.uid = (uid_t)uid, .gid = (gid_t)gid, .groups = list, .group_count = count};
  return list != NULL;
}

static bool take_rule(napi_env env, struct block **blocks, napi_value object, struct landlock_rule *out) {
  napi_value path;
  char *text;
  int64_t access = 0;
  if (!take_needed(env, object, "path", &path) || !take_string(env, blocks, path, "path", &text) ||
      !take_integer_property(env, object, "access", 0, UINT32_MAX, &access)) {
    return false;
  }
  *out = (struct landlock_rule){.path = text, .access = (uint64_t)access};
  return true;
}

static bool take_landlock(napi_env env, struct block **blocks, napi_value object, struct landlock_plan *out) {
  int64_t files = 0, network = 0, scoped = 0;
  napi_value rules, rule;
  uint32_t count;
  if (!take_integer_property(env, object, "handledFiles", 0, UINT32_MAX, &files) ||
      !take_integer_property(env, object, "handledNetwork", 0, UINT32_MAX, &network) ||
      !take_integer_property(env, object, "scoped", 0, UINT32_MAX, &scoped) ||
      !take_needed(env, object, "rules", &rules) || !take_length(env, rules, "rules", &count)) {
    return false;
  }
  struct landlock_rule *list = take_memory(env, blocks, count + 1, sizeof *list);
  for (uint32_t i = 0; list != NULL && i < count; i++) {
    if (!succeeded(env, napi_get_element(env, rules, i, &rule)) || !take_rule(env, blocks, rule, &list[i])) return false;
  }
  *out = (struct landlock_plan){.handled_files = (uint64_t)files,
                                .handled_network = (uint64_t)network,
                                .scoped = (uint64_t)scoped,
                                .rules = list,
                                .count = count};
  return list != NULL;
}

static bool take_keep(napi_env env, struct block **blocks, napi_value array, struct privilege_execution *out) {
  uint32_t count;
  int64_t fd;
  if (!take_length(env, array, "keep", &count)) return false;
  int *list = take_memory(env, blocks, count + 1, sizeof *list);
  for (uint32_t i = 0; list != NULL && i < count; i++) {
    if (!take_number_at(env, array, i, "keep", INT_MAX, &fd)) return false;
    list[i] = (int)fd;
  }
  out->keep = list;
  out->keep_count = count;
  return list != NULL;
}

static bool take_capabilities(napi_env env, napi_value array, uint64_t *out) {
  uint32_t count;
  int64_t number;
  if (!take_length(env, array, "capabilities", &count)) return false;
  for (uint32_t i = 0; i < count; i++) {
    if (!take_number_at(env, array, i, "capabilities", 63, &number)) return false;
    *out |= UINT64_C(1) << number;
  }
  return true;
}

/* --- the calls ---------------------------------------------------------------------------------------------------- */

napi_value get_landlock_abi(napi_env env, napi_callback_info info) {
  (void)info;
  int abi = landlock_abi();
  napi_value result = NULL;
  napi_create_int32(env, abi == -1 ? -errno : abi, &result);
  return result;
}

napi_value find_account(napi_env env, napi_callback_info info) {
  napi_value user_given, object;
  char user[USER_SPACE];
  uid_t uid;
  gid_t gid;
  if (!take_arguments(env, info, 1, &user_given, NULL) || !take_text(env, user_given, "user", user, sizeof user) ||
      !privilege_find_account(user, &uid, &gid)) {
    return NULL;
  }
  bool made = succeeded(env, napi_create_object(env, &object)) && put_number(env, object, "uid", uid) &&
              put_number(env, object, "gid", gid);
  return made ? object : NULL;
}

napi_value get_account_groups(napi_env env, napi_callback_info info) {
  napi_value arguments[3], result, element;
  char user[USER_SPACE];
  int64_t uid, gid;
  if (!take_arguments(env, info, 3, arguments, NULL) || !take_text(env, arguments[0], "user", user, sizeof user) ||
      !take_integer(env, arguments[1], "uid", 0, UINT32_MAX - 1, &uid) ||
      !take_integer(env, arguments[2], "gid", 0, UINT32_MAX - 1, &gid)) {
    return NULL;
  }
  struct block *blocks = NULL;
  gid_t *groups = take_memory(env, &blocks, MOST_GROUPS, sizeof *groups);
  if (groups == NULL) return NULL;
  int count = MOST_GROUPS; /* NGROUPS_MAX: no account can have more */
  int found = privilege_groups(user, (uid_t)uid, (gid_t)gid, groups, &count);
  if (found == -1) {
    result = throw_system_call(env, "getgrouplist", ERANGE, user);
  } else {
    bool made = succeeded(env, napi_create_array_with_length(env, (size_t)count, &result));
    for (int i = 0; made && i < count; i++) {
      made = succeeded(env, napi_create_uint32(env, groups[i], &element)) &&
             succeeded(env, napi_set_element(env, result, (uint32_t)i, element));
    }
    if (!made) result = NULL;
  }
  release_memory(blocks);
  return result;
}

static napi_value errno_names(napi_env env, const int *errors, uint32_t count) {
  napi_value result, element;
  char space[ERRNO_NAME_SPACE];
  if (!succeeded(env, napi_create_array_with_length(env, count, &result))) return NULL;
  for (uint32_t i = 0; i < count; i++) {
    const char *name = errors[i] == 0 ? "" : errno_name(errors[i], space);
    if (!succeeded(env, napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &element)) ||
        !succeeded(env, napi_set_element(env, result, i, element))) {
      return NULL;
    }
  }
  return result;
}

napi_value try_reading_as(napi_env env, napi_callback_info info) {
  napi_value arguments[2], result = NULL;
  napi_valuetype type;
  struct block *blocks = NULL;
  struct privilege_identity identity;
  char **paths;
  uint32_t count;
  if (!take_arguments(env, info, 2, arguments, NULL)) return NULL;
  if (succeeded(env, napi_typeof(env, arguments[0], &type)) &&
      (type == napi_undefined || take_identity(env, &blocks, arguments[0], &identity)) &&
      take_strings(env, &blocks, arguments[1], "paths", &paths, &count)) {
    int *errors = take_memory(env, &blocks, count + 1, sizeof *errors);
    struct privilege_failure failure;
    if (errors != NULL) {
      int tried = privilege_try_reading(type == napi_undefined ? NULL : &identity, paths, count, errors, &failure);
      result = tried == 0 ? errno_names(env, errors, count)
                          : throw_system_call(env, failure.call, failure.error, failure.subject);
    }
  }
  release_memory(blocks);
  return result;
}

/* Returns with an exception pending. */
static void take_and_execute(napi_env env, struct block **blocks, napi_value options) {
  napi_value file, arguments, environment, keep, capabilities, identity_given, landlock_given;
  struct privilege_identity identity;
  struct landlock_plan landlock;
  struct privilege_execution execution = {0};
  char *path, **argument_list, **environment_list;
  uint32_t count;
  if (!take_needed(env, options, "file", &file) || !take_string(env, blocks, file, "file", &path) ||
      !take_needed(env, options, "arguments", &arguments) ||
      !take_strings(env, blocks, arguments, "arguments", &argument_list, &count) ||
      !take_needed(env, options, "environment", &environment) ||
      !take_strings(env, blocks, environment, "environment", &environment_list, &count) ||
      !take_needed(env, options, "keep", &keep) || !take_keep(env, blocks, keep, &execution) ||
      !take_needed(env, options, "capabilities", &capabilities) ||
      !take_capabilities(env, capabilities, &execution.capabilities) ||
      !take_property(env, options, "identity", &identity_given) ||
      (identity_given != NULL && !take_identity(env, blocks, identity_given, &identity)) ||
      !take_property(env, options, "landlock", &landlock_given) ||
      (landlock_given != NULL && !take_landlock(env, blocks, landlock_given, &landlock))) {
    return;
  }
  execution.file = path;
  execution.arguments = argument_list;
  execution.environment = environment_list;
  execution.identity = identity_given == NULL ? NULL : &identity;
  execution.landlock = landlock_given == NULL ? NULL : &landlock;
  struct privilege_failure failure;
  privilege_execute(&execution, &failure);
  throw_system_call(env, failure.call, failure.error, failure.subject);
}

napi_value execute_restricted(napi_env env, napi_callback_info info) {
  napi_value options;
  struct block *blocks = NULL;
  if (!take_arguments(env, info, 1, &options, NULL)) return NULL;
  take_and_execute(env, &blocks, options);
  release_memory(blocks);
  return NULL;
}
