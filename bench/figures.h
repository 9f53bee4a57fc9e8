/*
 * What the generators print of themselves: latencies, and whether another generator would have got other figures.
 */
#ifndef BENCH_FIGURES_H
#define BENCH_FIGURES_H

#include <pthread.h>
#include <stdint.h>

#include "histogram.h"

/* Nanoseconds that a living thread of this process has run; 0 if there is none. */
uint64_t thread_cpu_nanoseconds(pthread_t thread);

/* A JSON object of microseconds: mean, p50, p90, p99, p999, max. */
void print_quantiles(const struct histogram *histogram);

/* The generator's threads over a while. Nanoseconds, of all of them together. */
struct generator_use {
    uint64_t elapsed;
    unsigned threads;
    uint64_t cpu;
    /* In which they waited for events. */
    uint64_t slept;
    /* Open loop: how late a hundredth of the connections began that found a client free; else 0. */
    uint64_t lateness;
};

/*
 * A JSON object: the threads' share of a core, and of the time in which they had something to do; and "limit".
 * "none": they waited for events now and then, and nothing began a millisecond late. Else either they had their cores
 * to themselves and were too few ("generator"), or they shared them with what is measured ("cores").
 */
void print_generator(const struct generator_use *use);

/* An open loop: connections due, those of them that found no client free, how late the others began. */
void print_open_loop(uint64_t rate, uint64_t due, uint64_t starved, const struct histogram *lateness);

#endif
