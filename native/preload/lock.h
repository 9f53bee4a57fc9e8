#ifndef SNI_HANDOFF_PRELOAD_LOCK_H
#define SNI_HANDOFF_PRELOAD_LOCK_H

/*
 * One for what all files of this library remember, held for some memory accesses. In a fork's child nobody has it
 * (pthread_atfork(3)): with another thread's, getpeername(2) there would wait without end.
 */
void lock(void);
void unlock(void);

#endif
