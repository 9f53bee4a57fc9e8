#ifndef SNI_HANDOFF_PRELOAD_REPLACE_H
#define SNI_HANDOFF_PRELOAD_REPLACE_H

/*
 * Puts `replacement` over `fd`, which keeps its number, O_NONBLOCK and FD_CLOEXEC, and its places in this process's epoll
 * sets: a registration belongs to the open file (epoll(7)), so it is made anew. Closes `replacement`. Returns 0 or errno.
 */
int replace_descriptor(int fd, int replacement);

#endif
