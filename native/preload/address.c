#include "address.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

static bool parse_port(const char *text, size_t length, in_port_t *out) {
  unsigned port = 0;
  if (length < 1 || length > 5) return false;
  for (size_t i = 0; i < length; i++) {
    if (text[i] < '0' || text[i] > '9') return false;
    port = port * 10 + (unsigned)(text[i] - '0');
  }
  *out = htons((uint16_t)port);
  return port >= 1 && port <= 65535;
}

bool address_parse(const char *text, size_t length, union address *out) {
  char host[INET6_ADDRSTRLEN];
  const char *colon = memrchr(text, ':', length), *end = text + length;
  memset(out, 0, sizeof *out);
  if (colon == NULL) return false;
  size_t size = (size_t)(colon - text);
  bool bracketed = size >= 2 && text[0] == '[' && text[size - 1] == ']';
  if (bracketed) text++, size -= 2;
  if (size >= sizeof host) return false;
  memcpy(host, text, size);
  host[size] = 0;
  size_t digits = (size_t)(end - colon - 1);
  if (bracketed) {
    out->v6.sin6_family = AF_INET6;
    return parse_port(colon + 1, digits, &out->v6.sin6_port) && inet_pton(AF_INET6, host, &out->v6.sin6_addr) == 1;
  }
  out->v4.sin_family = AF_INET;
  return parse_port(colon + 1, digits, &out->v4.sin_port) && inet_pton(AF_INET, host, &out->v4.sin_addr) == 1;
}

void address_format(const union address *address, char *out) {
  char host[INET6_ADDRSTRLEN];
  if (address->any.sa_family == AF_INET6) {
    inet_ntop(AF_INET6, &address->v6.sin6_addr, host, sizeof host);
    snprintf(out, ADDRESS_TEXT, "[%s]:%u", host, address_port(address));
  } else {
    inet_ntop(AF_INET, &address->v4.sin_addr, host, sizeof host);
    snprintf(out, ADDRESS_TEXT, "%s:%u", host, address_port(address));
  }
}

bool address_read(const struct sockaddr *from, socklen_t length, union address *out) {
  memset(out, 0, sizeof *out);
  if (from == NULL || length < sizeof from->sa_family) return false;
  if (from->sa_family == AF_INET && length >= sizeof out->v4) memcpy(&out->v4, from, sizeof out->v4);
  /* Without sin6_scope_id it was valid once (RFC 2133), and the kernel takes it still. */
  else if (from->sa_family == AF_INET6 && length >= offsetof(struct sockaddr_in6, sin6_scope_id))
    memcpy(&out->v6, from, length < sizeof out->v6 ? length : sizeof out->v6);
  else
    return false;
  return true;
}

bool address_equal(const union address *a, const union address *b) {
  if (a->any.sa_family != b->any.sa_family || address_port(a) != address_port(b)) return false;
  if (a->any.sa_family == AF_INET6) return IN6_ARE_ADDR_EQUAL(&a->v6.sin6_addr, &b->v6.sin6_addr);
  return a->v4.sin_addr.s_addr == b->v4.sin_addr.s_addr;
}

uint16_t address_port(const union address *address) {
  return ntohs(address->any.sa_family == AF_INET6 ? address->v6.sin6_port : address->v4.sin_port);
}

bool address_unpack(const uint8_t *bytes, size_t length, union address *out) {
  if (length != 6 && length != 18) return false;
  in_port_t port = htons((uint16_t)(bytes[0] | bytes[1] << 8));
  memset(out, 0, sizeof *out);
  if (length == 6) {
    out->v4.sin_family = AF_INET;
    out->v4.sin_port = port;
    memcpy(&out->v4.sin_addr, bytes + 2, 4);
  } else {
    out->v6.sin6_family = AF_INET6;
    out->v6.sin6_port = port;
    memcpy(&out->v6.sin6_addr, bytes + 2, 16);
  }
  return true;
}

void address_adapt(union address *address, sa_family_t family) {
  union address from = *address;
  if (from.any.sa_family == AF_INET && family == AF_INET6) {
    memset(address, 0, sizeof *address);
    address->v6.sin6_family = AF_INET6;
    address->v6.sin6_port = from.v4.sin_port;
    memset(address->v6.sin6_addr.s6_addr + 10, 0xff, 2);
    memcpy(address->v6.sin6_addr.s6_addr + 12, &from.v4.sin_addr, 4);
  } else if (from.any.sa_family == AF_INET6 && family == AF_INET && IN6_IS_ADDR_V4MAPPED(&from.v6.sin6_addr)) {
    memset(address, 0, sizeof *address);
    address->v4.sin_family = AF_INET;
    address->v4.sin_port = from.v6.sin6_port;
    memcpy(&address->v4.sin_addr, from.v6.sin6_addr.s6_addr + 12, 4);
  }
}

void address_give(const union address *address, struct sockaddr *out, socklen_t *length) {
  if (out == NULL || length == NULL) return;
  socklen_t size = address->any.sa_family == AF_INET6 ? sizeof address->v6 : sizeof address->v4;
  memcpy(out, address, *length < size ? *length : size);
  *length = size;
}
