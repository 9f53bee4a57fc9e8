/* The classes behind `watch` and `watchMessages` of src/native/addon.ts: descriptors on libuv's loop. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

#include "addon.h"
#include "arguments.h"
#include "messages.h"

enum { SELECT_READABLE = 1, SELECT_WRITABLE = 2 };
_Static_assert((int)UV_READABLE == SELECT_READABLE && (int)UV_WRITABLE == SELECT_WRITABLE, "events pass unchanged");

struct watch {
  struct open_handle handle;
  uv_poll_t poll;
  napi_env env;
  unsigned references; /* the JavaScript object's, libuv's, and one while a callback runs */
  int fd;
  int selected;
  bool closed;
  bool owns;  /* `fd`, should the environment end before the watch is closed */
  bool ended; /* messages: the end was read */
  napi_ref self, callback; /* while open. `callback`: `ready`, or `deliver_first` for messages */
  /* Messages only. */
  napi_ref on_batch, on_each;
  struct shared_memory *memory;
  struct receive_batch *batch;
  int count;          /* messages in the batch that is being delivered */
  int64_t deliveries; /* as on_batch answered */
};

static void release(struct watch *watch) {
  if (--watch->references > 0) return;
  if (watch->memory != NULL) shared_memory_release(watch->memory);
  free(watch->batch);
  free(watch);
}

static void finalize_watch(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  release(data);
}

static void forget(napi_env env, napi_ref *reference) {
  if (*reference != NULL) napi_delete_reference(env, *reference);
  *reference = NULL;
}

static void forget_all(struct watch *watch) {
  forget(watch->env, &watch->self);
  forget(watch->env, &watch->callback);
  forget(watch->env, &watch->on_batch);
  forget(watch->env, &watch->on_each);
}

/* --- closing ------------------------------------------------------------------------------------------------------ */

static void on_closed(uv_handle_t *handle) {
  struct watch *watch = handle->data;
  environment_drop_handle(&watch->handle);
  release(watch);
}

/* uv_close takes the descriptor out of libuv's epoll set at once, so the caller may close it. */
static void close_watch(struct open_handle *handle) {
  struct watch *watch = (struct watch *)handle;
  if (watch->closed) return;
  watch->closed = true;
  uv_close((uv_handle_t *)&watch->poll, on_closed);
  forget_all(watch);
}

/* The environment's end with the watch still open: a worker was terminated, and runs no JavaScript any more. */
static void end_watch(struct open_handle *handle) {
  struct watch *watch = (struct watch *)handle;
  bool closes = watch->owns && !watch->closed;
  close_watch(handle);
  if (closes) close(watch->fd);
}

/* --- callbacks ---------------------------------------------------------------------------------------------------- */

/* Calls in a callback scope of its own: ticks and microtasks run behind it. False if JavaScript can run no more. */
static bool call(struct watch *watch, napi_value self, napi_value function, double argument, bool has_argument) {
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_value value = NULL;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return false;
  bool runs = !has_argument || napi_create_double(env, argument, &value) == napi_ok;
  if (runs && napi_make_callback(env, NULL, self, function, has_argument ? 1 : 0, &value, NULL) != napi_ok) {
    runs = report_exception(env);
  }
  napi_close_handle_scope(env, scope);
  return runs;
}

/*
 * onBatch, then the first onEach, in the same callback scope: a native function that napi_make_callback calls. An
 * exception of either goes through it, and `deliveries` tells which it was.
 */
static napi_value deliver_first(napi_env env, napi_callback_info info) {
  struct watch *watch;
  napi_value this, on_batch, on_each, argument, answer;
  size_t none = 0;
  if (napi_get_cb_info(env, info, &none, NULL, &this, (void **)&watch) != napi_ok) return NULL;
  if (napi_get_reference_value(env, watch->on_batch, &on_batch) != napi_ok ||
      napi_get_reference_value(env, watch->on_each, &on_each) != napi_ok ||
      napi_create_int32(env, watch->count, &argument) != napi_ok ||
      napi_call_function(env, this, on_batch, 1, &argument, &answer) != napi_ok) {
    return NULL;
  }
  int64_t deliveries;
  if (!take_integer(env, answer, "onBatch's result", 0, INT_MAX, &deliveries)) return NULL;
  watch->deliveries = deliveries;
  if (deliveries == 0 || napi_create_int32(env, 0, &argument) != napi_ok) return NULL;
  napi_call_function(env, this, on_each, 1, &argument, NULL);
  return NULL;
}

/* Closing the watch does not stop the deliveries that onBatch asked for: their descriptors are JavaScript's already. */
static void deliver(struct watch *watch, napi_value self, napi_value first, napi_value each) {
  watch->deliveries = 0;
  bool runs = call(watch, self, first, 0, false);
  int64_t deliveries = watch->deliveries;
  for (int64_t i = 1; runs && i < deliveries; i++) runs = call(watch, self, each, (double)i, true);
}

/* One batch: libuv reports the rest in its next turn, so that other channels, sockets and timers have theirs between. */
static void read_messages(struct watch *watch, napi_value self, napi_value first) {
  napi_value each;
  if (napi_get_reference_value(watch->env, watch->on_each, &each) != napi_ok) return;
  watch->count = receive_batch_receive(watch->batch, watch->fd, true);
  int end = watch->batch->end[0];
  if (end == RECEIVE_CLOSED || end == RECEIVE_FAILED) {
    watch->ended = true;
    uv_poll_stop(&watch->poll);
  }
  if (watch->count > 0 || end != RECEIVE_EMPTY) deliver(watch, self, first, each);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  struct watch *watch = poll->data;
  napi_env env = watch->env;
  napi_handle_scope scope;
  napi_value self, callback;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  watch->references++;
  if (napi_get_reference_value(env, watch->self, &self) == napi_ok &&
      napi_get_reference_value(env, watch->callback, &callback) == napi_ok) {
    if (watch->batch != NULL) {
      read_messages(watch, self, callback);
    } else {
      call(watch, self, callback, status < 0 ? watch->selected : events & watch->selected, true);
    }
  }
  /* libuv stops at EPOLLERR (ECONNRESET is pending) and reports EBADF, but messages may be queued behind the error. */
  if (status < 0 && !watch->closed && !watch->ended && watch->selected != 0) {
    uv_poll_start(poll, watch->selected, on_poll);
  }
  napi_close_handle_scope(env, scope);
  release(watch);
}

/* --- methods ------------------------------------------------------------------------------------------------------ */

/* V8 checks that `this` is an instance of the class before it calls a method. */
#define METHOD(count)                                                                        \
  napi_value this, arguments[(count) + 1];                                                   \
  struct watch *watch;                                                                       \
  if (!take_arguments(env, info, (count), arguments, &this)) return NULL;                    \
  if (!succeeded(env, napi_unwrap(env, this, (void **)&watch))) return NULL

static napi_value watch_select(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t events;
  int64_t most = watch->batch != NULL ? SELECT_READABLE : SELECT_READABLE | SELECT_WRITABLE;
  if (!take_integer(env, arguments[0], "events", 0, most, &events)) return NULL;
  if (watch->closed || watch->ended) return NULL;
  watch->selected = (int)events;
  int status = events == 0 ? uv_poll_stop(&watch->poll) : uv_poll_start(&watch->poll, (int)events, on_poll);
  return status < 0 ? throw_system_call(env, "epoll_ctl", -status, NULL) : NULL;
}

static napi_value watch_ref(napi_env env, napi_callback_info info) {
  METHOD(0);
  if (!watch->closed) uv_ref((uv_handle_t *)&watch->poll);
  return NULL;
}

static napi_value watch_unref(napi_env env, napi_callback_info info) {
  METHOD(0);
  if (!watch->closed) uv_unref((uv_handle_t *)&watch->poll);
  return NULL;
}

static napi_value watch_own(napi_env env, napi_callback_info info) {
  METHOD(0);
  watch->owns = true;
  return NULL;
}

static napi_value watch_close(napi_env env, napi_callback_info info) {
  METHOD(0);
  close_watch(&watch->handle);
  return NULL;
}

/* --- construction ------------------------------------------------------------------------------------------------- */

static bool start(struct watch *watch) {
  napi_env env = watch->env;
  struct environment *environment = environment_of(env);
  int status = uv_poll_init(environment->uv, &watch->poll, watch->fd);
  if (status == 0) {
    watch->poll.data = watch;
    watch->closed = false;
    watch->references++;
    environment_add_handle(environment, &watch->handle, end_watch);
    watch->selected = SELECT_READABLE;
    status = uv_poll_start(&watch->poll, UV_READABLE, on_poll);
    if (status < 0) close_watch(&watch->handle);
  }
  if (status < 0) throw_system_call(env, "epoll_ctl", -status, NULL);
  return status == 0;
}

/* Without memory, NULL and an exception. The object owns the result. */
static struct watch *wrap_new_watch(napi_env env, napi_value this, int fd) {
  struct watch *watch = calloc(1, sizeof *watch);
  if (watch == NULL) {
    throw_system_call(env, "watch", ENOMEM, NULL);
    return NULL;
  }
  watch->env = env;
  watch->references = 1;
  watch->fd = fd;
  watch->closed = true;
  if (!succeeded(env, napi_wrap(env, this, watch, finalize_watch, NULL, NULL))) {
    release(watch);
    return NULL;
  }
  return succeeded(env, napi_create_reference(env, this, 1, &watch->self)) ? watch : NULL;
}

static bool is_construction(napi_env env, napi_callback_info info) {
  napi_value target;
  if (!succeeded(env, napi_get_new_target(env, info, &target))) return false;
  if (target == NULL) napi_throw_type_error(env, NULL, "Watch is a class: use watch or watchMessages");
  return target != NULL;
}

static napi_value construct_watch(napi_env env, napi_callback_info info) {
  napi_value this, arguments[2];
  int fd;
  if (!is_construction(env, info) || !take_arguments(env, info, 2, arguments, &this) ||
      !take_descriptor(env, arguments[0], "fd", &fd) || !take_function(env, arguments[1], "ready")) {
    return NULL;
  }
  struct watch *watch = wrap_new_watch(env, this, fd);
  if (watch == NULL) return NULL;
  if (!succeeded(env, napi_create_reference(env, arguments[1], 1, &watch->callback)) || !start(watch)) {
    forget_all(watch);
    return NULL;
  }
  return this;
}

static bool prepare_messages(struct watch *watch, napi_value this, napi_value on_batch, napi_value on_each,
                             size_t stride) {
  napi_env env = watch->env;
  napi_value buffer, object, first;
  watch->memory = shared_memory_create(receive_batch_size(stride));
  watch->batch = calloc(1, sizeof *watch->batch);
  if (watch->memory == NULL || watch->batch == NULL) {
    throw_system_call(env, "watchMessages", ENOMEM, NULL);
    return false;
  }
  watch->batch->is_polled = true;
  if (!shared_memory_buffer(env, watch->memory, &buffer) ||
      !receive_batch_object(env, watch->memory, buffer, 0, stride, watch->batch, &object)) {
    return false;
  }
  napi_property_descriptor property = {.utf8name = "batch", .value = object, .attributes = napi_enumerable};
  return succeeded(env, napi_define_properties(env, this, 1, &property)) &&
         succeeded(env, napi_create_function(env, "deliver", NAPI_AUTO_LENGTH, deliver_first, watch, &first)) &&
         succeeded(env, napi_create_reference(env, first, 1, &watch->callback)) &&
         succeeded(env, napi_create_reference(env, on_batch, 1, &watch->on_batch)) &&
         succeeded(env, napi_create_reference(env, on_each, 1, &watch->on_each));
}

/* Bytes reserved for each message: RECEIVE_STRIDE if nothing is said. The arrays behind the buffer are aligned by it. */
static bool take_stride(napi_env env, napi_value value, size_t *out) {
  napi_valuetype type;
  int64_t stride = RECEIVE_STRIDE;
  if (!succeeded(env, napi_typeof(env, value, &type))) return false;
  if (type != napi_undefined && !take_integer(env, value, "stride", 16, RECEIVE_MOST_STRIDE, &stride)) return false;
  if (stride % 16 != 0) return throw_range(env, "stride", "a multiple of 16");
  *out = (size_t)stride;
  return true;
}

static napi_value construct_message_watch(napi_env env, napi_callback_info info) {
  napi_value this, arguments[4];
  int fd;
  size_t stride = RECEIVE_STRIDE;
  if (!is_construction(env, info) || !take_arguments(env, info, 4, arguments, &this) ||
      !take_descriptor(env, arguments[0], "fd", &fd) || !take_function(env, arguments[1], "onBatch") ||
      !take_function(env, arguments[2], "onEach") || !take_stride(env, arguments[3], &stride)) {
    return NULL;
  }
  struct watch *watch = wrap_new_watch(env, this, fd);
  if (watch == NULL) return NULL;
  if (!prepare_messages(watch, this, arguments[1], arguments[2], stride) || !start(watch)) {
    forget_all(watch);
    return NULL;
  }
  return this;
}

static napi_value create(napi_env env, napi_callback_info info, napi_ref class_reference, size_t count) {
  napi_value class, arguments[4], result;
  if (!take_arguments(env, info, count, arguments, NULL)) return NULL;
  if (!succeeded(env, napi_get_reference_value(env, class_reference, &class))) return NULL;
  return succeeded(env, napi_new_instance(env, class, count, arguments, &result)) ? result : NULL;
}

napi_value create_watch(napi_env env, napi_callback_info info) {
  return create(env, info, environment_of(env)->watch_class, 2);
}

napi_value create_message_watch(napi_env env, napi_callback_info info) {
  return create(env, info, environment_of(env)->message_watch_class, 4);
}

bool define_watches(struct environment *environment) {
  const napi_property_descriptor properties[] = {
      {.utf8name = "select", .method = watch_select, .attributes = napi_default_method},
      {.utf8name = "ref", .method = watch_ref, .attributes = napi_default_method},
      {.utf8name = "unref", .method = watch_unref, .attributes = napi_default_method},
      {.utf8name = "own", .method = watch_own, .attributes = napi_default_method},
      {.utf8name = "close", .method = watch_close, .attributes = napi_default_method},
  };
  enum { PROPERTIES = sizeof properties / sizeof *properties };
  napi_env env = environment->env;
  napi_value watch, messages;
  return succeeded(env, napi_define_class(env, "Watch", NAPI_AUTO_LENGTH, construct_watch, NULL, PROPERTIES,
                                          properties, &watch)) &&
         succeeded(env, napi_define_class(env, "MessageWatch", NAPI_AUTO_LENGTH, construct_message_watch, NULL,
                                          PROPERTIES, properties, &messages)) &&
         succeeded(env, napi_create_reference(env, watch, 1, &environment->watch_class)) &&
         succeeded(env, napi_create_reference(env, messages, 1, &environment->message_watch_class));
}
