#ifndef SNI_HANDOFF_TCP_LISTEN_H
#define SNI_HANDOFF_TCP_LISTEN_H

#include <stdbool.h>
#include <stdint.h>

#include "tcp_address.h"

/* What the listening socket is to be: tcp(7), ip(7), ipv6(7), socket(7). */
struct tcp_listen_options {
  const char *address; /* numeric, IPv6 perhaps with "%zone" */
  uint16_t port;       /* 0: the kernel chooses */
  int backlog;
  int v6_only;       /* IPV6_V6ONLY; -1 leaves what net.ipv6.bindv6only says */
  bool freebind;     /* IP_FREEBIND */
  int defer_accept;  /* TCP_DEFER_ACCEPT in seconds; 0: off */
  bool keep_alive;   /* SO_KEEPALIVE, which accepted sockets inherit */
};

/*
 * A listening socket: non-blocking, close-on-exec, SO_REUSEADDR. The caller closes it. Returns -1, sets errno and has
 * `*call` name the call that failed.
 */
int tcp_listen(const struct tcp_listen_options *options, const char **call);

struct tcp_description {
  bool listening;
  bool v6_only; /* IPV6_V6ONLY; false for IPv4 */
  struct tcp_address address;
};

/* 1 and `out`, or 0 if `fd` is no TCP socket; -1 with errno if it is not open. */
int tcp_describe(int fd, struct tcp_description *out);

/* Gives a listening socket the backlog, defer_accept and keep_alive of `options`; as tcp_listen on failure, but the socket stays. */
int tcp_adjust_listener(int listener, const struct tcp_listen_options *options, const char **call);

/*
 * Has the kernel drop every SYN that is for the listening socket (SO_ATTACH_FILTER: socket(7)), so that what remains to
 * be accepted comes to an end. Handshakes that have begun are completed. Whoever sent the SYN tries again after a second,
 * and then finds whatever listens there by then. The filter is the socket's, whatever process has it.
 */
int tcp_refuse_new_clients(int listener);

#endif
