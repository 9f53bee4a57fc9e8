#ifndef SNI_HANDOFF_ADDON_H
#define SNI_HANDOFF_ADDON_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

/*
 * What the addon keeps for one Node environment (the main thread, or a worker). Nothing is shared between environments
 * but the closing thread (closer.h).
 *
 * libuv's handles must be closed, and their callbacks run, before a worker's loop can end. Each handle's memory is
 * therefore its own, linked here while it is open, and closed by the environment's clean-up hook if nobody did before.
 */
struct environment {
  napi_env env;
  uv_loop_t *uv;
  napi_ref error_class;
  napi_ref watch_class;
  napi_ref message_watch_class;
  struct open_handle *open;
  napi_async_cleanup_hook_handle hook;
  unsigned references; /* this structure's: the module's, and one for each struct open_handle */
  bool ended;
};

/* Something with libuv handles, embedded in what owns them. */
struct open_handle {
  struct open_handle *next, **link;
  struct environment *environment;
  void (*close)(struct open_handle *); /* begins closing; environment_drop_handle follows when it is done */
};

void environment_add_handle(struct environment *environment, struct open_handle *handle,
                            void (*close)(struct open_handle *));
/* From the last uv_close callback. */
void environment_drop_handle(struct open_handle *handle);

struct environment *environment_of(napi_env env);

/* Throws a SystemCallError; `subject` may be NULL. Returns NULL, as callbacks do. */
napi_value throw_system_call(napi_env env, const char *call, int error, const char *subject);

/*
 * The pending exception becomes the process's (or worker's) uncaught exception. False if there was none: then the
 * thread is being terminated, and no JavaScript can run.
 */
bool report_exception(napi_env env);

/* Memory that C and JavaScript share through typed arrays: freed when neither has it any more. Zeroed, 16-byte aligned. */
struct shared_memory {
  size_t length;
  unsigned references;
  _Alignas(16) uint8_t bytes[];
};

struct shared_memory *shared_memory_create(size_t length); /* with one reference; NULL without memory */
void shared_memory_release(struct shared_memory *memory);
/* An ArrayBuffer over it, which has a reference of its own and cannot be transferred to another thread. */
bool shared_memory_buffer(napi_env env, struct shared_memory *memory, napi_value *out);
/* Defines the read-only property `name`: a typed array of `count` elements from `offset`. */
bool shared_memory_view(napi_env env, napi_value object, const char *name, napi_typedarray_type type, napi_value buffer,
                        size_t offset, size_t count);

/* One typed array of several: `*pointer` gets its address. */
struct shared_array {
  const char *name;
  napi_typedarray_type type;
  uint64_t width, count;
  void *pointer;
};

/*
 * Lays arrays out in one block of shared memory, `extra` bytes from `*end` on behind them, and defines them on `object`.
 * Returns the block with one reference, which is the caller's; or NULL, with an exception.
 */
struct shared_memory *shared_arrays_define(napi_env env, napi_value object, const struct shared_array *arrays,
                                           size_t count, size_t extra, napi_value *buffer, size_t *end);

/*
 * A ReceiveBatch with `stride` bytes a message, a multiple of 16: its size in shared memory, and its JavaScript object
 * over `buffer` from `start_of_buffer`.
 */
struct receive_batch;
size_t receive_batch_size(size_t stride);
bool receive_batch_object(napi_env env, struct shared_memory *memory, napi_value buffer, size_t start_of_buffer,
                          size_t stride, struct receive_batch *batch, napi_value *out);

/* `createLoop` (addon_loop.c); `watch`, `watchMessages` and their classes (addon_watch.c). */
bool define_watches(struct environment *environment);
napi_value create_loop(napi_env env, napi_callback_info info);
napi_value create_watch(napi_env env, napi_callback_info info);
napi_value create_message_watch(napi_env env, napi_callback_info info);

/* addon_relay.c. */
napi_value create_splicer(napi_env env, napi_callback_info info);
napi_value get_socket_address(napi_env env, napi_callback_info info);
napi_value dial(napi_env env, napi_callback_info info);
napi_value keep_alive(napi_env env, napi_callback_info info);
napi_value get_pending_error(napi_env env, napi_callback_info info);
napi_value send_first(napi_env env, napi_callback_info info);
napi_value get_packed_addresses(napi_env env, napi_callback_info info);

/* addon_privilege.c. */
napi_value get_landlock_abi(napi_env env, napi_callback_info info);
napi_value find_account(napi_env env, napi_callback_info info);
napi_value get_account_groups(napi_env env, napi_callback_info info);
napi_value try_reading_as(napi_env env, napi_callback_info info);
napi_value execute_restricted(napi_env env, napi_callback_info info);

#endif
