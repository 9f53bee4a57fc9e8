/* Addresses that JavaScript gives as text, and what the kernel tells of sockets: native/tcp_address.c. */
#include "../../../native/tcp_address.h"

#include <arpa/inet.h>
#include <errno.h>

#include "input.h"

/* The names and numbers of interfaces are the machine's: here, one is there. */
unsigned if_nametoindex(const char *name) { return strcmp(name, "eth0") == 0 ? 7 : 0; }
char *if_indextoname(unsigned index, char name[IF_NAMESIZE]) { return index == 7 ? strcpy(name, "eth0") : NULL; }

static struct sockaddr_storage told;

int getsockname(int fd, struct sockaddr *out, socklen_t *length) {
  (void)fd;
  memcpy(out, &told, *length < sizeof told ? *length : sizeof told);
  *length = sizeof told;
  return 0;
}

static void check_described(bool is_mapped) {
  struct tcp_address described;
  struct sockaddr_storage again;
  if (tcp_address_local(0, &described) == -1) {
    CHECK(errno == EAFNOSUPPORT, "errno %d", errno);
    CHECK(told.ss_family != AF_INET && told.ss_family != AF_INET6, "an internet address is none");
    return;
  }
  CHECK(memchr(described.text, 0, sizeof described.text) != NULL, "text without an end");
  socklen_t length = tcp_address_parse(described.text, described.port, &again);
  CHECK(length > 0, "%s is not understood", described.text);
  struct sockaddr_storage known = told;
  told = again;
  uint8_t before[TCP_ADDRESS_PACKED], after[TCP_ADDRESS_PACKED];
  tcp_address_pack(&known, before);
  tcp_address_pack(&again, after);
  CHECK(memcmp(before, after, sizeof before) == 0, "%s is another address", described.text);
  CHECK(is_mapped || again.ss_family == known.ss_family, "another family");
  CHECK(before[0] == (described.v6 ? 6 : 4), "family %u", before[0]);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  struct input input = {bytes, length};
  memset(&told, 0, sizeof told);
  if (take_byte(&input) & 1) {
    uint16_t port = (uint16_t)take_number(&input, 2);
    char *text = take_text(&input, 127);
    struct sockaddr_storage address;
    socklen_t size = tcp_address_parse(text, port, &address);
    if (size == 0) {
      CHECK(errno == EINVAL || errno == ENODEV, "errno %d", errno);
    } else {
      CHECK(size == sizeof(struct sockaddr_in) || size == sizeof(struct sockaddr_in6), "%u bytes", size);
      told = address;
      check_described(address.ss_family == AF_INET6 &&
                      IN6_IS_ADDR_V4MAPPED(&((struct sockaddr_in6 *)&address)->sin6_addr));
    }
    free(text);
  } else {
    size_t size;
    uint8_t *block = take_block(&input, sizeof told, &size);
    memcpy(&told, block, size);
    if (told.ss_family & 0x8000) told.ss_family = told.ss_family & 1 ? AF_INET : AF_INET6;
    const struct sockaddr_in6 *v6 = (const void *)&told;
    check_described(told.ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&v6->sin6_addr));
    free(block);
  }
  return 0;
}
