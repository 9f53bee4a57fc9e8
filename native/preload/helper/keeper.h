#ifndef SNI_HANDOFF_PRELOAD_KEEPER_H
#define SNI_HANDOFF_PRELOAD_KEEPER_H

#include "helper.h"

/*
 * A second process that holds the path and the pairs' ends, and does nothing: if the helper is killed, the server's
 * listening sockets stay as they are, and the keeper starts the helper anew. If the keeper is killed, the helper does
 * the same for it. Each sees the other's end by a descriptor (pidfd_open(2)).
 */

/* The name that ps(1) shows. `arguments` are main's, which are overwritten. */
void keeper_name_process(char **arguments, bool is_keeper);

/*
 * Starts a keeper and watches it. Returns in the helper; and, true, in each process that the keeper starts in a killed
 * helper's place: it has to begin anew.
 */
bool keeper_start(struct helper *helper, char **arguments);

/* There is another pair: ends the keeper, and with the next event one that knows of it is started. */
void keeper_renew(struct helper *helper);

/* In a killed helper's place: watches the keeper that started it; if that is gone too, as keeper_start. */
bool keeper_adopt(struct helper *helper, char **arguments);

#endif
