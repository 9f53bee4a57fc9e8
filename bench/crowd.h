/*
 * A crowd of clients in one thread, from many addresses: what `slow` and `hold` have in common.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <netinet/in.h>
#include <stdint.h>

#include "hello.h"

struct crowd {
    struct sockaddr_in target;
    struct hello hello;
    uint64_t clients;
    uint32_t sources;
    /* What -o says. */
    uint64_t pace;
    int epoll;
};

/*
 * Reads the command line (-f FILE, -c CLIENTS, -s SOURCES, -o PACE, ADDRESS:PORT; a wrong one prints the usage and ends
 * the program), then has descriptors for them all, and an epoll set. `clients`, `sources` and `pace` hold the defaults.
 */
void crowd_begin(struct crowd *crowd, int count, char **arguments, const char *usage);

/* A socket of the number's own address. The caller connects and closes it. `flags` beside SOCK_CLOEXEC. */
int crowd_socket(const struct crowd *crowd, uint64_t number, int flags);

void crowd_watch(const struct crowd *crowd, int fd, uint32_t events, uint64_t data);

#endif
