#include "tcp_address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static unsigned zone_number(const char *zone) {
  unsigned number = if_nametoindex(zone);
  if (number != 0) return number;
  char *end;
  unsigned long given = strtoul(zone, &end, 10);
  bool numeric = *zone >= '0' && *zone <= '9' && *end == 0 && given <= UINT32_MAX;
  return numeric ? (unsigned)given : 0;
}

socklen_t tcp_address_parse(const char *text, uint16_t port, struct sockaddr_storage *out) {
  memset(out, 0, sizeof *out);
  struct sockaddr_in *v4 = (struct sockaddr_in *)out;
  if (inet_pton(AF_INET, text, &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    return sizeof *v4;
  }
  struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
  char plain[INET6_ADDRSTRLEN];
  size_t length = strcspn(text, "%");
  errno = EINVAL;
  if (length >= sizeof plain) return 0;
  memcpy(plain, text, length);
  plain[length] = 0;
  if (inet_pton(AF_INET6, plain, &v6->sin6_addr) != 1) {
    errno = EINVAL;
    return 0;
  }
  v6->sin6_family = AF_INET6;
  v6->sin6_port = htons(port);
  if (text[length] == '%' && (v6->sin6_scope_id = zone_number(text + length + 1)) == 0) {
    errno = ENODEV;
    return 0;
  }
  return sizeof *v6;
}

void tcp_address_pack(const struct sockaddr_storage *address, uint8_t out[TCP_ADDRESS_PACKED]) {
  memset(out, 0, TCP_ADDRESS_PACKED);
  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    out[0] = 4;
    memcpy(out + 2, &v4->sin_port, 2);
    memcpy(out + 4, &v4->sin_addr, 4);
  } else if (address->ss_family == AF_INET6) {
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
    bool mapped = IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr);
    out[0] = mapped ? 4 : 6;
    memcpy(out + 2, &v6->sin6_port, 2);
    if (mapped) {
      memcpy(out + 4, (const uint8_t *)&v6->sin6_addr + 12, 4);
    } else {
      memcpy(out + 4, &v6->sin6_addr, 16);
    }
  }
}

static int describe(const struct sockaddr_storage *address, struct tcp_address *out) {
  uint8_t packed[TCP_ADDRESS_PACKED];
  tcp_address_pack(address, packed);
  if (packed[0] == 0) {
    errno = EAFNOSUPPORT;
    return -1;
  }
  out->v6 = packed[0] == 6;
  out->port = (uint16_t)(packed[2] << 8 | packed[3]);
  inet_ntop(out->v6 ? AF_INET6 : AF_INET, packed + 4, out->text, sizeof out->text);
  uint32_t zone = out->v6 ? ((const struct sockaddr_in6 *)address)->sin6_scope_id : 0;
  if (zone != 0) {
    char name[IF_NAMESIZE];
    size_t length = strlen(out->text);
    if (if_indextoname(zone, name) == NULL) snprintf(name, sizeof name, "%u", zone);
    snprintf(out->text + length, sizeof out->text - length, "%%%s", name);
  }
  return 0;
}

int tcp_address_local(int fd, struct tcp_address *out) {
  struct sockaddr_storage address = {0};
  socklen_t length = sizeof address;
  return getsockname(fd, (struct sockaddr *)&address, &length) == -1 ? -1 : describe(&address, out);
}

int tcp_address_peer(int fd, struct tcp_address *out) {
  struct sockaddr_storage address = {0};
  socklen_t length = sizeof address;
  return getpeername(fd, (struct sockaddr *)&address, &length) == -1 ? -1 : describe(&address, out);
}
