/* What `createLoop` makes, of src/native/addon.ts: a worker's system calls over arrays allocated once. */

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addon.h"
#include "arguments.h"
#include "clock.h"
#include "closer.h"
#include "epoll_set.h"
#include "messages.h"
#include "tcp_accept.h"
#include "tcp_address.h"

/* Tags of libuv's own descriptor in the set, and of the lazy set; `add` takes lower ones only. */
#define TAG_LIBUV UINT32_MAX
#define TAG_LAZY (UINT32_MAX - 1)
#define HIGHEST_TAG (UINT32_MAX - 2)

/* How long a wait may be that the lazy set could not be armed for. Milliseconds. */
#define UNARMED_PATIENCE 10

struct loop {
  unsigned references; /* one for each of its functions, and one while it runs */
  napi_env env;
  uv_loop_t *uv;
  int set; /* -1 after destroy */
  /*
   * Descriptors whose events may wait a little (`addLazy`). It is a member of `set`, EPOLLONESHOT: while it is armed its
   * events end a wait like any other; once it has fired it is silent until a wait without patience arms it again.
   */
  int lazy_set;
  bool lazy_armed;
  bool lazy_missed; /* the last wait had no room for its events, and did not look at it */
  int64_t most_events, most_peeks, most_closes;
  struct epoll_event *space;
  struct shared_memory *memory;
  uint32_t *events;
  double *clock;
  uint32_t *clock_words;
  int32_t *flags;
  int32_t *close_descriptors;
  struct peek_batch peek;
  struct send_batch send;
  struct receive_batch receive;
  struct runner *runner; /* while it runs */
  napi_ref turn;         /* while it runs */
};

static void release_loop(struct loop *loop) {
  if (--loop->references > 0) return;
  if (loop->set != -1) close(loop->set);
  if (loop->lazy_set != -1) close(loop->lazy_set);
  free(loop->space);
  free(loop->send.headers);
  free(loop->send.slots);
  shared_memory_release(loop->memory);
  free(loop);
}

static void finalize_function(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  release_loop(data);
}

/* --- running: turns from libuv's check phase ---------------------------------------------------------------------- */

/*
 * The check phase comes right after libuv has polled, when all that it wants to watch is registered in its epoll
 * descriptor, so that watching this one in our own set misses nothing. The idle handle keeps libuv from blocking in its
 * own poll; it is stopped during a turn, because uv_backend_timeout is 0 while it is active.
 */
struct runner {
  struct open_handle handle;
  struct loop *loop; /* NULL once stopped */
  uv_check_t check;
  uv_idle_t idle;
  int closing;
};

static void on_idle(uv_idle_t *idle) { (void)idle; }

static void on_runner_closed(uv_handle_t *handle) {
  struct runner *runner = handle->data;
  if (--runner->closing > 0) return;
  environment_drop_handle(&runner->handle);
  free(runner);
}

static void stop_running(struct loop *loop) {
  struct runner *runner = loop->runner;
  if (runner == NULL) return;
  loop->runner = NULL;
  runner->loop = NULL;
  epoll_set_remove(loop->set, uv_backend_fd(loop->uv));
  napi_delete_reference(loop->env, loop->turn);
  runner->closing = 2;
  uv_close((uv_handle_t *)&runner->check, on_runner_closed);
  uv_close((uv_handle_t *)&runner->idle, on_runner_closed);
  release_loop(loop);
}

static void close_runner(struct open_handle *handle) {
  struct runner *runner = (struct runner *)handle;
  if (runner->loop != NULL) stop_running(runner->loop);
}

static void on_check(uv_check_t *check) {
  struct runner *runner = check->data;
  struct loop *loop = runner->loop;
  if (loop == NULL) return;
  napi_env env = loop->env;
  napi_handle_scope scope;
  napi_value receiver, turn;
  uv_idle_stop(&runner->idle);
  loop->flags[0] = 0;
  if (napi_open_handle_scope(env, &scope) != napi_ok) return;
  bool called = napi_get_global(env, &receiver) == napi_ok &&
                napi_get_reference_value(env, loop->turn, &turn) == napi_ok &&
                napi_make_callback(env, NULL, receiver, turn, 0, NULL, NULL) == napi_ok;
  /* An exception, or the thread is being terminated. The loop may have been stopped by the turn itself. */
  if (!called && runner->loop != NULL) stop_running(loop);
  if (!called) report_exception(env);
  if (runner->loop != NULL) uv_idle_start(&runner->idle, on_idle);
  napi_close_handle_scope(env, scope);
}

/* --- methods ------------------------------------------------------------------------------------------------------ */

/*
 * The functions carry their loop as their own data: napi_unwrap(this) would be a look-up of a private property, which
 * costs as much as the rest of the call.
 */
#define METHOD(count)                                                                                          \
  napi_value arguments[(count) + 1];                                                                           \
  size_t given = (count);                                                                                      \
  void *data;                                                                                                  \
  if (!succeeded(env, napi_get_cb_info(env, info, &given, arguments, NULL, &data))) return NULL;               \
  struct loop *loop = data

static napi_value integer(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

static napi_value loop_run(napi_env env, napi_callback_info info) {
  METHOD(1);
  if (!take_function(env, arguments[0], "turn")) return NULL;
  if (loop->runner != NULL) {
    napi_throw_error(env, "ERR_ALREADY_RUNNING", "the loop runs already");
    return NULL;
  }
  if (epoll_set_add(loop->set, uv_backend_fd(loop->uv), EPOLLIN, TAG_LIBUV, 0) == -1) {
    return throw_system_call(env, "epoll_ctl", errno, NULL);
  }
  struct runner *runner = calloc(1, sizeof *runner);
  if (runner == NULL || napi_create_reference(env, arguments[0], 1, &loop->turn) != napi_ok) {
    free(runner);
    epoll_set_remove(loop->set, uv_backend_fd(loop->uv));
    return throw_system_call(env, "run", ENOMEM, NULL);
  }
  environment_add_handle(environment_of(env), &runner->handle, close_runner);
  runner->loop = loop;
  loop->references++;
  runner->check.data = runner->idle.data = runner;
  uv_check_init(loop->uv, &runner->check);
  uv_idle_init(loop->uv, &runner->idle);
  uv_check_start(&runner->check, on_check);
  uv_idle_start(&runner->idle, on_idle);
  loop->runner = runner;
  return NULL;
}

static napi_value loop_stop(napi_env env, napi_callback_info info) {
  METHOD(0);
  stop_running(loop);
  return NULL;
}

typedef int epoll_change(int set, int fd, uint32_t events, uint32_t tag, uint32_t index);

static napi_value change(napi_env env, napi_callback_info info, epoll_change *apply, bool is_lazy) {
  METHOD(4);
  int fd;
  int64_t events, tag, index;
  if (!take_descriptor(env, arguments[0], "fd", &fd) ||
      !take_integer(env, arguments[1], "events", 0, UINT32_MAX, &events) ||
      !take_integer(env, arguments[2], "tag", 0, HIGHEST_TAG, &tag) ||
      !take_integer(env, arguments[3], "index", 0, UINT32_MAX, &index)) {
    return NULL;
  }
  int set = is_lazy ? loop->lazy_set : loop->set;
  if (apply(set, fd, (uint32_t)events, (uint32_t)tag, (uint32_t)index) == -1) {
    return throw_system_call(env, "epoll_ctl", errno, NULL);
  }
  return NULL;
}

static napi_value loop_add(napi_env env, napi_callback_info info) { return change(env, info, epoll_set_add, false); }

static napi_value loop_add_lazy(napi_env env, napi_callback_info info) { return change(env, info, epoll_set_add, true); }

static napi_value loop_modify(napi_env env, napi_callback_info info) {
  return change(env, info, epoll_set_modify, false);
}

static napi_value drop(napi_env env, napi_callback_info info, bool is_lazy) {
  METHOD(1);
  int fd;
  if (!take_descriptor(env, arguments[0], "fd", &fd)) return NULL;
  if (epoll_set_remove(is_lazy ? loop->lazy_set : loop->set, fd) == -1) {
    return throw_system_call(env, "epoll_ctl", errno, NULL);
  }
  return NULL;
}

static napi_value loop_remove(napi_env env, napi_callback_info info) { return drop(env, info, false); }

static napi_value loop_remove_lazy(napi_env env, napi_callback_info info) { return drop(env, info, true); }

/* libuv's timeout in milliseconds: 0 if it wants a turn now, -1 if no timer runs. */
static int libuv_timeout(struct loop *loop) {
  int timeout = uv_backend_timeout(loop->uv);
  if (timeout <= 0) return timeout; /* without a timer it does not depend on libuv's clock */
  uv_update_time(loop->uv);
  return uv_backend_timeout(loop->uv);
}

/* Copies events to the shared array, from `*count` on; those of the loop's own are noted and left out. */
static void report_events(struct loop *loop, int found, int *count) {
  for (int i = 0; i < found; i++) {
    const struct epoll_event *event = &loop->space[i];
    switch (epoll_event_tag(event)) {
      case TAG_LIBUV:
        loop->flags[0] = 1;
        break;
      case TAG_LAZY:
        loop->lazy_armed = false;
        break;
      default: {
        uint32_t *words = loop->events + 3 * (size_t)(*count)++;
        words[0] = event->events;
        words[1] = epoll_event_tag(event);
        words[2] = epoll_event_index(event);
      }
    }
  }
}

static bool arm_lazy_set(struct loop *loop) {
  if (loop->lazy_armed) return true;
  loop->lazy_armed = epoll_set_modify(loop->set, loop->lazy_set, EPOLLIN | EPOLLONESHOT, TAG_LAZY, 0) == 0;
  return loop->lazy_armed;
}

static napi_value loop_wait(napi_env env, napi_callback_info info) {
  METHOD(2);
  double timeout, patience;
  if (!take_number(env, arguments[0], "timeout", &timeout) || !take_number(env, arguments[1], "patience", &patience)) {
    return NULL;
  }
  if (patience > 0 && !loop->lazy_missed) {
    if (timeout < 0 || patience < timeout) timeout = patience;
  } else if (!arm_lazy_set(loop) && (timeout < 0 || timeout > UNARMED_PATIENCE)) {
    timeout = UNARMED_PATIENCE; /* ENOMEM: its events are looked at below all the same */
  }
  int limit = -1;
  if (loop->runner != NULL) {
    limit = libuv_timeout(loop);
    if (limit == 0) loop->flags[0] = 1;
    if (limit >= 0 && (timeout < 0 || limit < timeout)) timeout = limit;
  }
  int most = (int)loop->most_events, count = 0;
  double waits_since = timeout == 0 ? -1 : clock_monotonic(); /* from the vdso: no system call */
  int found = epoll_set_wait(loop->set, loop->space, most, timeout);
  if (found == -1) return throw_system_call(env, "epoll_wait", errno, NULL);
  report_events(loop, found, &count);
  loop->lazy_missed = !loop->lazy_armed && count == most;
  if (!loop->lazy_armed && count < most) {
    found = epoll_set_wait(loop->lazy_set, loop->space, most - count, 0);
    if (found == -1) return throw_system_call(env, "epoll_wait", errno, NULL);
    report_events(loop, found, &count);
  }
  if (limit > 0 && libuv_timeout(loop) == 0) loop->flags[0] = 1;
  clock_read(loop->clock, loop->clock_words);
  if (waits_since >= 0) loop->clock[2] += loop->clock[0] - waits_since;
  return integer(env, count);
}

static napi_value loop_pause(napi_env env, napi_callback_info info) {
  METHOD(1);
  double milliseconds;
  if (!take_number(env, arguments[0], "milliseconds", &milliseconds)) return NULL;
  if (!(milliseconds >= 0 && milliseconds <= 1)) {
    throw_range(env, "milliseconds", "0 to 1");
    return NULL;
  }
  double since = clock_monotonic();
  clock_pause(milliseconds);
  loop->clock[2] += clock_monotonic() - since;
  return NULL;
}

static napi_value loop_accept(napi_env env, napi_callback_info info) {
  METHOD(2);
  int listener;
  int64_t most;
  if (!take_descriptor(env, arguments[0], "listener", &listener) ||
      !take_integer(env, arguments[1], "max", 0, loop->most_peeks, &most)) {
    return NULL;
  }
  int count = tcp_accept_batch(listener, (int)most, &loop->peek, &loop->flags[1]);
  return integer(env, count);
}

static napi_value loop_peek(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t count;
  if (!take_integer(env, arguments[0], "count", 0, loop->most_peeks, &count)) return NULL;
  tcp_peek_batch((int)count, &loop->peek);
  return NULL;
}

static napi_value loop_send(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t count;
  if (!take_integer(env, arguments[0], "count", 0, loop->send.capacity, &count)) return NULL;
  if (send_batch_check(&loop->send, (int)count) != -1) {
    throw_range(env, "sendOffsets[i] + sendLengths[i]", "within sendBuffer");
    return NULL;
  }
  send_batch_send(&loop->send, (int)count);
  return NULL;
}

static napi_value loop_receive(napi_env env, napi_callback_info info) {
  METHOD(1);
  int channel;
  if (!take_descriptor(env, arguments[0], "channel", &channel)) return NULL;
  return integer(env, receive_batch_receive(&loop->receive, channel, false));
}

static napi_value loop_close(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t count;
  if (!take_integer(env, arguments[0], "count", 0, loop->most_closes, &count)) return NULL;
  return integer(env, closer_close_all(loop->close_descriptors, (int)count));
}

static napi_value loop_destroy(napi_env env, napi_callback_info info) {
  METHOD(0);
  if (loop->set != -1) close(loop->set);
  if (loop->lazy_set != -1) close(loop->lazy_set);
  loop->set = loop->lazy_set = -1;
  stop_running(loop);
  return NULL;
}

/* --- construction ------------------------------------------------------------------------------------------------- */

struct sizes {
  int64_t events, peeks, peek_bytes, sends, send_bytes, closes;
};

static bool take_size(napi_env env, napi_value object, const char *name, int64_t most, int64_t *out) {
  napi_value value;
  if (!take_property(env, object, name, &value)) return false;
  if (value == NULL) return throw_range(env, name, "given");
  return take_integer(env, value, name, 1, most, out);
}

static bool take_sizes(napi_env env, napi_value object, struct sizes *out) {
  return take_size(env, object, "events", 1 << 16, &out->events) &&
         take_size(env, object, "peeks", 1 << 16, &out->peeks) &&
         take_size(env, object, "peekBytes", 1 << 20, &out->peek_bytes) &&
         take_size(env, object, "sends", 1 << 16, &out->sends) &&
         take_size(env, object, "sendBytes", 1 << 28, &out->send_bytes) &&
         take_size(env, object, "closes", 1 << 16, &out->closes);
}

/* Defines the arrays on `object`. */
static bool make_arrays(napi_env env, napi_value object, struct loop *loop, const struct sizes *sizes) {
  const struct shared_array arrays[] = {
      {"events", napi_uint32_array, 4, 3 * (size_t)sizes->events, &loop->events},
      {"clock", napi_float64_array, 8, 3, &loop->clock},
      {"clockWords", napi_uint32_array, 4, 2, &loop->clock_words},
      {"flags", napi_int32_array, 4, 3, &loop->flags},
      {"peekDescriptors", napi_int32_array, 4, (size_t)sizes->peeks, &loop->peek.descriptors},
      {"peekLengths", napi_int32_array, 4, (size_t)sizes->peeks, &loop->peek.lengths},
      {"peekBuffer", napi_uint8_array, 1, (uint64_t)(sizes->peeks * sizes->peek_bytes), &loop->peek.buffer},
      {"peekAddresses", napi_uint8_array, 1, (size_t)sizes->peeks * TCP_ADDRESS_PACKED, &loop->peek.addresses},
      {"sendChannels", napi_int32_array, 4, (size_t)sizes->sends, &loop->send.channels},
      {"sendDescriptors", napi_int32_array, 4, (size_t)sizes->sends, &loop->send.descriptors},
      {"sendOffsets", napi_uint32_array, 4, (size_t)sizes->sends, &loop->send.offsets},
      {"sendLengths", napi_uint32_array, 4, (size_t)sizes->sends, &loop->send.lengths},
      {"sendBuffer", napi_uint8_array, 1, (size_t)sizes->send_bytes, &loop->send.buffer},
      {"sendResults", napi_int32_array, 4, (size_t)sizes->sends, &loop->send.results},
      {"closeDescriptors", napi_int32_array, 4, (size_t)sizes->closes, &loop->close_descriptors},
  };
  enum { ARRAYS = sizeof arrays / sizeof *arrays };
  napi_value buffer, received;
  size_t end;
  loop->memory = shared_arrays_define(env, object, arrays, ARRAYS, receive_batch_size(RECEIVE_STRIDE), &buffer, &end);
  if (loop->memory == NULL) return false;
  if (!receive_batch_object(env, loop->memory, buffer, end, RECEIVE_STRIDE, &loop->receive, &received)) return false;
  napi_property_descriptor property = {.utf8name = "received", .value = received, .attributes = napi_enumerable};
  return succeeded(env, napi_define_properties(env, object, 1, &property));
}

/* Defines the functions on `object`. Each keeps the loop until it is collected. */
static bool make_functions(napi_env env, napi_value object, struct loop *loop) {
  static const struct {
    const char *name;
    napi_callback callback;
  } functions[] = {
      {"run", loop_run},         {"stop", loop_stop},       {"add", loop_add},     {"modify", loop_modify},
      {"addLazy", loop_add_lazy}, {"removeLazy", loop_remove_lazy}, {"remove", loop_remove},   {"wait", loop_wait},       {"accept", loop_accept}, {"pause", loop_pause}, {"peek", loop_peek},
      {"send", loop_send},       {"receive", loop_receive}, {"close", loop_close}, {"destroy", loop_destroy},
  };
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    if (!succeeded(env, napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].callback, loop,
                                             &function)) ||
        !succeeded(env, napi_add_finalizer(env, function, loop, finalize_function, NULL, NULL))) {
      return false;
    }
    loop->references++;
    napi_property_descriptor property = {
        .utf8name = functions[i].name, .value = function, .attributes = napi_enumerable};
    if (!succeeded(env, napi_define_properties(env, object, 1, &property))) return false;
  }
  return true;
}

static bool make_loop(napi_env env, napi_value object, struct loop *loop, const struct sizes *sizes) {
  loop->env = env;
  loop->uv = environment_of(env)->uv;
  loop->most_events = sizes->events;
  loop->most_peeks = sizes->peeks;
  loop->most_closes = sizes->closes;
  loop->peek.stride = (size_t)sizes->peek_bytes;
  loop->send.capacity = (int)sizes->sends;
  loop->send.buffer_length = (size_t)sizes->send_bytes;
  loop->set = epoll_set_open();
  loop->lazy_set = epoll_set_open();
  if (loop->set == -1 || loop->lazy_set == -1) {
    throw_system_call(env, "epoll_create1", errno, NULL);
    return false;
  }
  if (epoll_set_add(loop->set, loop->lazy_set, EPOLLIN | EPOLLONESHOT, TAG_LAZY, 0) == -1) {
    throw_system_call(env, "epoll_ctl", errno, NULL);
    return false;
  }
  loop->lazy_armed = true;
  loop->space = calloc((size_t)sizes->events, sizeof *loop->space);
  loop->send.headers = calloc((size_t)sizes->sends, sizeof *loop->send.headers);
  loop->send.slots = calloc((size_t)sizes->sends, sizeof *loop->send.slots);
  if (loop->space == NULL || loop->send.headers == NULL || loop->send.slots == NULL) {
    throw_system_call(env, "createLoop", ENOMEM, NULL);
    return false;
  }
  if (!make_arrays(env, object, loop, sizes)) return false;
  loop->peek.most = &loop->flags[2];
  loop->flags[2] = (int32_t)sizes->peek_bytes;
  send_batch_prepare(&loop->send);
  clock_read(loop->clock, loop->clock_words);
  return make_functions(env, object, loop);
}

napi_value create_loop(napi_env env, napi_callback_info info) {
  napi_value argument, object;
  struct sizes sizes = {0};
  if (!take_arguments(env, info, 1, &argument, NULL) || !take_sizes(env, argument, &sizes)) return NULL;
  if (!succeeded(env, napi_create_object(env, &object))) return NULL;
  struct loop *loop = calloc(1, sizeof *loop);
  if (loop == NULL) return throw_system_call(env, "createLoop", ENOMEM, NULL);
  loop->set = loop->lazy_set = -1;
  loop->references = 1;
  bool made = make_loop(env, object, loop, &sizes);
  release_loop(loop); /* the functions have references of their own */
  return made ? object : NULL;
}
