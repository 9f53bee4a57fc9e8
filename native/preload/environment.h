#ifndef SNI_HANDOFF_PRELOAD_ENVIRONMENT_H
#define SNI_HANDOFF_PRELOAD_ENVIRONMENT_H

#include <stdbool.h>
#include <sys/types.h>

#include "address.h"

/*
 * What the environment says:
 *   SNI_HANDOFF="[ADDRESS:]PORT=PATH[,…]"   listeners that receive from the door, and where
 *   SNI_HANDOFF_MODE=0660                   permission bits of the paths
 *   SNI_HANDOFF_GROUP=NAME                  their group: the door's
 */

/* sun_path of unix(7) has 108 bytes, one of them for the NUL. */
enum { MOST_TARGETS = 64, MOST_COMPLAINT = 512, MOST_PATH = 107 };

struct target {
  bool any_address; /* only the port of `address` counts */
  union address address;
  char path[MOST_PATH + 1]; /* absolute; ending in "/": a folder, in which each process makes a socket of its own */
};

struct environment {
  unsigned count; /* 0: SNI_HANDOFF is not set, and nothing is changed */
  struct target targets[MOST_TARGETS];
  mode_t mode;
  char group[64];                 /* empty: the process's own */
  char complaint[MOST_COMPLAINT]; /* what is wrong with the text, and what to do; else empty */
};

/* Pure. NULL for a variable that is not set. */
void environment_parse(const char *targets, const char *mode, const char *group, struct environment *out);

/* The one for an address, or NULL. */
const struct target *environment_find(const struct environment *environment, const union address *address);

/* One with the same port but another address, or NULL: worth a word. */
const struct target *environment_find_port(const struct environment *environment, const union address *address);

#endif
