#ifndef SNI_HANDOFF_CLOSER_H
#define SNI_HANDOFF_CLOSER_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Closes any descriptor without blocking. A socket with SO_LINGER and a time (socket(7)) is one whose last close(2)
 * waits until its data are acknowledged, O_NONBLOCK or not, and whoever shares it may have set that: such a one is
 * given to a thread of its own, one a process. While many wait there, lingering is switched off instead. One that is made
 * to linger in the very moment takes some milliseconds: a signal cuts it short, and the kernel does the rest. Errors are not
 * reported: on Linux the descriptor is gone after any of them, EINTR too (close(2)), except EBADF.
 *
 * Returns true if the thread closes it; its number stays taken until the thread gets there.
 */
bool closer_close(int fd);

/* The same for many. Returns how many of them the thread closes. */
int closer_close_all(const int32_t *fds, int count);

#endif
