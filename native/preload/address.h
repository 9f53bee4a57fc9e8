#ifndef SNI_HANDOFF_PRELOAD_ADDRESS_H
#define SNI_HANDOFF_PRELOAD_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

/* Internet addresses: text, and the two families' views of one (RFC 4291 §2.5.5.2: IPv4-mapped). */

union address {
  struct sockaddr any;
  struct sockaddr_in v4;
  struct sockaddr_in6 v6;
};

enum { ADDRESS_TEXT = INET6_ADDRSTRLEN + sizeof "[]:65535" };

/* "192.0.2.1:443" or "[2001:db8::1]:443" of `length` bytes. False if it is neither. */
bool address_parse(const char *text, size_t length, union address *out);

/* The same the other way round. `out` has ADDRESS_TEXT bytes. */
void address_format(const union address *address, char *out);

/* Whether `length` bytes at `from` are an internet address, which is then copied. */
bool address_read(const struct sockaddr *from, socklen_t length, union address *out);

bool address_equal(const union address *a, const union address *b);

uint16_t address_port(const union address *address);

/* 2 bytes of port (little-endian), then 4 or 16 of address: CLIENT_ADDRESS and SERVER_ADDRESS of the protocol. */
bool address_unpack(const uint8_t *bytes, size_t length, union address *out);

/*
 * As a listener of `family` would have been told it: an IPv4 client of an IPv6 listener is mapped, and the other way
 * round. An IPv6 client of an IPv4 listener has no such form and stays as it is.
 */
void address_adapt(union address *address, sa_family_t family);

/* Copies it as accept(2) and getsockname(2) do: cut off at *length, which becomes the true length. */
void address_give(const union address *address, struct sockaddr *out, socklen_t *length);

#endif
