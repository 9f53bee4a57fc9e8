#include "environment.h"

#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((format(printf, 2, 3))) static bool complain(struct environment *out, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(out->complaint, sizeof out->complaint, format, arguments);
  va_end(arguments);
  return false;
}

static bool is_number(const char *text, size_t length) {
  for (size_t i = 0; i < length; i++)
    if (text[i] < '0' || text[i] > '9') return false;
  return length > 0;
}

static bool parse_address(const char *text, size_t length, struct target *out) {
  out->any_address = is_number(text, length);
  if (!out->any_address) return address_parse(text, length, &out->address);
  char whole[sizeof "0.0.0.0:65535"];
  if (length > 5) return false;
  int size = snprintf(whole, sizeof whole, "0.0.0.0:%.*s", (int)length, text);
  return address_parse(whole, (size_t)size, &out->address);
}

/* One "[ADDRESS:]PORT=PATH". */
static bool parse_entry(const char *text, size_t length, struct environment *out) {
  const char *equals = memchr(text, '=', length);
  int shown = (int)(length > 200 ? 200 : length);
  if (equals == NULL)
    return complain(out, "SNI_HANDOFF: \"%.*s\" has no \"=PATH\"; write [ADDRESS:]PORT=PATH, as 443=/run/app/door.sock",
                    shown, text);
  if (out->count == MOST_TARGETS) return complain(out, "SNI_HANDOFF has more than %d entries", MOST_TARGETS);
  struct target *target = &out->targets[out->count];
  if (!parse_address(text, (size_t)(equals - text), target))
    return complain(out,
                    "SNI_HANDOFF: \"%.*s\" in \"%.*s\" is no [ADDRESS:]PORT; write 443, 0.0.0.0:443, 192.0.2.1:443 or "
                    "[2001:db8::1]:443",
                    (int)(equals - text > 100 ? 100 : equals - text), text, shown, text);
  const char *path = equals + 1;
  size_t size = length - (size_t)(path - text);
  if (size == 0 || path[0] != '/')
    return complain(out, "SNI_HANDOFF: the path \"%.*s\" in \"%.*s\" is not absolute; begin it with \"/\"",
                    (int)(size > 100 ? 100 : size), path, shown, text);
  if (size > MOST_PATH)
    return complain(out, "SNI_HANDOFF: the path in \"%.*s\" has %zu bytes; a socket's path has at most %d", shown, text,
                    size, MOST_PATH);
  memcpy(target->path, path, size);
  target->path[size] = 0;
  for (unsigned i = 0; i < out->count; i++) {
    struct target *other = &out->targets[i];
    if (other->any_address == target->any_address && address_equal(&other->address, &target->address))
      return complain(out, "SNI_HANDOFF names %.*s twice; remove one", (int)(equals - text), text);
  }
  out->count++;
  return true;
}

static bool parse_mode(const char *text, struct environment *out) {
  char *end;
  long mode = strtol(text, &end, 8);
  if (text[0] < '0' || text[0] > '7' || *end != 0 || mode > 0777)
    return complain(out, "SNI_HANDOFF_MODE=%.40s is no octal number up to 0777; write for example 0660", text);
  out->mode = (mode_t)mode;
  return true;
}

void environment_parse(const char *targets, const char *mode, const char *group, struct environment *out) {
  memset(out, 0, sizeof *out);
  out->mode = 0660;
  if (targets == NULL) return;
  if (mode != NULL && !parse_mode(mode, out)) return;
  if (group != NULL && strlen(group) >= sizeof out->group) {
    complain(out, "SNI_HANDOFF_GROUP=%.40s… is too long for the name of a group", group);
    return;
  }
  if (group != NULL) strcpy(out->group, group);
  if (targets[0] == 0) {
    complain(out, "SNI_HANDOFF is empty; write [ADDRESS:]PORT=PATH, as 443=/run/app/door.sock, or unset it");
    return;
  }
  for (const char *at = targets;;) {
    size_t length = strcspn(at, ",");
    if (length == 0) complain(out, "SNI_HANDOFF=%.200s has an empty entry; remove the comma", targets);
    if (length == 0 || !parse_entry(at, length, out)) return;
    if (at[length] == 0) return;
    at += length + 1;
  }
}

const struct target *environment_find(const struct environment *environment, const union address *address) {
  const struct target *any = NULL;
  for (unsigned i = 0; i < environment->count; i++) {
    const struct target *target = &environment->targets[i];
    if (!target->any_address && address_equal(&target->address, address)) return target;
    if (target->any_address && address_port(&target->address) == address_port(address)) any = target;
  }
  return any;
}

const struct target *environment_find_port(const struct environment *environment, const union address *address) {
  for (unsigned i = 0; i < environment->count; i++)
    if (address_port(&environment->targets[i].address) == address_port(address)) return &environment->targets[i];
  return NULL;
}
