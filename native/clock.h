#ifndef SNI_HANDOFF_CLOCK_H
#define SNI_HANDOFF_CLOCK_H

#include <stdint.h>

/*
 * Reads both clocks (clock_gettime(2)). `milliseconds`: CLOCK_MONOTONIC, then CLOCK_REALTIME, in milliseconds with
 * fractions. `words`: CLOCK_REALTIME in nanoseconds, the low 32 bits first.
 */
void clock_read(double milliseconds[2], uint32_t words[2]);

/* CLOCK_MONOTONIC in milliseconds. */
double clock_monotonic(void);

/* Sleeps for less than a second (clock_nanosleep(2)); a signal ends it. */
void clock_pause(double milliseconds);

#endif
