/*
 * A log-linear histogram of durations, as HdrHistogram's: each power of two in 128 equal steps, so a value read back is
 * less than 0.8 % above the one recorded. Nanoseconds, up to 18 minutes; longer counts as that. Pure.
 */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

enum { STEP_BITS = 7, STEPS = 1 << STEP_BITS, LARGEST_BITS = 40, CELLS = (LARGEST_BITS - STEP_BITS + 1) * STEPS };

struct histogram {
    uint64_t total;
    uint64_t sum;
    uint64_t largest;
    uint64_t cells[CELLS];
};

static inline uint32_t cell_of(uint64_t value)
{
    if (value >= 1ull << LARGEST_BITS)
        return CELLS - 1;
    if (value < STEPS)
        return (uint32_t)value;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value) - STEP_BITS;
    return shift * STEPS + (uint32_t)(value >> shift);
}

/* The largest value that falls into a cell. */
static inline uint64_t top_of_cell(uint32_t cell)
{
    if (cell < 2 * STEPS)
        return cell;
    uint32_t shift = cell / STEPS - 1;
    return ((uint64_t)(cell % STEPS + STEPS + 1) << shift) - 1;
}

static inline void histogram_record(struct histogram *histogram, uint64_t value)
{
    histogram->total++;
    histogram->sum += value;
    if (value > histogram->largest)
        histogram->largest = value;
    histogram->cells[cell_of(value)]++;
}

static inline void histogram_add(struct histogram *into, const struct histogram *from)
{
    into->total += from->total;
    into->sum += from->sum;
    if (from->largest > into->largest)
        into->largest = from->largest;
    for (uint32_t i = 0; i < CELLS; i++)
        into->cells[i] += from->cells[i];
}

/* The value that a share (0.99) of those recorded does not exceed; 0 if there are none. */
static inline uint64_t histogram_quantile(const struct histogram *histogram, double share)
{
    uint64_t wanted = (uint64_t)(share * (double)histogram->total + 0.5);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < CELLS; i++) {
        seen += histogram->cells[i];
        if (seen >= wanted && seen > 0) {
            uint64_t top = top_of_cell(i);
            return top < histogram->largest ? top : histogram->largest;
        }
    }
    return histogram->largest;
}

#endif
