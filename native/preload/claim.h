#ifndef SNI_HANDOFF_PRELOAD_CLAIM_H
#define SNI_HANDOFF_PRELOAD_CLAIM_H

#include "environment.h"

/*
 * The unix path where doors connect: bound under its folder's lock (flock(2)), as src/handoff/path.ts does it: the
 * remains of a dead owner are removed, a living owner is respected and named.
 */

enum { MOST_SOCKET_PATH = MOST_PATH + 1 }; /* with its NUL */

struct claim {
  int descriptor; /* bound, not listening: who listens is whom SO_PEERCRED names */
  int lock;       /* of the folder: who has bound and does not listen yet looks dead */
  char path[MOST_SOCKET_PATH];
};

/*
 * Why it failed: an errno that bind(2) may give, after a line on standard error that says path and reason; or 0. With
 * `is_revival` a living owner is EADDRINUSE at once, and nothing is said: it can be joined.
 */
int claim_path(const struct target *target, const struct environment *environment, bool is_revival, struct claim *out);

/* Closes both descriptors, once somebody listens. */
void claim_close(const struct claim *claim);

/*
 * Whether the path can be had: 0, or the errno for bind(2), said like the above. Changes nothing. `is_shared`: a living
 * process may have it. What fails is to fail here: some programs cannot do with a listen(2) that does (HAProxy 2.6 ends by
 * an assertion).
 */
int claim_probe(const struct target *target, const struct environment *environment, bool is_shared);

/* A connection to whoever has the path, or -1. */
int claim_connect(const char *path);

#endif
