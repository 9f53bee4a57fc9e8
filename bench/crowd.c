#include "common.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "crowd.h"

void crowd_begin(struct crowd *crowd, int count, char **arguments, const char *usage)
{
    const char *file = NULL;
    for (int option; (option = getopt(count, arguments, "f:c:s:o:h")) != -1;)
        switch (option) {
        case 'f': file = optarg; break;
        case 'c': crowd->clients = parse_number(optarg, "-c", 1, 1000000); break;
        case 's': crowd->sources = (uint32_t)parse_number(optarg, "-s", 0, 1000000); break;
        case 'o': crowd->pace = parse_number(optarg, "-o", 1, 1000000); break;
        default: print_usage(usage, option == 'h');
        }
    if (file == NULL || optind + 1 != count)
        print_usage(usage, 0);
    crowd->target = parse_address(arguments[optind]);
    hello_load(&crowd->hello, file, 1);
    raise_descriptor_limit_for(crowd->clients, 32);
    crowd->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (crowd->epoll < 0)
        fail_errno("epoll_create1");
}

int crowd_socket(const struct crowd *crowd, uint64_t number, int flags)
{
    const int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        fail_errno("socket");
    if (crowd->sources > 0) {
        struct sockaddr_in source = {.sin_family = AF_INET};
        source.sin_addr.s_addr = htonl(0x7f800001u + (uint32_t)(number % crowd->sources));
        if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) != 0 ||
            bind(fd, (const struct sockaddr *)&source, sizeof source) != 0)
            fail_errno("bind");
    }
    return fd;
}

void crowd_watch(const struct crowd *crowd, int fd, uint32_t events, uint64_t data)
{
    struct epoll_event wanted = {.events = events, .data.u64 = data};
    if (epoll_ctl(crowd->epoll, EPOLL_CTL_ADD, fd, &wanted) != 0)
        fail_errno("epoll_ctl");
}
