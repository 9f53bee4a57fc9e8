#include "common.h"

#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "figures.h"

uint64_t thread_cpu_nanoseconds(pthread_t thread)
{
    clockid_t clock;
    struct timespec used;
    if (thread == 0 || pthread_getcpuclockid(thread, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0;
    return (uint64_t)used.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)used.tv_nsec;
}

static double microseconds(uint64_t nanoseconds)
{
    return (double)nanoseconds / 1e3;
}

void print_quantiles(const struct histogram *histogram)
{
    double mean = histogram->total > 0 ? (double)histogram->sum / (double)histogram->total / 1e3 : 0;
    printf("{\"mean\":%.1f,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", mean,
           microseconds(histogram_quantile(histogram, 0.5)), microseconds(histogram_quantile(histogram, 0.9)),
           microseconds(histogram_quantile(histogram, 0.99)), microseconds(histogram_quantile(histogram, 0.999)),
           microseconds(histogram->largest));
}

static const char *limit_of(double busy, double cpu, uint64_t lateness)
{
    enum { LATE_NANOSECONDS = 1000 * 1000 };
    if (busy < 0.95 && lateness < LATE_NANOSECONDS)
        return "none";
    return cpu >= 0.85 ? "generator" : "cores";
}

void print_generator(const struct generator_use *use)
{
    double whole = (double)use->elapsed * use->threads;
    double busy = whole > 0 ? 1 - (double)use->slept / whole : 0;
    double cpu = whole > 0 ? (double)use->cpu / whole : 0;
    busy = busy < 0 ? 0 : busy; /* the clocks are read one after the other */
    printf("\"generator\":{\"busyShare\":%.3f,\"cpuShare\":%.3f,\"limit\":\"%s\"}", busy, cpu,
           limit_of(busy, cpu, use->lateness));
}

void print_open_loop(uint64_t rate, uint64_t due, uint64_t starved, const struct histogram *lateness)
{
    printf("\"open\":{\"rate\":%" PRIu64 ",\"due\":%" PRIu64 ",\"withoutFreeClient\":%" PRIu64
           ",\"latenessMicroseconds\":",
           rate, due, starved);
    print_quantiles(lateness);
    printf("}");
}
