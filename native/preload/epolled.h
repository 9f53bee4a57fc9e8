#ifndef SNI_HANDOFF_PRELOAD_EPOLLED_H
#define SNI_HANDOFF_PRELOAD_EPOLLED_H

/*
 * A registration in an epoll set lasts as long as the open file, not as the descriptor (epoll(7), "Q6"). Of an accepted
 * socket that is the same; a received one is the door's, too, until it has read the ACK. A program that closes one
 * earlier, and trusts that this ends the registration, would be given events of what it has freed. Hence close(2) of a
 * received descriptor ends it.
 */

/* `fd` was received by this process. */
void epolled_begin(int fd);

#endif
