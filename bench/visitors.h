/*
 * The clients of one thread of requests.c: connect, TLS handshake, request, answer; then the next request on the same
 * connection, or its end. One epoll set.
 *
 *   connect -> handshake -> request -> answer -> end -> again, at once or after a rest
 *                  |           ^----------'  (kept connections)
 *                  '-> end on both sides     (handshakes only)
 *
 * In an open loop (see clients.h) a request is due at its time, and is made by the client that has been free longest.
 */
#ifndef BENCH_VISITORS_H
#define BENCH_VISITORS_H

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "histogram.h"

/* Refused: no connection was made, and so none is lost. Halved: the answer has an end too early. */
enum visit_failure { REFUSED, RESET, CLOSED, HALVED, UNANSWERED, OTHER, VISIT_FAILURES };
extern const char *const visit_failure_names[VISIT_FAILURES];

enum { LONGEST_ENDING = 15 };

/* The same for all threads; read only. */
struct visit_options {
    struct sockaddr_in server;
    char request[512];
    size_t request_length;
    /* What a whole answer ends with; empty: any is whole. */
    const char *ending;
    int keep;
    int handshakes_only;
    /* Nanoseconds of rest after each request. */
    uint64_t rest;
    /* Client addresses; 0: 127.0.0.1. */
    uint32_t sources;
    unsigned threads;
    /* Open loop: requests a second of all threads together, the first at `start`; 0: closed loop. */
    uint64_t rate;
    uint64_t start;
};

struct visit_state {
    atomic_bool measuring;
    /* No request begins any more; those that have are waited for. */
    atomic_bool ending;
    atomic_bool stopping;
    /* Open loop: requests due in between are measured. */
    _Atomic uint64_t from, to;
    /* Over all threads: when the last answer was complete, and the longest time between two. Nanoseconds. */
    _Atomic uint64_t answered_at, longest_gap;
};

/* One thread. Counters have one writer, the thread, and are read by main while it runs. */
struct visitors {
    pthread_t thread;
    const struct visit_options *options;
    struct visit_state *state;
    uint32_t count;
    uint32_t number;
    _Atomic uint64_t completed, connections, bytes, slept, failures[VISIT_FAILURES];
    /* Clients that have nothing under way. */
    _Atomic uint64_t idle;
    /* Open loop: all that was due has come to an end. */
    atomic_bool drained;
    /* These are main's after the thread has ended; see clients.h. */
    struct histogram latency, lateness;
    uint64_t due, starved;
};

/* The thread's function; its argument is a struct visitors. Ends when `stopping` is set. */
void *visitors_run(void *visitors);

#endif
