#include "clock.h"

#include <time.h>

void clock_read(double milliseconds[2], uint32_t words[2]) {
  struct timespec monotonic, real;
  clock_gettime(CLOCK_MONOTONIC, &monotonic);
  clock_gettime(CLOCK_REALTIME, &real);
  milliseconds[0] = (double)monotonic.tv_sec * 1e3 + (double)monotonic.tv_nsec / 1e6;
  milliseconds[1] = (double)real.tv_sec * 1e3 + (double)real.tv_nsec / 1e6;
  uint64_t nanoseconds = (uint64_t)real.tv_sec * 1000000000u + (uint64_t)real.tv_nsec;
  words[0] = (uint32_t)nanoseconds;
  words[1] = (uint32_t)(nanoseconds >> 32);
}
