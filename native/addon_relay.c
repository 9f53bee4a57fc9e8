/* What the relay's workers call, of src/native/addon.ts: `createSplicer` and the making of connections. */

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "addon.h"
#include "arguments.h"
#include "splicer.h"
#include "tcp_address.h"
#include "tcp_dial.h"

/* --- the splicer -------------------------------------------------------------------------------------------------- */

struct splicer_object {
  unsigned references; /* one for each of its functions */
  int64_t rows, batch;
  struct shared_memory *memory;
  struct splicer splicer;
};

static void release_splicer(struct splicer_object *object) {
  if (--object->references > 0) return;
  if (object->memory != NULL) {
    /* Pairs that are still there lose their pipes, not their sockets. */
    for (int64_t i = 0; i < 2 * object->rows; i++) {
      int pipe = object->splicer.pipes[i];
      if (pipe == -1) continue;
      close(object->splicer.pool[pipe].read);
      close(object->splicer.pool[pipe].write);
    }
    splicer_trim(&object->splicer, 0);
  }
  free(object->splicer.pipes);
  free(object->splicer.held);
  free(object->splicer.pool);
  free(object->splicer.free);
  shared_memory_release(object->memory);
  free(object);
}

static void finalize_function(napi_env env, void *data, void *hint) {
  (void)env, (void)hint;
  release_splicer(data);
}

/* The functions carry their splicer as their own data, as a loop's do. */
#define METHOD(count)                                                                                          \
  napi_value arguments[(count) + 1];                                                                           \
  size_t given = (count);                                                                                      \
  void *data;                                                                                                  \
  if (!succeeded(env, napi_get_cb_info(env, info, &given, arguments, NULL, &data))) return NULL;               \
  struct splicer_object *object = data

static napi_value splicer_object_move(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t count;
  if (!take_integer(env, arguments[0], "count", 0, object->batch, &count)) return NULL;
  for (int64_t i = 0; i < count; i++) {
    if (object->splicer.rows[i] >= 0 && object->splicer.rows[i] < object->rows) continue;
    throw_range(env, "rows[i]", "a row");
    return NULL;
  }
  splicer_move(&object->splicer, (int)count);
  return NULL;
}

static napi_value splicer_object_release(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t row;
  if (!take_integer(env, arguments[0], "row", 0, object->rows - 1, &row)) return NULL;
  splicer_release(&object->splicer, (int32_t)row);
  return NULL;
}

static napi_value splicer_object_trim(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t keep;
  if (!take_integer(env, arguments[0], "keep", 0, INT_MAX, &keep)) return NULL;
  splicer_trim(&object->splicer, (int)keep);
  return NULL;
}

static napi_value splicer_object_close(napi_env env, napi_callback_info info) {
  METHOD(1);
  int64_t count;
  if (!take_integer(env, arguments[0], "count", 0, object->batch, &count)) return NULL;
  splicer_close(object->splicer.closes, (int)count);
  return NULL;
}

static bool take_size(napi_env env, napi_value options, const char *name, int64_t most, int64_t *out) {
  *out = 0;
  if (!take_integer_property(env, options, name, 1, most, out)) return false;
  return *out > 0 || throw_range(env, name, "given");
}

static bool make_splicer(napi_env env, napi_value target, struct splicer_object *object) {
  struct splicer *splicer = &object->splicer;
  size_t rows = (size_t)object->rows, batch = (size_t)object->batch;
  const struct shared_array arrays[] = {
      {"descriptors", napi_int32_array, 4, 2 * rows, &splicer->descriptors},
      {"errors", napi_int32_array, 4, 2 * rows, &splicer->errors},
      {"flags", napi_uint32_array, 4, rows, &splicer->flags},
      {"rows", napi_int32_array, 4, batch, &splicer->rows},
      {"outcomes", napi_uint32_array, 4, batch, &splicer->outcomes},
      {"bytes", napi_float64_array, 8, 2 * batch, &splicer->bytes},
      {"pool", napi_int32_array, 4, 2, &splicer->pool_state},
      {"closes", napi_int32_array, 4, batch, &splicer->closes},
  };
  static const struct {
    const char *name;
    napi_callback callback;
  } functions[] = {
      {"move", splicer_object_move},
      {"release", splicer_object_release},
      {"trim", splicer_object_trim},
      {"close", splicer_object_close},
  };
  napi_value buffer;
  size_t end;
  splicer->pipes = calloc(2 * rows, sizeof *splicer->pipes);
  splicer->held = calloc(2 * rows, sizeof *splicer->held);
  splicer->pool = calloc((size_t)splicer->most_pipes, sizeof *splicer->pool);
  splicer->free = calloc((size_t)splicer->most_pipes, sizeof *splicer->free);
  if (splicer->pipes == NULL || splicer->held == NULL || splicer->pool == NULL || splicer->free == NULL) {
    throw_system_call(env, "calloc", ENOMEM, NULL);
    return false;
  }
  object->memory =
      shared_arrays_define(env, target, arrays, sizeof arrays / sizeof *arrays, 0, &buffer, &end);
  if (object->memory == NULL) return false;
  splicer_prepare(splicer, rows);
  for (size_t i = 0; i < sizeof functions / sizeof *functions; i++) {
    napi_value function;
    if (!succeeded(env, napi_create_function(env, functions[i].name, NAPI_AUTO_LENGTH, functions[i].callback, object,
                                             &function)) ||
        !succeeded(env, napi_add_finalizer(env, function, object, finalize_function, NULL, NULL))) {
      return false;
    }
    object->references++;
    if (!put(env, target, functions[i].name, function)) return false;
  }
  return true;
}

napi_value create_splicer(napi_env env, napi_callback_info info) {
  napi_value options, target;
  int64_t rows, batch, pipes, pipe_bytes;
  if (!take_arguments(env, info, 1, &options, NULL) || !take_size(env, options, "rows", 1 << 22, &rows) ||
      !take_size(env, options, "batch", 1 << 16, &batch) || !take_size(env, options, "pipes", 1 << 22, &pipes) ||
      !take_size(env, options, "pipeBytes", 1 << 20, &pipe_bytes) ||
      !succeeded(env, napi_create_object(env, &target))) {
    return NULL;
  }
  struct splicer_object *object = calloc(1, sizeof *object);
  if (object == NULL) return throw_system_call(env, "createSplicer", ENOMEM, NULL);
  object->references = 1;
  object->rows = rows;
  object->batch = batch;
  object->splicer.most_pipes = (int)pipes;
  object->splicer.pipe_bytes = (int)pipe_bytes;
  bool made = make_splicer(env, target, object);
  release_splicer(object); /* the functions have references of their own */
  return made ? target : NULL;
}

/* --- making connections ------------------------------------------------------------------------------------------- */

static napi_value integer(napi_env env, int32_t value) {
  napi_value result = NULL;
  napi_create_int32(env, value, &result);
  return result;
}

#define ARGUMENTS(count)          \
  napi_value arguments[count];    \
  if (!take_arguments(env, info, count, arguments, NULL)) return NULL

napi_value get_socket_address(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  char text[128];
  int64_t port;
  struct sockaddr_storage address;
  if (!take_text(env, arguments[0], "address", text, sizeof text) ||
      !take_integer(env, arguments[1], "port", 1, 65535, &port)) {
    return NULL;
  }
  socklen_t length = tcp_address_parse(text, (uint16_t)port, &address);
  if (length == 0) return throw_system_call(env, "inet_pton", errno, text);
  void *bytes;
  napi_value buffer, result;
  if (!succeeded(env, napi_create_arraybuffer(env, length, &bytes, &buffer))) return NULL;
  memcpy(bytes, &address, length);
  bool made = succeeded(env, napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &result));
  return made ? result : NULL;
}

/* Copies the bytes of a sockaddr_in or sockaddr_in6. */
static bool is_socket_address(const uint8_t *bytes, size_t length, struct sockaddr_storage *out) {
  if (length != sizeof(struct sockaddr_in) && length != sizeof(struct sockaddr_in6)) return false;
  memcpy(out, bytes, length);
  return out->ss_family == (length == sizeof(struct sockaddr_in) ? AF_INET : AF_INET6);
}

napi_value dial(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  const uint8_t *bytes;
  size_t length;
  bool speaks_first;
  struct sockaddr_storage address;
  if (!take_bytes(env, arguments[0], "address", &bytes, &length) ||
      !take_boolean(env, arguments[1], "speaksFirst", &speaks_first)) {
    return NULL;
  }
  if (!is_socket_address(bytes, length, &address)) {
    throw_range(env, "address", "made by socketAddress");
    return NULL;
  }
  int fd = tcp_dial(&address, (socklen_t)length, speaks_first);
  return integer(env, fd == -1 ? -errno : fd);
}

napi_value keep_alive(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  int fd;
  if (!take_descriptor(env, arguments[0], "fd", &fd)) return NULL;
  return integer(env, tcp_keep_alive(fd) == -1 ? errno : 0);
}

napi_value get_pending_error(napi_env env, napi_callback_info info) {
  ARGUMENTS(1);
  int fd;
  if (!take_descriptor(env, arguments[0], "fd", &fd)) return NULL;
  return integer(env, tcp_pending_error(fd));
}

napi_value send_first(napi_env env, napi_callback_info info) {
  ARGUMENTS(4);
  int fd;
  const uint8_t *bytes;
  size_t available;
  int64_t length;
  bool more;
  if (!take_descriptor(env, arguments[0], "fd", &fd) ||
      !take_bytes(env, arguments[1], "bytes", &bytes, &available) ||
      !take_integer(env, arguments[2], "length", 0, (int64_t)available, &length) ||
      !take_boolean(env, arguments[3], "more", &more)) {
    return NULL;
  }
  return integer(env, tcp_send_first(fd, bytes, (size_t)length, more));
}

/* Peer and own address, packed, to out[0..40). Returns 0 or the errno. */
napi_value get_packed_addresses(napi_env env, napi_callback_info info) {
  ARGUMENTS(2);
  int fd;
  const uint8_t *bytes;
  size_t length;
  if (!take_descriptor(env, arguments[0], "fd", &fd) || !take_bytes(env, arguments[1], "out", &bytes, &length)) {
    return NULL;
  }
  if (length < 2 * TCP_ADDRESS_PACKED) {
    throw_range(env, "out", "at least 40 bytes");
    return NULL;
  }
  struct sockaddr_storage peer = {0}, own = {0};
  socklen_t peer_length = sizeof peer, own_length = sizeof own;
  if (getpeername(fd, (struct sockaddr *)&peer, &peer_length) == -1 ||
      getsockname(fd, (struct sockaddr *)&own, &own_length) == -1) {
    return integer(env, errno);
  }
  tcp_address_pack(&peer, (uint8_t *)bytes);
  tcp_address_pack(&own, (uint8_t *)bytes + TCP_ADDRESS_PACKED);
  return integer(env, 0);
}
