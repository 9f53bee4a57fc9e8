#include "inherited.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <unistd.h>

#include "lock.h"
#include "real.h"

static const struct {
  int level;
  int name;
  int divisor; /* the kernel keeps twice the buffer that was asked for (socket(7)) */
} passed_on[] = {
    {IPPROTO_TCP, TCP_NODELAY, 1},   {IPPROTO_TCP, TCP_KEEPIDLE, 1},     {IPPROTO_TCP, TCP_KEEPINTVL, 1},
    {IPPROTO_TCP, TCP_KEEPCNT, 1},   {IPPROTO_TCP, TCP_USER_TIMEOUT, 1}, {IPPROTO_TCP, TCP_NOTSENT_LOWAT, 1},
    {SOL_SOCKET, SO_KEEPALIVE, 1},   {SOL_SOCKET, SO_SNDBUF, 2},         {SOL_SOCKET, SO_RCVBUF, 2},
    {SOL_SOCKET, SO_LINGER, 1},      {SOL_SOCKET, SO_PRIORITY, 1},       {SOL_SOCKET, SO_MARK, 1},
    {SOL_SOCKET, SO_OOBINLINE, 1},   {IPPROTO_IP, IP_TOS, 1},            {IPPROTO_IPV6, IPV6_TCLASS, 1},
};
enum { COUNT = sizeof passed_on / sizeof *passed_on };
_Static_assert((int)COUNT <= (int)MOST_INHERITED, "each option has room");

static struct inherited_option remembered[MOST_INHERITED];

bool inherited_is(int level, int name) {
  for (int i = 0; i < COUNT; i++)
    if (passed_on[i].level == level && passed_on[i].name == name) return true;
  return false;
}

static bool read_option(int fd, int i, struct inherited_option *out) {
  *out = (struct inherited_option){.level = passed_on[i].level, .name = passed_on[i].name};
  out->length = sizeof out->value;
  if (real()->getsockopt(fd, out->level, out->name, out->value, &out->length) == -1) return false;
  out->value[0] /= passed_on[i].divisor;
  return true;
}

int inherited_collect(int fd, sa_family_t family, struct inherited_option out[MOST_INHERITED]) {
  int fresh = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  int count = 0;
  if (fresh == -1) return 0;
  for (int i = 0; i < COUNT; i++) {
    struct inherited_option usual;
    if (!read_option(fd, i, &out[count]) || !read_option(fresh, i, &usual)) continue;
    if (memcmp(out[count].value, usual.value, sizeof usual.value) != 0) count++;
  }
  close(fresh);
  return count;
}

/* Its place in `remembered`, or a free one, or NULL. */
static struct inherited_option *place(int level, int name) {
  struct inherited_option *empty = NULL;
  for (int i = 0; i < MOST_INHERITED; i++) {
    struct inherited_option *each = &remembered[i];
    if (each->length > 0 && each->level == level && each->name == name) return each;
    if (each->length == 0 && empty == NULL) empty = each;
  }
  return empty;
}

void inherited_remember(const struct inherited_option *option) {
  lock();
  struct inherited_option *to = place(option->level, option->name);
  if (to != NULL) *to = *option;
  unlock();
}

bool inherited_recall(int level, int name, struct inherited_option *out) {
  lock();
  const struct inherited_option *from = place(level, name);
  bool found = from != NULL && from->length > 0;
  if (found) *out = *from;
  unlock();
  return found;
}
