#ifndef SNI_HANDOFF_ARGUMENTS_H
#define SNI_HANDOFF_ARGUMENTS_H

#include <node_api.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/*
 * Unpacking of JavaScript values, and throwing. Every function that returns false (or NULL) has left an exception
 * pending: TypeError or RangeError with the argument's name, or the environment's own.
 */

/* Whether `status` is napi_ok; else an exception is pending. */
bool succeeded(napi_env env, napi_status status);

/* The first `count` arguments; those that are missing are undefined. `this` may be NULL. */
bool take_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *arguments, napi_value *this);

/* A number of any kind but NaN. */
bool take_number(napi_env env, napi_value value, const char *name, double *out);

/* An integer from `least` to `most`. */
bool take_integer(napi_env env, napi_value value, const char *name, int64_t least, int64_t most, int64_t *out);

/* A descriptor: an integer from 0. Whether it is open is for the kernel to say. */
bool take_descriptor(napi_env env, napi_value value, const char *name, int *out);

bool take_boolean(napi_env env, napi_value value, const char *name, bool *out);

bool take_function(napi_env env, napi_value value, const char *name);

/* Text without NUL, shorter than `space`. */
bool take_text(napi_env env, napi_value value, const char *name, char *out, size_t space);

/* A Uint8Array (or Buffer). The bytes are the caller's for the duration of the call. */
bool take_bytes(napi_env env, napi_value value, const char *name, const uint8_t **bytes, size_t *length);

/* A property of an options object; `*out` is NULL if it is absent or undefined. */
bool take_property(napi_env env, napi_value object, const char *name, napi_value *out);

/* An integer or boolean property; `*out` is left as it is if it is absent. */
bool take_integer_property(napi_env env, napi_value object, const char *name, int64_t least, int64_t most, int64_t *out);
bool take_boolean_property(napi_env env, napi_value object, const char *name, bool *out);

/* RangeError "<name> must be …". Always returns false. */
bool throw_range(napi_env env, const char *name, const char *expected);

/* Sets a property of an object under construction. */
bool put(napi_env env, napi_value object, const char *name, napi_value value);
bool put_number(napi_env env, napi_value object, const char *name, double value);
bool put_text(napi_env env, napi_value object, const char *name, const char *text, size_t length);

#endif
