#ifndef SNI_HANDOFF_EPOLL_SET_H
#define SNI_HANDOFF_EPOLL_SET_H

#include <stdint.h>
#include <sys/epoll.h>

/*
 * A set of watched descriptors, epoll(7). Each member has a tag and an index, which come back with its events.
 * Functions return -1 and set errno.
 */

/* A new set; the caller closes it. */
int epoll_set_open(void);

/* EPOLL_CTL_ADD. EPOLLEXCLUSIVE allows neither EPOLLRDHUP nor a later epoll_set_modify: epoll_ctl(2). */
int epoll_set_add(int set, int fd, uint32_t events, uint32_t tag, uint32_t index);

/* EPOLL_CTL_MOD. */
int epoll_set_modify(int set, int fd, uint32_t events, uint32_t tag, uint32_t index);

/* EPOLL_CTL_DEL; a descriptor that is not in the set is no error. */
int epoll_set_remove(int set, int fd);

/*
 * Waits at most `timeout` milliseconds (below 0: without limit; fractions count where the kernel has epoll_pwait2(2),
 * Linux 5.11, and are rounded up elsewhere). Returns the number of events written to `out`; EINTR counts as 0.
 */
int epoll_set_wait(int set, struct epoll_event *out, int most, double timeout);

/* Tag and index of an event. */
static inline uint32_t epoll_event_tag(const struct epoll_event *event) { return (uint32_t)(event->data.u64 >> 32); }
static inline uint32_t epoll_event_index(const struct epoll_event *event) { return (uint32_t)event->data.u64; }

#endif
