#include "arguments.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

bool succeeded(napi_env env, napi_status status) {
  if (status == napi_ok) return true;
  const napi_extended_error_info *information;
  bool pending;
  napi_get_last_error_info(env, &information);
  const char *message = information->error_message != NULL ? information->error_message : "Node-API call failed";
  if (napi_is_exception_pending(env, &pending) == napi_ok && !pending) napi_throw_error(env, NULL, message);
  return false;
}

bool take_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments, napi_value *this) {
  return succeeded(env, napi_get_cb_info(env, info, &count, arguments, this, NULL));
}

static bool throw_type(napi_env env, const char *name, const char *expected) {
  char message[160];
  snprintf(message, sizeof message, "%s must be %s", name, expected);
  napi_throw_type_error(env, "ERR_INVALID_ARG_TYPE", message);
  return false;
}

bool throw_range(napi_env env, const char *name, const char *expected) {
  char message[160];
  snprintf(message, sizeof message, "%s must be %s", name, expected);
  napi_throw_range_error(env, "ERR_OUT_OF_RANGE", message);
  return false;
}

bool take_number(napi_env env, napi_value value, const char *name, double *out) {
  if (napi_get_value_double(env, value, out) != napi_ok) return throw_type(env, name, "a number");
  return isnan(*out) ? throw_range(env, name, "a number, not NaN") : true;
}

bool take_integer(napi_env env, napi_value value, const char *name, int64_t least, int64_t most, int64_t *out) {
  double number;
  if (napi_get_value_double(env, value, &number) != napi_ok) return throw_type(env, name, "a number");
  if (number >= (double)least && number <= (double)most && number == floor(number)) {
    *out = (int64_t)number;
    return true;
  }
  char expected[100];
  snprintf(expected, sizeof expected, "an integer from %lld to %lld, not %.17g", (long long)least, (long long)most,
           number);
  return throw_range(env, name, expected);
}

bool take_descriptor(napi_env env, napi_value value, const char *name, int *out) {
  int64_t number;
  if (!take_integer(env, value, name, 0, INT_MAX, &number)) return false;
  *out = (int)number;
  return true;
}

bool take_boolean(napi_env env, napi_value value, const char *name, bool *out) {
  return napi_get_value_bool(env, value, out) == napi_ok ? true : throw_type(env, name, "a boolean");
}

bool take_function(napi_env env, napi_value value, const char *name) {
  napi_valuetype type;
  if (!succeeded(env, napi_typeof(env, value, &type))) return false;
  return type == napi_function ? true : throw_type(env, name, "a function");
}

bool take_text(napi_env env, napi_value value, const char *name, char *out, size_t space) {
  size_t length;
  if (napi_get_value_string_utf8(env, value, NULL, 0, &length) != napi_ok) return throw_type(env, name, "a string");
  if (length >= space) {
    char expected[64];
    snprintf(expected, sizeof expected, "at most %zu bytes long, not %zu", space - 1, length);
    return throw_range(env, name, expected);
  }
  if (!succeeded(env, napi_get_value_string_utf8(env, value, out, space, &length))) return false;
  return strlen(out) == length ? true : throw_range(env, name, "without NUL characters");
}

bool take_bytes(napi_env env, napi_value value, const char *name, const uint8_t **bytes, size_t *length) {
  napi_typedarray_type type;
  void *data;
  if (napi_get_typedarray_info(env, value, &type, length, &data, NULL, NULL) != napi_ok || type != napi_uint8_array) {
    return throw_type(env, name, "a Uint8Array");
  }
  *bytes = data;
  return true;
}

bool take_property(napi_env env, napi_value object, const char *name, napi_value *out) {
  napi_valuetype type;
  if (!succeeded(env, napi_typeof(env, object, &type))) return false;
  if (type != napi_object) return throw_type(env, "options", "an object");
  if (!succeeded(env, napi_get_named_property(env, object, name, out))) return false;
  if (!succeeded(env, napi_typeof(env, *out, &type))) return false;
  if (type == napi_undefined) *out = NULL;
  return true;
}

bool take_integer_property(napi_env env, napi_value object, const char *name, int64_t least, int64_t most,
                           int64_t *out) {
  napi_value value;
  if (!take_property(env, object, name, &value)) return false;
  return value == NULL || take_integer(env, value, name, least, most, out);
}

bool take_boolean_property(napi_env env, napi_value object, const char *name, bool *out) {
  napi_value value;
  if (!take_property(env, object, name, &value)) return false;
  return value == NULL || take_boolean(env, value, name, out);
}

bool put(napi_env env, napi_value object, const char *name, napi_value value) {
  return succeeded(env, napi_set_named_property(env, object, name, value));
}

bool put_number(napi_env env, napi_value object, const char *name, double value) {
  napi_value number;
  return succeeded(env, napi_create_double(env, value, &number)) && put(env, object, name, number);
}

bool put_text(napi_env env, napi_value object, const char *name, const char *text, size_t length) {
  napi_value string;
  return succeeded(env, napi_create_string_utf8(env, text, length, &string)) && put(env, object, name, string);
}
