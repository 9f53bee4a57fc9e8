#include "tcp_listen.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/tcp.h>
#include <unistd.h>

#include "tcp_address.h"

static int set(int fd, int level, int option, int value) {
  return setsockopt(fd, level, option, &value, sizeof value);
}

static int set_options(int fd, int family, const struct tcp_listen_options *options) {
  bool v6 = family == AF_INET6;
  if (set(fd, SOL_SOCKET, SO_REUSEADDR, 1) == -1) return -1;
  if (v6 && options->v6_only >= 0 && set(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->v6_only) == -1) return -1;
  if (options->freebind && set(fd, IPPROTO_IP, IP_FREEBIND, 1) == -1) return -1;
  if (options->keep_alive && set(fd, SOL_SOCKET, SO_KEEPALIVE, 1) == -1) return -1;
  if (options->defer_accept > 0 && set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept) == -1) return -1;
  return 0;
}

int tcp_listen(const struct tcp_listen_options *options, const char **call) {
  struct sockaddr_storage address;
  *call = "parse";
  socklen_t length = tcp_address_parse(options->address, options->port, &address);
  if (length == 0) return -1;
  *call = "socket";
  int fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd == -1) return -1;
  *call = "setsockopt";
  if (set_options(fd, address.ss_family, options) == -1) goto failed;
  *call = "bind";
  if (bind(fd, (struct sockaddr *)&address, length) == -1) goto failed;
  *call = "listen";
  if (listen(fd, options->backlog) == -1) goto failed;
  return fd;

failed:;
  int error = errno;
  close(fd);
  errno = error;
  return -1;
}

int tcp_adjust_listener(int listener, const struct tcp_listen_options *options, const char **call) {
  *call = "setsockopt";
  if (set(listener, SOL_SOCKET, SO_KEEPALIVE, options->keep_alive) == -1) return -1;
  if (set(listener, IPPROTO_TCP, TCP_DEFER_ACCEPT, options->defer_accept) == -1) return -1;
  *call = "listen";
  return listen(listener, options->backlog);
}

int tcp_refuse_new_clients(int listener) {
  enum { FLAGS_OFFSET = 13, SYN = 0x02 }; /* of the TCP header, where such a filter begins to read (RFC 9293 section 3.1) */
  struct sock_filter code[] = {
      BPF_STMT(BPF_LD | BPF_B | BPF_ABS, FLAGS_OFFSET),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, SYN, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, 0),
      BPF_STMT(BPF_RET | BPF_K, UINT32_MAX),
  };
  struct sock_fprog program = {.len = sizeof code / sizeof *code, .filter = code};
  return setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program);
}

static int option(int fd, int level, int name, int *value) {
  socklen_t length = sizeof *value;
  return getsockopt(fd, level, name, value, &length);
}

int tcp_describe(int fd, struct tcp_description *out) {
  int domain, protocol, listening, v6_only = 0;
  if (option(fd, SOL_SOCKET, SO_DOMAIN, &domain) == -1) return errno == ENOTSOCK ? 0 : -1;
  if (domain != AF_INET && domain != AF_INET6) return 0;
  if (option(fd, SOL_SOCKET, SO_PROTOCOL, &protocol) == -1) return -1;
  if (protocol != IPPROTO_TCP) return 0;
  if (option(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening) == -1) return -1;
  if (domain == AF_INET6 && option(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v6_only) == -1) return -1;
  out->listening = listening != 0;
  out->v6_only = v6_only != 0;
  return tcp_address_local(fd, &out->address) == -1 ? -1 : 1;
}
