#include "clock.h"

#include <time.h>

static double in_milliseconds(const struct timespec *time) {
  return (double)time->tv_sec * 1e3 + (double)time->tv_nsec / 1e6;
}

double clock_monotonic(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return in_milliseconds(&now);
}

void clock_pause(double milliseconds) {
  struct timespec time = {.tv_nsec = (long)(milliseconds * 1e6)};
  clock_nanosleep(CLOCK_MONOTONIC, 0, &time, NULL);
}

void clock_read(double milliseconds[2], uint32_t words[2]) {
  struct timespec real;
  milliseconds[0] = clock_monotonic();
  clock_gettime(CLOCK_REALTIME, &real);
  milliseconds[1] = in_milliseconds(&real);
  uint64_t nanoseconds = (uint64_t)real.tv_sec * 1000000000u + (uint64_t)real.tv_nsec;
  words[0] = (uint32_t)nanoseconds;
  words[1] = (uint32_t)(nanoseconds >> 32);
}
