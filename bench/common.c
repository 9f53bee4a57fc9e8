#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static void print_message(const char *format, va_list arguments)
{
    fprintf(stderr, "%s: ", program_invocation_short_name);
    vfprintf(stderr, format, arguments);
}

_Noreturn void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

_Noreturn void fail_errno(const char *format, ...)
{
    int code = errno;
    va_list arguments;
    va_start(arguments, format);
    print_message(format, arguments);
    va_end(arguments);
    fprintf(stderr, ": %s (errno %d)\n", strerror(code), code);
    exit(1);
}

_Noreturn void print_usage(const char *text, int asked_for)
{
    fputs(text, asked_for ? stdout : stderr);
    exit(asked_for ? 0 : 2);
}

static _Noreturn void wrong_option(const char *text, const char *what, const char *allowed)
{
    fprintf(stderr, "%s: %s is \"%s\"; it must be %s\n", program_invocation_short_name, what, text, allowed);
    exit(2);
}

uint64_t parse_number(const char *text, const char *what, uint64_t least, uint64_t most)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < least || value > most) {
        char allowed[80];
        snprintf(allowed, sizeof allowed, "a whole number from %" PRIu64 " to %" PRIu64, least, most);
        wrong_option(text, what, allowed);
    }
    return value;
}

uint64_t parse_seconds(const char *text, const char *what)
{
    char *end;
    double value = strtod(text, &end);
    if (*text < '0' || *text > '9' || *end != '\0' || !(value >= 0 && value <= 3600))
        wrong_option(text, what, "seconds from 0 to 3600, such as 2.5");
    return (uint64_t)(value * (double)NANOSECONDS_PER_SECOND);
}

struct sockaddr_in parse_address(const char *text)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    char host[INET_ADDRSTRLEN];
    const char *colon = strrchr(text, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - text);
    if (length == 0 || length >= sizeof host)
        wrong_option(text, "the address", "IPv4 with a port, such as 127.0.0.1:443");
    memcpy(host, text, length);
    host[length] = '\0';
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        wrong_option(text, "the address", "IPv4 with a port, such as 127.0.0.1:443");
    address.sin_port = htons((uint16_t)parse_number(colon + 1, "the port", 0, 65535));
    return address;
}

uint64_t clock_nanoseconds(int clock)
{
    struct timespec now;
    clock_gettime(clock, &now);
    return (uint64_t)now.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)now.tv_nsec;
}

uint64_t process_cpu_nanoseconds(int pid)
{
    /* The same sum as utime + stime of /proc/PID/stat, without its rounding to hundredths of a second. */
    clockid_t clock;
    struct timespec used;
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0)
        return 0;
    return (uint64_t)used.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)used.tv_nsec;
}

uint32_t raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail_errno("getrlimit");
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        fail_errno("setrlimit");
    return limit.rlim_cur > 1u << 20 ? 1u << 20 : (uint32_t)limit.rlim_cur;
}

void raise_descriptor_limit_for(uint64_t clients, uint64_t more)
{
    uint32_t limit = raise_descriptor_limit();
    if (clients + more > limit)
        fail("%" PRIu64 " clients need more descriptors than the limit of %u (ulimit -Hn)", clients, limit);
}

uint64_t timeval_nanoseconds(struct timeval time)
{
    return (uint64_t)time.tv_sec * NANOSECONDS_PER_SECOND + (uint64_t)time.tv_usec * 1000;
}

void end_with_parent(int signal)
{
    pid_t parent = getppid();
    if (prctl(PR_SET_PDEATHSIG, (unsigned long)signal) != 0)
        fail_errno("prctl PR_SET_PDEATHSIG");
    /* The parent may have ended before the call: no signal would come. */
    if (getppid() != parent)
        fail("the parent ended");
}

static volatile sig_atomic_t stopping;
static int stop_event = -1;

static void on_stop(int signal)
{
    if (stopping)
        _exit(128 + signal);
    stopping = 1;
    int saved = errno;
    const uint64_t one = 1;
    ssize_t written = write(stop_event, &one, sizeof one);
    (void)written;
    errno = saved;
}

int stop_descriptor(void)
{
    stop_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (stop_event < 0)
        fail_errno("eventfd");
    /* Without SA_RESTART: a blocked sendmsg must return. */
    struct sigaction action = {.sa_handler = on_stop};
    sigemptyset(&action.sa_mask);
    if (sigaction(SIGTERM, &action, NULL) != 0 || sigaction(SIGINT, &action, NULL) != 0)
        fail_errno("sigaction");
    return stop_event;
}

int listen_tcp(struct sockaddr_in *address, int defer_seconds)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (listener < 0)
        fail_errno("socket");
    const int on = 1;
    if (setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0)
        fail_errno("setsockopt SO_REUSEADDR");
    if (defer_seconds > 0 &&
        setsockopt(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, &defer_seconds, sizeof defer_seconds) != 0)
        fail_errno("setsockopt TCP_DEFER_ACCEPT");
    socklen_t length = sizeof *address;
    /* The kernel cuts the backlog to net.core.somaxconn (listen(2)). */
    if (bind(listener, (const struct sockaddr *)address, length) != 0 || listen(listener, 65535) != 0 ||
        getsockname(listener, (struct sockaddr *)address, &length) != 0)
        fail_errno("listen %s:%d", inet_ntoa(address->sin_addr), ntohs(address->sin_port));
    return listener;
}

void print_ready_address(const struct sockaddr_in *address)
{
    printf("{\"ready\":true,\"address\":\"%s\",\"port\":%d}\n", inet_ntoa(address->sin_addr), ntohs(address->sin_port));
    fflush(stdout);
}

void print_ready_path(const char *path)
{
    /* Paths with quotes or control bytes are the caller's own doing; no escaping. */
    printf("{\"ready\":true,\"path\":\"%s\"}\n", path);
    fflush(stdout);
}
