#ifndef SNI_HANDOFF_PRELOAD_TOLD_H
#define SNI_HANDOFF_PRELOAD_TOLD_H

#include <stdbool.h>

#include "address.h"

/*
 * Connections whose addresses are told otherwise than the kernel would: behind a proxy that says them in a PROXY
 * header, or of the other family than the listener. getpeername(2) and getsockname(2) then say what accept(2) said.
 */

enum told_side { TOLD_CLIENT, TOLD_SERVER };

/* Remembers both for as long as the descriptor has this socket. Out of memory, nothing is remembered. */
void told_remember(int fd, const union address *client, const union address *server);

/* False if the kernel's answer is right. */
bool told_recall(int fd, enum told_side side, union address *out);

#endif
