/*
 * What other processes do with the machine.
 */
#ifndef BENCH_USAGE_H
#define BENCH_USAGE_H

#include <stdint.h>

/* How often the living threads of a process went to sleep by themselves, which is how often they were woken. */
uint64_t usage_sleeps(int pid);

/* Seconds that all cores together were busy, for whomever: all but idle and iowait, stolen time included. */
double usage_machine_seconds(void);

#endif
