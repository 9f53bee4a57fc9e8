/*
 * The load generator: threads of clients in a closed or an open loop against one address, for a while, after a warm-up.
 * Prints one JSON object: what was completed and failed, how long it took, latencies, whether the generator was the
 * limit, its own CPU time, and that of processes it was told to watch, read at the same two moments as the counters.
 */
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "clients.h"
#include "figures.h"
#include "usage.h"

static const char usage[] =
    "usage: load -f FILE [options] ADDRESS:PORT\n"
    "  -f FILE     the ClientHello to send; a run of # in it becomes the number of the name\n"
    "  -N NAMES    how many different names, chosen at random (default 1)\n"
    "  -S BYTES    send in segments of so many bytes, the last one may have fewer (default 0: all at once)\n"
    "  -P MICROS   pause between segments (default 0: as soon as the other clients' events are done)\n"
    "  -c CLIENTS  clients at the same time, of all threads together (default 64)\n"
    "  -t THREADS  (default 1)\n"
    "  -d SECONDS  how long to measure (default 2)\n"
    "  -w SECONDS  warm-up before that, not measured (default 0.5)\n"
    "  -n COUNT    end soon after measuring so many connections (default 0: no bound but time)\n"
    "  -T MILLIS   give a connection up after that (default 10000)\n"
    "  -R RATE     open loop: so many connections a second, each due at its time; latency runs from then (default 0: closed)\n"
    "  -D MILLIS   what is open when an open loop ends has that long to be answered (default 2000)\n"
    "  -1          each client makes one connection, all at once, without a warm-up\n"
    "  -r MICROS   a client's rest after each connection (default 0: none)\n"
    "  -s SOURCES  client addresses per thread, out of 127.64.0.0/10 (default 1000; 0: 127.0.0.1)\n"
    "  -a          read each answer to its end, and count its bytes\n"
    "  -F          close with FIN, not RST: ports wait in TIME_WAIT\n"
    "  -u PID      report what this process used, too; may be repeated\n"
    "SIGINT and SIGTERM end early, and print what there is.\n";

enum { MOST_THREADS = 64, MOST_WATCHED = 64 };

/* Everything that is read at the beginning and at the end of measuring. */
struct sample {
    uint64_t time;
    uint64_t completed;
    uint64_t bytes;
    uint64_t failed[FAILURES];
    uint64_t user;
    uint64_t system;
    /* Of the threads of clients. */
    uint64_t threads_cpu;
    uint64_t threads_slept;
    double machine_busy;
    uint64_t watched_cpu[MOST_WATCHED];
    uint64_t watched_sleeps[MOST_WATCHED];
};

static struct clients threads[MOST_THREADS];
static unsigned thread_count = 1;
static int watched[MOST_WATCHED];
static unsigned watched_count;

static struct sample take_sample(void)
{
    struct sample sample = {.time = clock_nanoseconds(CLOCK_MONOTONIC)};
    for (unsigned i = 0; i < watched_count; i++)
        sample.watched_cpu[i] = process_cpu_nanoseconds(watched[i]);
    for (unsigned i = 0; i < thread_count; i++) {
        sample.completed += atomic_load_explicit(&threads[i].completed, memory_order_relaxed);
        sample.bytes += atomic_load_explicit(&threads[i].bytes, memory_order_relaxed);
        for (int kind = 0; kind < FAILURES; kind++)
            sample.failed[kind] += atomic_load_explicit(&threads[i].failed[kind], memory_order_relaxed);
        sample.threads_slept += atomic_load_explicit(&threads[i].slept, memory_order_relaxed);
        sample.threads_cpu += thread_cpu_nanoseconds(threads[i].thread);
    }
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    sample.user = timeval_nanoseconds(used.ru_utime);
    sample.system = timeval_nanoseconds(used.ru_stime);
    sample.machine_busy = usage_machine_seconds();
    /* Last: it takes longest, and matters least. */
    for (unsigned i = 0; i < watched_count; i++)
        sample.watched_sleeps[i] = usage_sleeps(watched[i]);
    return sample;
}

static uint64_t connections_so_far(void)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        sum += atomic_load_explicit(&threads[i].completed, memory_order_relaxed);
        for (int kind = 0; kind < FAILURES; kind++)
            sum += atomic_load_explicit(&threads[i].failed[kind], memory_order_relaxed);
    }
    return sum;
}

/* Sleeps until then, or until `last` connections were tried (0: no bound). Returns 1 if a signal ended it. */
static int wait_until(uint64_t end, const sigset_t *signals, uint64_t last)
{
    for (;;) {
        uint64_t now = clock_nanoseconds(CLOCK_MONOTONIC);
        if (now >= end)
            return 0;
        uint64_t slice = end - now < 20000000 ? end - now : 20000000;
        struct timespec timeout = {.tv_nsec = (long)slice};
        if (sigtimedwait(signals, NULL, &timeout) > 0)
            return 1;
        if (last > 0 && connections_so_far() >= last)
            return 0;
    }
}

static double seconds(uint64_t from, uint64_t to)
{
    return (double)(to - from) / (double)NANOSECONDS_PER_SECOND;
}

static int all_are_drained(void)
{
    for (unsigned i = 0; i < thread_count; i++)
        if (!atomic_load_explicit(&threads[i].drained, memory_order_relaxed))
            return 0;
    return 1;
}

static void print_report(const struct sample *from, const struct sample *to, const struct histogram *latency,
                         int interrupted)
{
    uint64_t completed = to->completed - from->completed;
    double elapsed = seconds(from->time, to->time);
    printf("{\"completed\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f,\"connectionsPerSecond\":%.1f,\"failed\":{",
           completed, to->bytes - from->bytes, elapsed, elapsed > 0 ? (double)completed / elapsed : 0);
    for (int kind = 0; kind < FAILURES; kind++)
        printf("%s\"%s\":%" PRIu64, kind == 0 ? "" : ",", failure_names[kind], to->failed[kind] - from->failed[kind]);
    printf("},\"latencyMicroseconds\":");
    print_quantiles(latency);
    printf(",\"ownCpuSeconds\":{\"user\":%.6f,\"system\":%.6f},\"threads\":%u,\"watched\":[", seconds(from->user, to->user),
           seconds(from->system, to->system), thread_count);
    for (unsigned i = 0; i < watched_count; i++) {
        printf("%s{\"pid\":%d,", i == 0 ? "" : ",", watched[i]);
        if (to->watched_cpu[i] < from->watched_cpu[i] || to->watched_cpu[i] == 0) /* it has ended */
            printf("\"cpuSeconds\":null,\"sleeps\":null}");
        else
            printf("\"cpuSeconds\":%.6f,\"sleeps\":%" PRIu64 "}", seconds(from->watched_cpu[i], to->watched_cpu[i]),
                   to->watched_sleeps[i] - from->watched_sleeps[i]);
    }
    printf("],\"machineBusySeconds\":%.2f,\"interrupted\":%s", to->machine_busy - from->machine_busy,
           interrupted ? "true" : "false");
}

int main(int count, char **arguments)
{
    static struct load_options options = {.names = 1, .timeout_nanoseconds = 10 * NANOSECONDS_PER_SECOND, .sources = 1000};
    static struct load_state state = {.from = UINT64_MAX, .to = UINT64_MAX};
    static struct histogram latency, lateness;
    const char *file = NULL;
    uint64_t clients = 64, measure = 2 * NANOSECONDS_PER_SECOND, warm_up = NANOSECONDS_PER_SECOND / 2, most = 0;
    uint64_t drain = 2 * NANOSECONDS_PER_SECOND;
    for (int option; (option = getopt(count, arguments, "f:N:S:P:c:t:d:w:n:T:R:D:1r:s:aFu:h")) != -1;)
        switch (option) {
        case 'f': file = optarg; break;
        case 'N': options.names = parse_number(optarg, "-N", 1, 1000000000); break;
        case 'S': options.segment = parse_number(optarg, "-S", 0, LONGEST_HELLO); break;
        case 'P': options.pause_nanoseconds = 1000 * parse_number(optarg, "-P", 0, 10000000); break;
        case 'c': clients = parse_number(optarg, "-c", 1, 1000000); break;
        case 't': thread_count = (unsigned)parse_number(optarg, "-t", 1, MOST_THREADS); break;
        case 'd': measure = parse_seconds(optarg, "-d"); break;
        case 'w': warm_up = parse_seconds(optarg, "-w"); break;
        case 'n': most = parse_number(optarg, "-n", 0, UINT64_MAX); break;
        case 'T': options.timeout_nanoseconds = 1000000 * parse_number(optarg, "-T", 1, 3600000); break;
        case 'R': options.rate = parse_number(optarg, "-R", 0, 10000000); break;
        case 'D': drain = 1000000 * parse_number(optarg, "-D", 0, 3600000); break;
        case '1': options.once = 1; break;
        case 'r': options.rest_nanoseconds = 1000 * parse_number(optarg, "-r", 0, 10000000); break;
        case 's': options.sources = (uint32_t)parse_number(optarg, "-s", 0, 65000); break;
        case 'a': options.whole = 1; break;
        case 'F': options.fin = 1; break;
        case 'u':
            if (watched_count == MOST_WATCHED)
                fail("-u: at most %d processes", MOST_WATCHED);
            watched[watched_count++] = (int)parse_number(optarg, "-u", 1, INT32_MAX);
            break;
        default: print_usage(usage, option == 'h');
        }
    if (file == NULL || optind + 1 != count)
        print_usage(usage, 0);
    if (options.rate > 0 && (options.once || options.rest_nanoseconds > 0 || most > 0))
        fail("-R goes without -1, -n and -r");
    options.target = parse_address(arguments[optind]);
    hello_load(&options.hello, file, options.names);
    if (options.segment >= options.hello.length)
        fail("-S: the hello has only %zu bytes", options.hello.length);
    if (thread_count > clients)
        thread_count = (unsigned)clients;
    raise_descriptor_limit_for(clients, 32 + 2 * thread_count);

    end_with_parent(SIGKILL);
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    options.threads = thread_count;
    options.start = clock_nanoseconds(CLOCK_MONOTONIC);
    struct sample from = {0};
    if (options.rate > 0) {
        atomic_store(&state.from, options.start + warm_up);
        atomic_store(&state.to, options.start + warm_up + measure);
    } else if (options.once) {
        warm_up = 0;
        most = clients;
        atomic_store(&state.measuring, 1);
        from = take_sample();
    }
    for (unsigned i = 0; i < thread_count; i++) {
        threads[i].options = &options;
        threads[i].state = &state;
        threads[i].number = i;
        threads[i].count = (uint32_t)(clients / thread_count + (i < clients % thread_count));
        errno = pthread_create(&threads[i].thread, NULL, clients_run, &threads[i]);
        if (errno != 0)
            fail_errno("pthread_create");
    }

    int interrupted = wait_until(options.start + warm_up, &signals, 0);
    if (!options.once) {
        atomic_store(&state.measuring, 1);
        from = take_sample();
    }
    if (!interrupted)
        interrupted =
            wait_until(from.time + measure, &signals, most == 0 ? 0 : most + (options.once ? 0 : connections_so_far()));
    struct sample to = take_sample();
    atomic_store(&state.measuring, 0);
    if (options.rate > 0) {
        if (to.time < atomic_load(&state.to))
            atomic_store(&state.to, to.time);
        const uint64_t end = to.time + drain;
        while (!all_are_drained() && wait_until(clock_nanoseconds(CLOCK_MONOTONIC) + 10000000, &signals, 0) == 0 &&
               clock_nanoseconds(CLOCK_MONOTONIC) < end)
            continue;
    }
    atomic_store(&state.stopping, 1);
    uint64_t due = 0, starved = 0;
    for (unsigned i = 0; i < thread_count; i++) {
        pthread_join(threads[i].thread, NULL);
        histogram_add(&latency, &threads[i].latency);
        histogram_add(&lateness, &threads[i].lateness);
        due += threads[i].arrivals;
        starved += threads[i].starved;
        /* An open loop's connections end after it. */
        for (int kind = 0; options.rate > 0 && kind < FAILURES; kind++)
            to.failed[kind] = (i == 0 ? 0 : to.failed[kind]) + threads[i].failed[kind];
    }
    print_report(&from, &to, &latency, interrupted);
    printf(",");
    print_generator(&(struct generator_use){to.time - from.time, thread_count, to.threads_cpu - from.threads_cpu,
                                            to.threads_slept - from.threads_slept,
                                            histogram_quantile(&lateness, 0.99)});
    if (options.rate > 0) {
        printf(",");
        print_open_loop(options.rate, due, starved, &lateness);
    }
    printf("}\n");
    return 0;
}
