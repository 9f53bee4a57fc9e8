#ifndef SNI_HANDOFF_TCP_ADDRESS_H
#define SNI_HANDOFF_TCP_ADDRESS_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

/*
 * Addresses of TCP sockets: text, sockaddr, and the packed form of the data plane. An IPv4 client of an IPv6 socket
 * (::ffff:a.b.c.d, RFC 4291 §2.5.5.2) is an IPv4 address in the outputs of this file.
 */

/* Bytes of a packed address: family (4 or 6; 0 if it is neither), 0, port (big-endian), 16 bytes of address. */
#define TCP_ADDRESS_PACKED 20

/* As text: numeric, a link-local IPv6 address with its zone (RFC 4007 §11). */
struct tcp_address {
  bool v6;
  uint16_t port;
  char text[INET6_ADDRSTRLEN + 1 + IF_NAMESIZE];
};

/* Text (IPv4, or IPv6 with "%zone") to `out`. Returns its length; 0 with errno EINVAL for no address, ENODEV for no such zone. */
socklen_t tcp_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out);

void tcp_address_pack(const struct sockaddr_storage *address, uint8_t out[TCP_ADDRESS_PACKED]);

/* getsockname(2), getpeername(2). Return -1 and set errno; EAFNOSUPPORT for a socket that is neither IPv4 nor IPv6. */
int tcp_address_local(int fd, struct tcp_address *out);
int tcp_address_peer(int fd, struct tcp_address *out);

#endif
