/* SNI_HANDOFF, SNI_HANDOFF_MODE and SNI_HANDOFF_GROUP: native/preload/environment.c and address.c. */
#include "../../../native/preload/environment.h"

#include "input.h"

static void check_complaint(const struct environment *environment) {
  size_t length = strnlen(environment->complaint, sizeof environment->complaint);
  CHECK(length < sizeof environment->complaint, "the complaint has no end");
  CHECK(length == 0 || strstr(environment->complaint, "SNI_HANDOFF") != NULL, "it names no variable: %s",
        environment->complaint);
}

/* Writes what was understood as a variable again. */
static char *written(const struct environment *environment) {
  char *text = calloc(environment->count + 1, ADDRESS_TEXT + sizeof environment->targets->path + 2);
  CHECK(text != NULL, "no memory");
  char *end = text;
  for (unsigned i = 0; i < environment->count; i++) {
    const struct target *target = &environment->targets[i];
    char address[ADDRESS_TEXT];
    address_format(&target->address, address);
    if (i > 0) *end++ = ',';
    if (target->any_address)
      end += sprintf(end, "%u=%s", address_port(&target->address), target->path);
    else
      end += sprintf(end, "%s=%s", address, target->path);
  }
  return text;
}

static void check_targets(const struct environment *environment) {
  for (unsigned i = 0; i < environment->count; i++) {
    const struct target *target = &environment->targets[i];
    CHECK(target->path[0] == '/' && strlen(target->path) <= MOST_PATH, "a path that no socket can have");
    CHECK(address_port(&target->address) != 0, "port 0");
    const struct target *found = environment_find(environment, &target->address);
    CHECK(found != NULL, "a target is not found by its own address");
    CHECK(found == target || target->any_address, "another one is found by its address");
    CHECK(environment_find_port(environment, &target->address) != NULL, "none has its port");
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static struct environment environment, again;
  struct input input = {bytes, length};
  uint8_t which = take_byte(&input);
  char *mode = which & 1 ? take_text(&input, which >> 4) : NULL;
  char *group = which & 2 ? take_text(&input, take_byte(&input)) : NULL;
  char *targets = take_text(&input, input.left);

  memset(&environment, 0xaa, sizeof environment);
  environment_parse(targets, mode, group, &environment);
  CHECK(environment.count <= MOST_TARGETS, "%u targets", environment.count);
  CHECK(environment.mode <= 0777, "mode %o", environment.mode);
  check_complaint(&environment);
  check_targets(&environment);
  if (environment.complaint[0] == 0) {
    CHECK(environment.count > 0, "neither targets nor a complaint");
    char *text = written(&environment);
    environment_parse(text, mode, group, &again);
    CHECK(again.complaint[0] == 0, "what was understood is not when written again: %s", again.complaint);
    CHECK(again.count == environment.count, "%u targets of %u", again.count, environment.count);
    for (unsigned i = 0; i < again.count; i++) {
      const struct target *a = &environment.targets[i], *b = &again.targets[i];
      CHECK(a->any_address == b->any_address && address_equal(&a->address, &b->address) && strcmp(a->path, b->path) == 0,
            "target %u changed: %s", i, text);
    }
    free(text);
  }
  environment_parse(NULL, mode, group, &again);
  CHECK(again.count == 0 && again.complaint[0] == 0, "without SNI_HANDOFF nothing is changed");
  free(targets);
  free(group);
  free(mode);
  return 0;
}
