/*
 * Clients that make requests, for servers behind the door: connect, TLS handshake (-s), GET, read to the end, begin
 * again; or, with -k, one request after the other on a connection that is kept for as long as the server keeps it; or,
 * with -H, handshakes and nothing else. In a closed loop, or with -R in an open one. Prints one JSON object as load.c
 * does, with the CPU time of the processes it was told to watch. SIGINT or SIGTERM ends it in order: requests that have
 * begun are waited for, and those that get no answer are counted.
 */
#include "common.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "figures.h"
#include "stream.h"
#include "usage.h"
#include "visitors.h"

static const char usage[] =
    "usage: requests [options] ADDRESS:PORT\n"
    "  -s NAME     over TLS, with this server name; certificates are not checked\n"
    "  -c CLIENTS  at the same time, of all threads together (default 64)\n"
    "  -t THREADS  (default 1)\n"
    "  -d SECONDS  how long to measure (default 2)\n"
    "  -w SECONDS  warm-up before that, not measured (default 0.5)\n"
    "  -R RATE     open loop: so many requests a second, each due at its time; latency runs from then (default 0: closed)\n"
    "  -D MILLIS   what is open when an open loop ends has that long to be answered (default 2000)\n"
    "  -r MILLIS   a client's rest after each request (default 0: none)\n"
    "  -p PATH     of the request (default /)\n"
    "  -q FILE     sent in place of the request, 511 bytes at most; the server ends the connection\n"
    "  -l PROTOCOL offered by ALPN (with -s)\n"
    "  -e TEXT     what a whole answer ends with, 15 bytes at most (default: any answer is whole)\n"
    "  -k          keep connections; needs -e, to know an answer's end\n"
    "  -H          only handshakes, no request (with -s)\n"
    "  -a SOURCES  client addresses, out of 127.64.0.0/16 (default 0: 127.0.0.1)\n"
    "  -u PID      report the CPU time of this process too; may be repeated\n";

enum { MOST_THREADS = 64, MOST_WATCHED = 64 };
/* For the last answers when told to end. */
#define LAST_ANSWERS (50 * NANOSECONDS_PER_SECOND)

struct sample {
    uint64_t time, completed, connections, bytes, failures[VISIT_FAILURES];
    uint64_t user, system, threads_cpu, threads_slept;
    double machine_busy;
    uint64_t watched[MOST_WATCHED];
};

static struct visit_options options = {.ending = "", .threads = 1};
static struct visit_state state = {.from = UINT64_MAX, .to = UINT64_MAX};
static struct visitors threads[MOST_THREADS];
static int threads_run;
static int watched[MOST_WATCHED];
static unsigned watched_count;
static uint64_t clients = 64;
/* For the last answers at the end of an open loop. */
static uint64_t drain_time = 2 * NANOSECONDS_PER_SECOND;

static struct sample take_sample(void)
{
    struct sample sample = {.time = clock_nanoseconds(CLOCK_MONOTONIC)};
    for (unsigned i = 0; i < watched_count; i++)
        sample.watched[i] = process_cpu_nanoseconds(watched[i]);
    for (unsigned i = 0; i < options.threads; i++) {
        sample.completed += threads[i].completed;
        sample.connections += threads[i].connections;
        sample.bytes += threads[i].bytes;
        for (int kind = 0; kind < VISIT_FAILURES; kind++)
            sample.failures[kind] += threads[i].failures[kind];
        sample.threads_slept += threads[i].slept;
        if (threads_run)
            sample.threads_cpu += thread_cpu_nanoseconds(threads[i].thread);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    sample.user = timeval_nanoseconds(used.ru_utime);
    sample.system = timeval_nanoseconds(used.ru_stime);
    sample.machine_busy = usage_machine_seconds();
    return sample;
}

static struct sample begin_measuring(void)
{
    struct sample sample = take_sample();
    atomic_store(&state.answered_at, sample.time);
    atomic_store(&state.measuring, 1);
    printf("{\"measuring\":true}\n");
    fflush(stdout);
    return sample;
}

static int is_idle(void)
{
    uint64_t idle = 0;
    for (unsigned i = 0; i < options.threads; i++)
        idle += threads[i].idle;
    return idle == clients;
}

static int is_drained(void)
{
    for (unsigned i = 0; i < options.threads; i++)
        if (!threads[i].drained)
            return 0;
    return 1;
}

/* Sleeps until then, or until `is_done` says so. Returns 1 if a signal ended it. */
static int wait_until(uint64_t end, const sigset_t *signals, int (*is_done)(void))
{
    for (;;) {
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (now >= end || (is_done != NULL && is_done()))
            return 0;
        uint64_t slice = end - now < 10000000 ? end - now : 10000000;
        struct timespec timeout = {.tv_nsec = (long)slice};
        if (sigtimedwait(signals, NULL, &timeout) > 0)
            return 1;
    }
}

/* Reads a request from a file. */
static void read_request(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL)
        fail_errno("%s", path);
    options.request_length = fread(options.request, 1, sizeof options.request, file);
    if (ferror(file))
        fail_errno("%s", path);
    fclose(file);
    if (options.request_length == 0 || options.request_length == sizeof options.request)
        fail("-q: 1 to %zu bytes", sizeof options.request - 1);
}

static void make_request(const char *path, const char *host)
{
    int length = snprintf(options.request, sizeof options.request, "GET %s HTTP/1.1\r\nHost: %.255s\r\n%s\r\n", path,
                          host == NULL ? "localhost" : host, options.keep ? "" : "Connection: close\r\n");
    if (length >= (int)sizeof options.request)
        fail("-p: the request is longer than %zu bytes", sizeof options.request - 1);
    options.request_length = (size_t)length;
}

static void print_report(const struct sample *from, const struct sample *to, const struct histogram *latency,
                         int interrupted)
{
    double seconds = (double)(to->time - from->time) / 1e9;
    uint64_t failed = 0;
    printf("{\"completed\":%" PRIu64 ",\"connections\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"failures\":{",
           to->completed - from->completed, to->connections - from->connections, to->bytes - from->bytes);
    for (int kind = 0; kind < VISIT_FAILURES; kind++) {
        uint64_t times = to->failures[kind] - from->failures[kind];
        failed += times;
        printf("%s\"%s\":%" PRIu64, kind == 0 ? "" : ",", visit_failure_names[kind], times);
    }
    printf("},\"failed\":%" PRIu64 ",\"seconds\":%.6f,\"latencyMicroseconds\":", failed, seconds);
    print_quantiles(latency);
    printf(",\"longestGapMicroseconds\":%.1f,\"ownCpuSeconds\":{\"user\":%.6f,\"system\":%.6f},\"watched\":[",
           (double)state.longest_gap / 1e3, (double)(to->user - from->user) / 1e9, (double)(to->system - from->system) / 1e9);
    for (unsigned i = 0; i < watched_count; i++)
        printf("%s{\"pid\":%d,\"cpuSeconds\":%.9f}", i == 0 ? "" : ",", watched[i],
               to->watched[i] < from->watched[i] ? 0 : (double)(to->watched[i] - from->watched[i]) / 1e9);
    printf("],\"machineBusySeconds\":%.2f,\"interrupted\":%s,", to->machine_busy - from->machine_busy,
           interrupted ? "true" : "false");
}

static void parse_options(int count, char **arguments, uint64_t *duration, uint64_t *warm_up)
{
    const char *server_name = NULL, *protocol = NULL, *path = "/";
    int option;
    while ((option = getopt(count, arguments, "s:c:t:d:w:R:D:r:p:q:l:e:kHa:u:h")) != -1) {
        switch (option) {
        case 's': server_name = optarg; break;
        case 'c': clients = parse_number(optarg, "-c", 1, 100000); break;
        case 't': options.threads = (unsigned)parse_number(optarg, "-t", 1, MOST_THREADS); break;
        case 'd': *duration = parse_seconds(optarg, "-d"); break;
        case 'w': *warm_up = parse_seconds(optarg, "-w"); break;
        case 'R': options.rate = parse_number(optarg, "-R", 0, 10000000); break;
        case 'D': drain_time = 1000000 * parse_number(optarg, "-D", 0, 3600000); break;
        case 'r': options.rest = 1000000 * parse_number(optarg, "-r", 0, 60000); break;
        case 'p': path = optarg; break;
        case 'q': read_request(optarg); break;
        case 'l': protocol = optarg; break;
        case 'e':
            if (strlen(optarg) > LONGEST_ENDING)
                fail("-e: at most %d bytes", LONGEST_ENDING);
            options.ending = optarg;
            break;
        case 'k': options.keep = 1; break;
        case 'H': options.handshakes_only = 1; break;
        case 'a': options.sources = (uint32_t)parse_number(optarg, "-a", 0, 65000); break;
        case 'u':
            if (watched_count == MOST_WATCHED)
                fail("at most %d times -u", MOST_WATCHED);
            watched[watched_count++] = (int)parse_number(optarg, "-u", 1, 1 << 30);
            break;
        default: print_usage(usage, option == 'h');
        }
    }
    if (optind != count - 1)
        print_usage(usage, 0);
    if (options.keep && (*options.ending == '\0' || options.rest > 0))
        fail("-k needs -e, and goes without -r");
    if (options.rate > 0 && options.rest > 0)
        fail("-R goes without -r");
    if (options.handshakes_only && (server_name == NULL || options.keep))
        fail("-H needs -s, and goes without -k");
    options.server = parse_address(arguments[optind]);
    if (options.request_length == 0)
        make_request(path, server_name);
    if (server_name != NULL)
        stream_use_tls(server_name, protocol);
    if (options.threads > clients)
        options.threads = (unsigned)clients;
}

static void start_threads(void)
{
    for (unsigned i = 0; i < options.threads; i++) {
        threads[i].options = &options;
        threads[i].state = &state;
        threads[i].number = i;
        threads[i].count = (uint32_t)(clients / options.threads + (i < clients % options.threads));
        errno = pthread_create(&threads[i].thread, NULL, visitors_run, &threads[i]);
        if (errno != 0)
            fail_errno("pthread_create");
    }
    threads_run = 1;
}

/* Lets what has begun come to its end. */
static void drain(const sigset_t *signals, uint64_t now, int interrupted)
{
    if (interrupted)
        atomic_store(&state.ending, 1);
    if (options.rate > 0 && now < state.to)
        atomic_store(&state.to, now);
    if (interrupted || options.rate > 0)
        wait_until(now + (interrupted ? LAST_ANSWERS : drain_time), signals, options.rate > 0 ? is_drained : is_idle);
    uint64_t idle = 0;
    for (unsigned i = 0; i < options.threads; i++)
        idle += threads[i].idle;
    if (interrupted && options.rate == 0)
        threads[0].failures[UNANSWERED] += clients - idle;
}

int main(int count, char **arguments)
{
    static struct histogram latency, lateness;
    uint64_t duration = 2 * NANOSECONDS_PER_SECOND, warm_up = NANOSECONDS_PER_SECOND / 2, due = 0, starved = 0;
    end_with_parent(SIGKILL);
    parse_options(count, arguments, &duration, &warm_up);
    raise_descriptor_limit_for(clients, 32 + 2 * options.threads);
    signal(SIGPIPE, SIG_IGN); /* OpenSSL writes without MSG_NOSIGNAL */
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);

    options.start = clock_nanoseconds(CLOCK_MONOTONIC);
    if (options.rate > 0) {
        atomic_store(&state.from, options.start + warm_up);
        atomic_store(&state.to, options.start + warm_up + duration);
    }
    struct sample from;
    int interrupted = 0;
    /* Without a warm-up the first answer counts too. */
    if (warm_up == 0)
        from = begin_measuring();
    start_threads();
    if (warm_up > 0) {
        interrupted = wait_until(options.start + warm_up, &signals, NULL);
        from = begin_measuring();
    }
    if (!interrupted)
        interrupted = wait_until(from.time + duration, &signals, NULL);
    struct sample to = take_sample();
    uint64_t gap = to.time - state.answered_at, longest = state.longest_gap;
    if (interrupted && to.time > state.answered_at && gap > longest)
        state.longest_gap = gap;
    drain(&signals, to.time, interrupted);
    /* What was answered after the signal counts; an open loop's figures are those of its time. */
    if (interrupted && options.rate == 0)
        to = take_sample();
    atomic_store(&state.stopping, 1);
    for (unsigned i = 0; i < options.threads; i++) {
        pthread_join(threads[i].thread, NULL);
        histogram_add(&latency, &threads[i].latency);
        histogram_add(&lateness, &threads[i].lateness);
        due += threads[i].due;
        starved += threads[i].starved;
        for (int kind = 0; options.rate > 0 && kind < VISIT_FAILURES; kind++)
            to.failures[kind] = (i == 0 ? 0 : to.failures[kind]) + threads[i].failures[kind];
    }
    print_report(&from, &to, &latency, interrupted);
    print_generator(&(struct generator_use){to.time - from.time, options.threads, to.threads_cpu - from.threads_cpu,
                                            to.threads_slept - from.threads_slept, histogram_quantile(&lateness, 0.99)});
    if (options.rate > 0) {
        printf(",");
        print_open_loop(options.rate, due, starved, &lateness);
    }
    printf("}\n");
    return 0;
}
