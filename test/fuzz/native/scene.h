#ifndef SNI_HANDOFF_FUZZ_SCENE_H
#define SNI_HANDOFF_FUZZ_SCENE_H

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "input.h"

/* Sockets and messages of the targets that play door and server. */

enum kind { KIND_TCP, KIND_LISTENER, KIND_FRESH, KIND_UNIX, KIND_PIPE, KINDS };

/* One descriptor of each kind, for the whole run: what is sent is a duplicate. */
static int kinds[KINDS];
static int client; /* of the TCP connection */

static inline void make_kinds(void) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
  socklen_t length = sizeof address;
  int pair[2], ends[2];
  kinds[KIND_LISTENER] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(bind(kinds[KIND_LISTENER], (struct sockaddr *)&address, length) == 0, "bind");
  CHECK(listen(kinds[KIND_LISTENER], 1) == 0, "listen");
  CHECK(getsockname(kinds[KIND_LISTENER], (struct sockaddr *)&address, &length) == 0, "getsockname");
  client = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(connect(client, (struct sockaddr *)&address, length) == 0, "connect");
  kinds[KIND_TCP] = accept(kinds[KIND_LISTENER], NULL, NULL);
  kinds[KIND_FRESH] = socket(AF_INET, SOCK_STREAM, 0);
  CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, pair) == 0 && pipe(ends) == 0, "socketpair and pipe");
  kinds[KIND_UNIX] = pair[0];
  kinds[KIND_PIPE] = ends[1];
  close(pair[1]);
}

/* Sends one record with up to 7 descriptors, which `pick` chooses by 3 bits each. Returns whether it was sent. */
static inline bool send_record(int to, const void *bytes, size_t length, unsigned count, uint32_t pick) {
  union {
    char bytes[CMSG_SPACE(7 * sizeof(int))];
    struct cmsghdr header;
  } control = {{0}};
  int sent[7];
  struct iovec vector = {(void *)bytes, length};
  struct msghdr header = {.msg_iov = &vector, .msg_iovlen = 1};
  for (unsigned i = 0; i < count; i++, pick >>= 3) sent[i] = kinds[(pick & 7) % KINDS];
  if (count > 0) {
    control.header.cmsg_len = CMSG_LEN(count * sizeof(int));
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    memcpy(CMSG_DATA(&control.header), sent, count * sizeof(int));
    header.msg_control = &control;
    header.msg_controllen = CMSG_SPACE(count * sizeof(int));
  }
  return sendmsg(to, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
}

/* A right HANDOFF, without a name: its length. */
static inline size_t write_handoff(uint8_t out[64], uint32_t sequence) {
  static const uint8_t fields[] = {4, 0, 8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 5, 0, 8, 0, 2, 0, 0, 0, 0, 0, 0, 0, 7, 0, 4, 0, 1, 0, 0, 0};
  const uint8_t head[] = {1, 2, 8 + sizeof fields, 0, (uint8_t)sequence, (uint8_t)(sequence >> 8),
                          (uint8_t)(sequence >> 16), (uint8_t)(sequence >> 24)};
  memcpy(out, head, sizeof head);
  memcpy(out + sizeof head, fields, sizeof fields);
  return sizeof head + sizeof fields;
}

/* The same, and then what the input changes: bytes, its length, or a field more. The caller frees it. */
static inline uint8_t *take_handoff_bytes(struct input *input, uint32_t sequence, size_t *length) {
  uint8_t *bytes = calloc(1, 2048);
  CHECK(bytes != NULL, "no memory");
  *length = write_handoff(bytes, sequence);
  uint8_t change = take_byte(input);
  if (change & 1) { /* a field more */
    uint8_t *field = bytes + *length;
    size_t size = change & 2 ? take_number(input, 2) % 1100 : take_byte(input);
    field[0] = take_byte(input);
    field[2] = (uint8_t)size;
    field[3] = (uint8_t)(size >> 8);
    for (size_t i = 0; i < size && input->left > 0; i++) field[4 + i] = take_byte(input);
    *length += 4 + size;
    bytes[2] = (uint8_t)*length;
    bytes[3] = (uint8_t)(*length >> 8);
  }
  if (change & 4) bytes[take_byte(input) % *length] = take_byte(input);
  if (change & 8) *length = take_number(input, 2) % (*length + 1);
  return bytes;
}

/* What a door sends: a right HANDOFF, after which it goes on counting; one that the input changes; a block of any bytes. */
static inline void send_handoff(int door, uint32_t *sequence) {
  uint8_t bytes[64];
  size_t length = write_handoff(bytes, *sequence);
  if (send_record(door, bytes, length, 1, KIND_TCP)) ++*sequence;
}

/* With up to 7 descriptors of any kind, as the input says. Takes `bytes` over. */
static inline void send_taken(struct input *input, int door, uint8_t *bytes, size_t length) {
  uint8_t count = take_byte(input);
  send_record(door, bytes, length, count & 7, take_number(input, 3));
  free(bytes);
}

static inline void send_changed_handoff(struct input *input, int door, uint32_t *sequence) {
  size_t length;
  uint8_t *bytes = take_handoff_bytes(input, (*sequence)++, &length);
  send_taken(input, door, bytes, length);
}

static inline void send_block(struct input *input, int door) {
  size_t length;
  uint8_t *bytes = take_block(input, take_byte(input), &length);
  send_taken(input, door, bytes, length);
}

/* Closes what came beside a record, but for the first `keep` descriptors; returns how many came. */
static inline int take_sent(struct msghdr *header, int *out, int keep) {
  int count = 0;
  for (struct cmsghdr *part = CMSG_FIRSTHDR(header); part != NULL; part = CMSG_NXTHDR(header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    for (size_t at = 0; CMSG_LEN(at + sizeof(int)) <= part->cmsg_len; at += sizeof(int), count++) {
      int fd;
      memcpy(&fd, CMSG_DATA(part) + at, sizeof fd);
      if (count < keep)
        out[count] = fd;
      else
        close(fd);
    }
  }
  return count;
}

/* A listening SEQPACKET socket with an abstract name of this process's, and a connection to it. */
static inline socklen_t name_listener(struct sockaddr_un *out) {
  *out = (struct sockaddr_un){.sun_family = AF_UNIX};
  return (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
                     (size_t)snprintf(out->sun_path + 1, sizeof out->sun_path - 1, "sni-handoff-fuzz-%d", getpid()));
}

static inline int connect_to_listener(void) {
  struct sockaddr_un name;
  socklen_t length = name_listener(&name);
  int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
  CHECK(fd != -1, "socket");
  if (connect(fd, (struct sockaddr *)&name, length) == 0) return fd;
  close(fd);
  return -1;
}

#endif
