/* The addon: what src/native/addon.ts calls `Addon`, except addon_loop.c, addon_watch.c, addon_relay.c and addon_privilege.c. */

#include "addon.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "arguments.h"
#include "closer.h"
#include "datagram.h"
#include "descriptor.h"
#include "errno_name.h"
#include "messages.h"
#include "tcp_address.h"
#include "tcp_listen.h"
#include "tcp_state.h"
#include "unix_socket.h"

/* --- the environment ---------------------------------------------------------------------------------------------- */

struct environment *environment_of(napi_env env) {
  void *environment = NULL;
  napi_get_instance_data(env, &environment);
  return environment;
}

static void environment_release(struct environment *environment) {
  if (--environment->references == 0) free(environment);
}

static void finalize_environment(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  environment_release(data);
}

/* The environment waits for the hook's removal, running libuv's loop. */
static void end_if_all_closed(struct environment *environment) {
  if (environment->ended && environment->open == NULL) napi_remove_async_cleanup_hook(environment->hook);
}

static void clean_up(napi_async_cleanup_hook_handle hook, void *data) {
  struct environment *environment = data;
  environment->hook = hook;
  environment->ended = true;
  for (struct open_handle *handle = environment->open; handle != NULL; handle = handle->next) handle->close(handle);
  end_if_all_closed(environment);
}

void environment_add_handle(struct environment *environment, struct open_handle *handle,
                            void (*close)(struct open_handle *)) {
  handle->environment = environment;
  handle->close = close;
  handle->next = environment->open;
  handle->link = &environment->open;
  if (handle->next != NULL) handle->next->link = &handle->next;
  environment->open = handle;
  environment->references++;
}

void environment_drop_handle(struct open_handle *handle) {
  struct environment *environment = handle->environment;
  *handle->link = handle->next;
  if (handle->next != NULL) handle->next->link = handle->link;
  end_if_all_closed(environment);
  environment_release(environment);
}

/* --- errors ------------------------------------------------------------------------------------------------------- */

napi_value throw_system_call(napi_env env, const char *call, int error, const char *subject) {
  struct environment *environment = environment_of(env);
  char space[ERRNO_NAME_SPACE];
  napi_value class, arguments[5], instance;
  if (succeeded(env, napi_get_reference_value(env, environment->error_class, &class)) &&
      succeeded(env, napi_create_string_utf8(env, call, NAPI_AUTO_LENGTH, &arguments[0])) &&
      succeeded(env, napi_create_string_utf8(env, errno_name(error, space), NAPI_AUTO_LENGTH, &arguments[1])) &&
      succeeded(env, napi_create_int32(env, error, &arguments[2])) &&
      succeeded(env, napi_create_string_utf8(env, strerror(error), NAPI_AUTO_LENGTH, &arguments[3])) &&
      succeeded(env, subject == NULL ? napi_get_undefined(env, &arguments[4])
                                     : napi_create_string_utf8(env, subject, NAPI_AUTO_LENGTH, &arguments[4])) &&
      succeeded(env, napi_new_instance(env, class, 5, arguments, &instance))) {
    napi_throw(env, instance);
  }
  return NULL;
}

bool report_exception(napi_env env) {
  bool pending = false;
  napi_value exception;
  napi_is_exception_pending(env, &pending);
  if (!pending || napi_get_and_clear_last_exception(env, &exception) != napi_ok) return false;
  return napi_fatal_exception(env, exception) == napi_ok;
}

/* --- shared memory ------------------------------------------------------------------------------------------------ */

struct shared_memory *shared_memory_create(size_t length) {
  struct shared_memory *memory = calloc(1, sizeof *memory + length);
  if (memory == NULL) return NULL;
  memory->length = length;
  memory->references = 1;
  return memory;
}

void shared_memory_release(struct shared_memory *memory) {
  if (memory != NULL && --memory->references == 0) free(memory);
}

static void finalize_buffer(napi_env env, void *data, void *memory) {
  (void)env, (void)data;
  shared_memory_release(memory);
}

bool shared_memory_buffer(napi_env env, struct shared_memory *memory, napi_value *out) {
  memory->references++;
  napi_status status =
      napi_create_external_arraybuffer(env, memory->bytes, memory->length, finalize_buffer, memory, out);
  if (status != napi_ok) memory->references--;
  return succeeded(env, status);
}

bool shared_memory_view(napi_env env, napi_value object, const char *name, napi_typedarray_type type, napi_value buffer,
                        size_t offset, size_t count) {
  napi_value view;
  if (!succeeded(env, napi_create_typedarray(env, type, count, buffer, offset, &view))) return false;
  napi_property_descriptor property = {.utf8name = name, .value = view, .attributes = napi_enumerable};
  return succeeded(env, napi_define_properties(env, object, 1, &property));
}

struct shared_memory *shared_arrays_define(napi_env env, napi_value object, const struct shared_array *arrays,
                                           size_t count, size_t extra, napi_value *buffer, size_t *end) {
  uint64_t total = 0;
  for (size_t i = 0; i < count; i++) total += (arrays[i].width * arrays[i].count + 15) & ~UINT64_C(15);
  struct shared_memory *memory = total <= INT_MAX ? shared_memory_create((size_t)total + extra) : NULL;
  if (memory == NULL) {
    throw_system_call(env, "calloc", ENOMEM, NULL);
    return NULL;
  }
  bool made = shared_memory_buffer(env, memory, buffer);
  *end = 0;
  for (size_t i = 0; made && i < count; i++) {
    void *address = memory->bytes + *end;
    memcpy(arrays[i].pointer, &address, sizeof address);
    size_t elements = (size_t)arrays[i].count;
    made = shared_memory_view(env, object, arrays[i].name, arrays[i].type, *buffer, *end, elements);
    *end += (size_t)((arrays[i].width * arrays[i].count + 15) & ~UINT64_C(15));
  }
  if (made) return memory;
  shared_memory_release(memory);
  return NULL;
}

/* The arrays of a receive batch, behind its buffer, one behind the other; all lengths are multiples of 16 except the last. */
enum {
  BATCH_LENGTHS = 0,
  BATCH_ARRIVALS = BATCH_LENGTHS + RECEIVE_CAPACITY * 4,
  BATCH_DESCRIPTORS = BATCH_ARRIVALS + RECEIVE_CAPACITY * 4,
  BATCH_CREDENTIALS = BATCH_DESCRIPTORS + RECEIVE_CAPACITY * 4,
  BATCH_END = BATCH_CREDENTIALS + RECEIVE_CAPACITY * 12,
  BATCH_SIZE = BATCH_END + 3 * 4,
};

size_t receive_batch_size(size_t stride) { return RECEIVE_CAPACITY * stride + BATCH_SIZE; }

bool receive_batch_object(napi_env env, struct shared_memory *memory, napi_value buffer, size_t start_of_buffer,
                          size_t stride, struct receive_batch *batch, napi_value *out) {
  size_t offset = start_of_buffer + RECEIVE_CAPACITY * stride;
  uint8_t *start = memory->bytes + offset;
  batch->stride = stride;
  batch->buffer = memory->bytes + start_of_buffer;
  batch->lengths = (int32_t *)(start + BATCH_LENGTHS);
  batch->arrivals = (int32_t *)(start + BATCH_ARRIVALS);
  batch->descriptors = (int32_t *)(start + BATCH_DESCRIPTORS);
  batch->credentials = (int32_t *)(start + BATCH_CREDENTIALS);
  batch->end = (int32_t *)(start + BATCH_END);
  receive_batch_prepare(batch);
  if (!succeeded(env, napi_create_object(env, out))) return false;
  return put_number(env, *out, "capacity", RECEIVE_CAPACITY) && put_number(env, *out, "stride", (double)stride) &&
         shared_memory_view(env, *out, "buffer", napi_uint8_array, buffer, start_of_buffer,
                            RECEIVE_CAPACITY * stride) &&
         shared_memory_view(env, *out, "lengths", napi_int32_array, buffer, offset + BATCH_LENGTHS, RECEIVE_CAPACITY) &&
         shared_memory_view(env, *out, "arrivals", napi_int32_array, buffer, offset + BATCH_ARRIVALS,
                            RECEIVE_CAPACITY) &&
         shared_memory_view(env, *out, "descriptors", napi_int32_array, buffer, offset + BATCH_DESCRIPTORS,
                            RECEIVE_CAPACITY) &&
         shared_memory_view(env, *out, "credentials", napi_int32_array, buffer, offset + BATCH_CREDENTIALS,
                            3 * RECEIVE_CAPACITY) &&
         shared_memory_view(env, *out, "end", napi_int32_array, buffer, offset + BATCH_END, 3);
}

/* --- results ------------------------------------------------------------------------------------------------------ */

static napi_value integer(napi_env env, int64_t value) {
  napi_value result = NULL;
  napi_create_int64(env, value, &result);
  return result;
}

static napi_value boolean(napi_env env, bool value) {
  napi_value result = NULL;
  napi_get_boolean(env, value, &result);
  return result;
}

/* A result of a system call: thrown if it is -1. */
static napi_value checked(napi_env env, const char *call, int64_t result) {
  return result == -1 ? throw_system_call(env, call, errno, NULL) : integer(env, result);
}

/* The same for calls that return nothing. */
static napi_value done(napi_env env, const char *call, int result) {
  if (result == -1) throw_system_call(env, call, errno, NULL);
  return NULL;
}

#define ARGUMENTS(count)          \
  napi_value arguments[count];    \
  if (!take_arguments(env, info, count, arguments, NULL)) return NULL

#define DESCRIPTOR(i, name) \
  int name;                 \
  if (!take_descriptor(env, arguments[i], #name, &name)) return NULL

/* --- descriptors -------------------------------------------------------------------------------------------------- */

static napi_value addon_close(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  if (!descriptor_is_open(fd)) return throw_system_call(env, "close", EBADF, NULL);
  closer_close(fd);
  return NULL;
}

static napi_value addon_duplicate(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  return checked(env, "fcntl", descriptor_duplicate(fd));
}

static napi_value addon_duplicate_onto(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, from);
  DESCRIPTOR(1, to);
  return done(env, "dup2", descriptor_duplicate_onto(from, to) == -1 ? -1 : 0);
}

static napi_value addon_ask_credentials(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  bool on;
  if (!take_boolean(env, arguments[1], "on", &on)) return NULL;
  return done(env, "setsockopt", unix_ask_credentials(fd, on));
}

static napi_value addon_set_non_blocking(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  bool on;
  if (!take_boolean(env, arguments[1], "on", &on)) return NULL;
  return done(env, "fcntl", descriptor_set_non_blocking(fd, on));
}

/* --- TCP ---------------------------------------------------------------------------------------------------------- */

/* Reads TcpListenOptions; `address` gets the text that `options` points to. */
static bool take_listen_options(napi_env env, napi_value object, struct tcp_listen_options *options, char *address,
                                size_t space) {
  napi_value text;
  int64_t port = -1, backlog = -1, defer_accept = 0;
  bool keep_alive = false, freebind = false, v6_only = false;
  napi_value v6_only_given;
  if (!take_property(env, object, "address", &text)) return false;
  if (text == NULL) napi_get_undefined(env, &text);
  if (!take_text(env, text, "address", address, space) ||
      !take_integer_property(env, object, "port", 0, 65535, &port) ||
      !take_integer_property(env, object, "backlog", 0, INT_MAX, &backlog) ||
      !take_integer_property(env, object, "deferAccept", 0, 3600, &defer_accept) ||
      !take_boolean_property(env, object, "keepAlive", &keep_alive) ||
      !take_boolean_property(env, object, "freebind", &freebind) ||
      !take_boolean_property(env, object, "v6Only", &v6_only) ||
      !take_property(env, object, "v6Only", &v6_only_given)) {
    return false;
  }
  if (port == -1 || backlog == -1) {
    throw_range(env, port == -1 ? "port" : "backlog", "given");
    return false;
  }
  *options = (struct tcp_listen_options){
      .address = address,
      .port = (uint16_t)port,
      .backlog = (int)backlog,
      .v6_only = v6_only_given == NULL ? -1 : v6_only,
      .freebind = freebind,
      .defer_accept = (int)defer_accept,
      .keep_alive = keep_alive,
  };
  return true;
}

enum { ADDRESS_SPACE = 128 };

static napi_value throw_listen_error(napi_env env, const char *call, const struct tcp_listen_options *options) {
  int error = errno;
  char subject[ADDRESS_SPACE + 10];
  snprintf(subject, sizeof subject, strchr(options->address, ':') != NULL ? "[%s]:%d" : "%s:%d", options->address,
           (int)options->port);
  return throw_system_call(env, call, error, subject);
}

static napi_value addon_listen_tcp(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char address[ADDRESS_SPACE];
  struct tcp_listen_options options;
  if (!take_listen_options(env, arguments[0], &options, address, sizeof address)) return NULL;
  const char *call;
  int fd = tcp_listen(&options, &call);
  return fd != -1 ? integer(env, fd) : throw_listen_error(env, call, &options);
}

static napi_value addon_adjust_listener(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  char address[ADDRESS_SPACE];
  struct tcp_listen_options options;
  if (!take_listen_options(env, arguments[1], &options, address, sizeof address)) return NULL;
  const char *call;
  return tcp_adjust_listener(fd, &options, &call) == 0 ? NULL : throw_listen_error(env, call, &options);
}

static napi_value addon_refuse_new_clients(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  return done(env, "setsockopt", tcp_refuse_new_clients(fd));
}

static napi_value address_object(napi_env env, const struct tcp_address *address) {
  napi_value object;
  bool made = succeeded(env, napi_create_object(env, &object)) &&
              put_text(env, object, "family", address->v6 ? "IPv6" : "IPv4", NAPI_AUTO_LENGTH) &&
              put_text(env, object, "address", address->text, NAPI_AUTO_LENGTH) &&
              put_number(env, object, "port", address->port);
  return made ? object : NULL;
}

static napi_value addon_tcp_socket(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  struct tcp_description found;
  int result = tcp_describe(fd, &found);
  if (result == -1) return throw_system_call(env, "getsockopt", errno, NULL);
  if (result == 0) return NULL;
  napi_value object = address_object(env, &found.address);
  bool made = object != NULL && put(env, object, "listening", boolean(env, found.listening)) &&
              put(env, object, "v6Only", boolean(env, found.v6_only));
  return made ? object : NULL;
}

static napi_value addon_local_address(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  struct tcp_address address;
  if (tcp_address_local(fd, &address) == -1) return throw_system_call(env, "getsockname", errno, NULL);
  return address_object(env, &address);
}

static napi_value addon_peer_address(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  struct tcp_address address;
  if (tcp_address_peer(fd, &address) == -1) return throw_system_call(env, "getpeername", errno, NULL);
  return address_object(env, &address);
}

static napi_value addon_set_receive_low_water(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  int64_t bytes;
  if (!take_integer(env, arguments[1], "bytes", 1, INT_MAX, &bytes)) return NULL;
  return done(env, "setsockopt", tcp_set_receive_low_water(fd, (int)bytes));
}

static napi_value addon_intact(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  int64_t consumed;
  if (!take_integer(env, arguments[1], "consumed", 0, (int64_t)1 << 53, &consumed)) return NULL;
  return checked(env, "getsockopt", tcp_intact(fd, consumed));
}

static napi_value addon_farewell(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  DESCRIPTOR(0, fd);
  const uint8_t *bytes;
  size_t length;
  int64_t limit;
  if (!take_bytes(env, arguments[1], "bytes", &bytes, &length) ||
      !take_integer(env, arguments[2], "limit", 0, INT_MAX, &limit)) {
    return NULL;
  }
  int closed = tcp_farewell(fd, bytes, length, (size_t)limit);
  return closed == -1 ? throw_system_call(env, "shutdown", errno, NULL) : boolean(env, closed);
}

static napi_value addon_discard(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  int64_t limit;
  if (!take_integer(env, arguments[1], "limit", 0, INT_MAX, &limit)) return NULL;
  int closed = tcp_discard(fd, (size_t)limit);
  return closed == -1 ? throw_system_call(env, "recv", errno, NULL) : boolean(env, closed);
}

static napi_value addon_reset_on_close(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  return done(env, "setsockopt", tcp_reset_on_close(fd));
}

/* --- unix sockets ------------------------------------------------------------------------------------------------- */

static bool take_socket_type(napi_env env, napi_value value, int *out) {
  char text[16];
  if (!take_text(env, value, "type", text, sizeof text)) return false;
  *out = strcmp(text, "seqpacket") == 0 ? SOCK_SEQPACKET : strcmp(text, "stream") == 0 ? SOCK_STREAM : SOCK_DGRAM;
  if (*out != SOCK_DGRAM || strcmp(text, "dgram") == 0) return true;
  return throw_range(env, "type", "\"seqpacket\", \"stream\" or \"dgram\"");
}

static napi_value addon_listen_unix(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  char path[PATH_MAX];
  int type;
  int64_t backlog = -1, mode = -1, uid = -1, gid = -1;
  if (!take_text(env, arguments[0], "path", path, sizeof path) || !take_socket_type(env, arguments[1], &type) ||
      !take_integer_property(env, arguments[2], "backlog", 0, INT_MAX, &backlog) ||
      !take_integer_property(env, arguments[2], "mode", 0, 07777, &mode) ||
      !take_integer_property(env, arguments[2], "uid", -1, UINT32_MAX - 1, &uid) ||
      !take_integer_property(env, arguments[2], "gid", -1, UINT32_MAX - 1, &gid)) {
    return NULL;
  }
  if (backlog == -1) {
    throw_range(env, "backlog", "given");
    return NULL;
  }
  struct unix_listen_options options = {
      .backlog = (int)backlog, .mode = (int)mode, .uid = (uid_t)uid, .gid = (gid_t)gid};
  const char *call;
  int fd = unix_listen(path, type, &options, &call);
  return fd == -1 ? throw_system_call(env, call, errno, path) : integer(env, fd);
}

static napi_value addon_connect_unix(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  char path[PATH_MAX];
  int type;
  bool credentials = false, refuse_descriptors = false;
  if (!take_text(env, arguments[0], "path", path, sizeof path) || !take_socket_type(env, arguments[1], &type) ||
      !take_boolean_property(env, arguments[2], "credentials", &credentials) ||
      !take_boolean_property(env, arguments[2], "refuseDescriptors", &refuse_descriptors)) {
    return NULL;
  }
  const char *call;
  int fd = unix_connect(path, type, credentials, refuse_descriptors, &call);
  return fd == -1 ? throw_system_call(env, call, errno, path) : integer(env, fd);
}

static napi_value addon_accept_unix(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  int accepted = unix_accept(fd);
  if (accepted == -1 && errno != EAGAIN) return throw_system_call(env, "accept4", errno, NULL);
  return integer(env, accepted);
}

static napi_value addon_socket_pair(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  int type, pair[2];
  napi_value result;
  if (!take_socket_type(env, arguments[0], &type)) return NULL;
  if (unix_pair(type, pair) == -1) return throw_system_call(env, "socketpair", errno, NULL);
  bool made = succeeded(env, napi_create_array_with_length(env, 2, &result)) &&
              succeeded(env, napi_set_element(env, result, 0, integer(env, pair[0]))) &&
              succeeded(env, napi_set_element(env, result, 1, integer(env, pair[1])));
  if (made) return result;
  closer_close(pair[0]);
  closer_close(pair[1]);
  return NULL;
}

static napi_value addon_peer_credentials(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  struct ucred credentials;
  napi_value object;
  if (unix_peer_credentials(fd, &credentials) == -1) return throw_system_call(env, "getsockopt", errno, NULL);
  bool made = succeeded(env, napi_create_object(env, &object)) && put_number(env, object, "pid", credentials.pid) &&
              put_number(env, object, "uid", credentials.uid) && put_number(env, object, "gid", credentials.gid);
  return made ? object : NULL;
}

static napi_value addon_unix_socket(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  DESCRIPTOR(0, fd);
  struct unix_description found;
  int result = unix_describe(fd, &found);
  if (result == -1) return throw_system_call(env, "getsockopt", errno, NULL);
  if (result == 0) return NULL;
  const char *type = found.type == SOCK_STREAM ? "stream" : found.type == SOCK_SEQPACKET ? "seqpacket" : "dgram";
  napi_value object;
  bool made = succeeded(env, napi_create_object(env, &object)) &&
              put_text(env, object, "path", found.path, found.path_length) &&
              put_text(env, object, "type", type, NAPI_AUTO_LENGTH) &&
              put(env, object, "listening", boolean(env, found.listening));
  return made ? object : NULL;
}

static napi_value addon_shutdown(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  int64_t how;
  if (!take_integer(env, arguments[1], "how", SHUT_RD, SHUT_RDWR, &how)) return NULL;
  return done(env, "shutdown", shutdown(fd, (int)how));
}

static bool take_descriptors(napi_env env, napi_value value, int *out, uint32_t *count) {
  napi_valuetype type;
  if (!succeeded(env, napi_typeof(env, value, &type))) return false;
  *count = 0;
  if (type == napi_undefined) return true;
  if (napi_get_array_length(env, value, count) != napi_ok) return throw_range(env, "descriptors", "an array");
  if (*count > MESSAGE_MOST_DESCRIPTORS) return throw_range(env, "descriptors", "at most 253 (SCM_MAX_FD)");
  for (uint32_t i = 0; i < *count; i++) {
    napi_value element;
    if (!succeeded(env, napi_get_element(env, value, i, &element))) return false;
    if (!take_descriptor(env, element, "descriptors", &out[i])) return false;
  }
  return true;
}

static napi_value addon_reconnect_unix(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  DESCRIPTOR(0, fd);
  char path[PATH_MAX];
  if (!take_text(env, arguments[1], "path", path, sizeof path)) return NULL;
  return integer(env, unix_reconnect(fd, path));
}

static napi_value addon_pass_datagram(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  DESCRIPTOR(0, channel);
  DESCRIPTOR(1, fd);
  const uint8_t *bytes;
  size_t length;
  if (!take_bytes(env, arguments[2], "bytes", &bytes, &length)) return NULL;
  return integer(env, datagram_pass(channel, fd, (uint8_t *)bytes, length));
}

static napi_value addon_send_message(napi_env env, napi_callback_info info) {
  ARGUMENTS(3);
  DESCRIPTOR(0, fd);
  int descriptors[MESSAGE_MOST_DESCRIPTORS];
  uint32_t count;
  const uint8_t *bytes;
  size_t length;
  if (!take_descriptors(env, arguments[2], descriptors, &count) ||
      !take_bytes(env, arguments[1], "bytes", &bytes, &length)) {
    return NULL;
  }
  return integer(env, message_send(fd, bytes, length, descriptors, (int)count));
}

static napi_value addon_lock_folder(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  char path[PATH_MAX];
  if (!take_text(env, arguments[0], "path", path, sizeof path)) return NULL;
  const char *call;
  int fd = descriptor_lock_folder(path, &call);
  return fd == -1 ? throw_system_call(env, call, errno, path) : integer(env, fd);
}

/* --- the module --------------------------------------------------------------------------------------------------- */

/* `initialize(errorClass)`: makes the object behind the interface `Addon`. */
static napi_value initialize(napi_env env, napi_callback_info info) {
#define FUNCTION(text, function) {.utf8name = text, .method = function, .attributes = napi_enumerable}
  static const napi_property_descriptor functions[] = {
      FUNCTION("close", addon_close),
      FUNCTION("duplicate", addon_duplicate),
      FUNCTION("duplicateOnto", addon_duplicate_onto),
      FUNCTION("setNonBlocking", addon_set_non_blocking),
      FUNCTION("askCredentials", addon_ask_credentials),
      FUNCTION("listenTcp", addon_listen_tcp),
      FUNCTION("tcpSocket", addon_tcp_socket),
      FUNCTION("adjustListener", addon_adjust_listener),
      FUNCTION("refuseNewClients", addon_refuse_new_clients),
      FUNCTION("localAddress", addon_local_address),
      FUNCTION("peerAddress", addon_peer_address),
      FUNCTION("setReceiveLowWater", addon_set_receive_low_water),
      FUNCTION("intact", addon_intact),
      FUNCTION("farewell", addon_farewell),
      FUNCTION("discard", addon_discard),
      FUNCTION("resetOnClose", addon_reset_on_close),
      FUNCTION("listenUnix", addon_listen_unix),
      FUNCTION("connectUnix", addon_connect_unix),
      FUNCTION("acceptUnix", addon_accept_unix),
      FUNCTION("socketPair", addon_socket_pair),
      FUNCTION("peerCredentials", addon_peer_credentials),
      FUNCTION("unixSocket", addon_unix_socket),
      FUNCTION("shutdown", addon_shutdown),
      FUNCTION("reconnectUnix", addon_reconnect_unix),
      FUNCTION("passDatagram", addon_pass_datagram),
      FUNCTION("sendMessage", addon_send_message),
      FUNCTION("lockFolder", addon_lock_folder),
      FUNCTION("watch", create_watch),
      FUNCTION("watchMessages", create_message_watch),
      FUNCTION("landlockAbi", get_landlock_abi),
      FUNCTION("findAccount", find_account),
      FUNCTION("accountGroups", get_account_groups),
      FUNCTION("tryReading", try_reading_as),
      FUNCTION("execute", execute_restricted),
      FUNCTION("createLoop", create_loop),
      FUNCTION("createSplicer", create_splicer),
      FUNCTION("socketAddress", get_socket_address),
      FUNCTION("dial", dial),
      FUNCTION("keepAlive", keep_alive),
      FUNCTION("pendingError", get_pending_error),
      FUNCTION("sendFirst", send_first),
      FUNCTION("packedAddresses", get_packed_addresses),
  };
#undef FUNCTION
  ARGUMENTS(1);
  struct environment *environment = environment_of(env);
  napi_value addon;
  if (!take_function(env, arguments[0], "errorClass")) return NULL;
  if (environment->error_class != NULL) napi_delete_reference(env, environment->error_class);
  environment->error_class = NULL;
  if (!succeeded(env, napi_create_reference(env, arguments[0], 1, &environment->error_class)) ||
      !succeeded(env, napi_create_object(env, &addon)) ||
      !succeeded(env, napi_define_properties(env, addon, sizeof functions / sizeof *functions, functions))) {
    return NULL;
  }
  return addon;
}

NAPI_MODULE_INIT() {
  struct environment *environment = calloc(1, sizeof *environment);
  if (environment == NULL) {
    napi_throw_error(env, NULL, "out of memory");
    return NULL;
  }
  environment->env = env;
  environment->references = 1;
  if (!succeeded(env, napi_set_instance_data(env, environment, finalize_environment, NULL))) {
    free(environment);
    return NULL;
  }
  napi_value function;
  bool made = succeeded(env, napi_get_uv_event_loop(env, &environment->uv)) &&
              define_watches(environment) &&
              succeeded(env, napi_add_async_cleanup_hook(env, clean_up, environment, &environment->hook)) &&
              succeeded(env, napi_create_function(env, "initialize", NAPI_AUTO_LENGTH, initialize, NULL, &function)) &&
              put(env, exports, "initialize", function);
  return made ? exports : NULL;
}
