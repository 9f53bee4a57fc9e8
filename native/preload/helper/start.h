#ifndef SNI_HANDOFF_PRELOAD_START_H
#define SNI_HANDOFF_PRELOAD_START_H

/* Descriptors that the helper is started with (spawn.c); REPORT is free once it listens. */
enum { PATH_DESCRIPTOR = 3, PAIR_END = 4, REPORT = 5, FIRST_OTHER = 6 };

#endif
