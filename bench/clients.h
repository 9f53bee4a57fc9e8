/*
 * The clients of one thread of the load generator. Each opens a connection, sends its hello, waits for the answer,
 * closes, and begins again. One epoll set, no sleep but in it.
 *
 *   connect -> send [-> pause -> send the rest] -> wait for the answer [-> read to its end] -> close
 *                                any failure is counted -> rest for 10 ms --^
 *
 * In a closed loop they begin again at once, or after a rest of their own (-r): a slow server gets fewer connections, and
 * what it would have kept waiting is never seen. In an open loop (-R) connections are due at fixed times, whatever the
 * server does, and latency runs from when one was due ("coordinated omission", Tene 2013). Or each makes one, at once (-1).
 */
#ifndef BENCH_CLIENTS_H
#define BENCH_CLIENTS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "hello.h"
#include "histogram.h"

enum failure {
    REFUSED,
    RESET,
    CLOSED,
    TIMED_OUT,
    NO_ADDRESS,
    NO_DESCRIPTOR_LEFT,
    UNANSWERED,
    ALERTED,
    OTHER,
    FAILURES
};
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
    /* Open loop: connections a second of all threads together, the first at `start`; 0: closed loop. */
    uint64_t rate;
    uint64_t start;
    uint32_t threads;
    /* One connection each. */
    int once;
};

/* Written by main, read by all threads. */
struct load_state {
    atomic_bool measuring;
    atomic_bool stopping;
    /* Open loop: connections that are due from then on, and before then, are measured. None is due any more after `to`. */
    _Atomic uint64_t from;
    _Atomic uint64_t to;
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
    /* Nanoseconds in which it waited for events: the rest of the time it had something to do. */
    _Atomic uint64_t slept;
    /* Open loop: all that was due has come to an end. */
    atomic_bool drained;
    /* These are main's after the thread has ended. */
    struct histogram latency;
    /* Open loop: how long after its time a connection was begun, of those that found a client free; how many were due,
     * and how many of them found none free. */
    struct histogram lateness;
    uint64_t arrivals;
    uint64_t starved;
};

/* The thread's function; its argument is a struct clients. Ends when `stopping` is set. */
void *clients_run(void *clients);

#endif
