/*
 * What every C program of the benchmark needs: messages, arguments, clocks, limits, how it ends.
 * Include it first: it asks the C library for Linux's own calls.
 */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/time.h>

#define ARRAY_LENGTH(array) (sizeof(array) / sizeof((array)[0]))
#define NANOSECONDS_PER_SECOND 1000000000ull

/* Prints "program: message" and ends with status 1. `fail_errno` adds what errno says. */
_Noreturn void fail(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void fail_errno(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Prints the usage and ends: with status 0 if it was asked for, else with 2. */
_Noreturn void print_usage(const char *text, int asked_for);

/* A whole number of an option, within bounds; anything else ends the program with status 2. */
uint64_t parse_number(const char *text, const char *what, uint64_t least, uint64_t most);

/* Seconds with a decimal fraction ("0.5") as nanoseconds, at most an hour. */
uint64_t parse_seconds(const char *text, const char *what);

/* "127.0.0.1:443"; port 0 lets the kernel choose when listening. */
struct sockaddr_in parse_address(const char *text);

/* Nanoseconds of CLOCK_MONOTONIC, CLOCK_REALTIME … */
uint64_t clock_nanoseconds(int clock);

/* CPU time that a process has used, all threads, those that ended too, in nanoseconds; 0 if it is gone. */
uint64_t process_cpu_nanoseconds(int pid);

/* Raises the soft limit of descriptors to the hard one. Returns it, at most 1 << 20. */
uint32_t raise_descriptor_limit(void);

/* The same, for so many clients of one descriptor each, and `more`; ends the program if that is not enough. */
void raise_descriptor_limit_for(uint64_t clients, uint64_t more);

uint64_t timeval_nanoseconds(struct timeval time);

/* From now on the program gets `signal` when the thread that started it ends. */
void end_with_parent(int signal);

/*
 * SIGTERM and SIGINT no longer end the program: they make the returned eventfd readable (nobody reads it, so it stays
 * so), and a blocking system call fails with EINTR. A second signal ends at once. The program keeps the descriptor.
 */
int stop_descriptor(void);

/* A listening TCP socket, non-blocking. The caller closes it. `defer_seconds` is TCP_DEFER_ACCEPT, 0 for none. */
int listen_tcp(struct sockaddr_in *address, int defer_seconds);

/* The line that the benchmark waits for: ready, and where. */
void print_ready_address(const struct sockaddr_in *address);
void print_ready_path(const char *path);

#endif
