/*
 * The clients of one thread of the load generator, in a closed loop: each opens a connection, sends its hello, waits for
 * the answer, closes, and begins again. One epoll set, no sleep but in it.
 *
 *   connect -> send [-> pause -> send the rest] -> wait for the answer [-> read to its end] -> close
 *                                any failure is counted -> rest for 10 ms --^
 *
 * With a rest of their own (-r) they have it after each connection.
 */
#ifndef BENCH_CLIENTS_H
#define BENCH_CLIENTS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "hello.h"
#include "histogram.h"

enum failure { REFUSED, RESET, CLOSED, TIMED_OUT, NO_ADDRESS, NO_DESCRIPTOR_LEFT, OTHER, FAILURES };
extern const char *const failure_names[FAILURES];

/* The same for all threads; read only. */
struct load_options {
    struct sockaddr_in target;
    struct hello hello;
    uint64_t names;
    /* Bytes of each segment, the last one may have fewer; 0 sends all at once. */
    size_t segment;
    /* Between the segments; 0: when the events of this turn of the loop are done. */
    uint64_t pause_nanoseconds;
    uint64_t timeout_nanoseconds;
    /* Between a client's connections; 0: none, but for a while after a failure. */
    uint64_t rest_nanoseconds;
    /* Clients come from this many addresses, one after the other; 0: the kernel's choice, 127.0.0.1. */
    uint32_t sources;
    /* An answer is read to the other side's end; else its first bytes complete the connection. */
    int whole;
    /* Close in order (FIN) and wait in TIME_WAIT; else with RST. */
    int fin;
};

/* Written by main, read by all threads. */
struct load_state {
    atomic_bool measuring;
    atomic_bool stopping;
};

/* One thread. Counters have one writer, the thread, and are read by main while it runs. */
struct clients {
    pthread_t thread;
    const struct load_options *options;
    const struct load_state *state;
    uint32_t count;
    uint32_t number;
    _Atomic uint64_t completed;
    _Atomic uint64_t bytes; /* of answers that are read whole */
    _Atomic uint64_t failed[FAILURES];
    /* Of connections completed while measuring; main reads it after the thread has ended. */
    struct histogram latency;
};

/* The thread's function; its argument is a struct clients. Ends when `stopping` is set. */
void *clients_run(void *clients);

#endif
