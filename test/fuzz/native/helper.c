/*
 * The preload library's helper, whole, between doors and servers that send what the input says: native/preload/helper.
 * Time is the input's too; only the keeper, which forks, is left out.
 */
#include <time.h>

static struct timespec now;

static int tell_time(clockid_t clock, struct timespec *out) {
  (void)clock;
  *out = now;
  return 0;
}

#define clock_gettime tell_time
#define main helper_main
#include "../../../native/preload/helper/main.c"
#undef main
#undef clock_gettime

#include "scene.h"

bool keeper_start(struct helper *helper, char **arguments) { return (void)helper, (void)arguments, false; }
bool keeper_adopt(struct helper *helper, char **arguments) { return (void)helper, (void)arguments, false; }
void keeper_renew(struct helper *helper) { (void)helper; }
void keeper_name_process(char **arguments, bool is_keeper) { (void)arguments, (void)is_keeper; }

enum { DOORS = 4, SERVERS = 4, MOST_SEEN = 512, MOST_EVENTS = 20000 };

static struct helper helper;
static struct options options;
static int doors[DOORS], servers[SERVERS];
static uint32_t sequences[DOORS];

/* Connections that servers took, to find one that is delivered twice: only as long as nobody lies. */
static struct {
  uint32_t channel, sequence;
} seen[MOST_SEEN];
static unsigned seen_count;
static bool is_honest, has_joined;

static void advance(unsigned milliseconds) {
  now.tv_nsec += (milliseconds % 1000) * 1000000L;
  now.tv_sec += milliseconds / 1000 + now.tv_nsec / 1000000000;
  now.tv_nsec %= 1000000000;
}

/* The helper's loop, until nothing is to be done at this moment. */
static void pump(void) {
  int handled = 0;
  for (;;) {
    struct epoll_event events[EVENTS];
    int count = epoll_wait(helper.epoll, events, EVENTS, 0);
    for (int i = 0; i < count; i++) handle(&helper, &events[i]);
    if (helper.must_recycle && !helper.is_draining) recycle(&helper);
    if (helper.rests_until != 0 && helper.rests_until <= now_milliseconds()) receivers_pass_again(&helper);
    handled += count;
    CHECK(handled < MOST_EVENTS, "it does not come to rest");
    if (count <= 0) return;
  }
}

static void add_server(void) {
  int pair[2];
  for (int i = 0; i < SERVERS; i++) {
    if (servers[i] != -1) continue;
    CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, pair) == 0, "socketpair");
    if (helper.is_draining || !receivers_add(&helper, pair[1], i & 1 ? AF_INET6 : AF_INET)) close(pair[1]);
    servers[i] = pair[0];
    return;
  }
}

static void note(const struct delivery *delivery) {
  if (!is_honest || delivery->is_owned) return;
  for (unsigned i = 0; i < seen_count; i++)
    CHECK(seen[i].channel != delivery->channel || seen[i].sequence != delivery->sequence, "delivered twice: %u",
          delivery->sequence);
  if (seen_count == MOST_SEEN) return;
  seen[seen_count].channel = delivery->channel;
  seen[seen_count++].sequence = delivery->sequence;
}

/* As the library does it, or without an ACK, or giving it back. */
static void serve_one(struct input *input, int server) {
  struct request request = {.kind = REQUEST_RETURN};
  struct iovec vector = {&request.delivery, sizeof request.delivery};
  union {
    char bytes[CMSG_SPACE(4 * sizeof(int))];
    struct cmsghdr header;
  } control;
  struct msghdr header = {
      .msg_iov = &vector, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
  ssize_t length = recvmsg(server, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
  if (length <= 0) return;
  int fds[2] = {-1, -1}, count = take_sent(&header, fds, 2);
  CHECK(delivery_is_whole(&request.delivery, (size_t)length), "a delivery of %zd bytes", length);
  CHECK((size_t)length == delivery_length(&request.delivery), "%zd bytes for %zu", length,
        delivery_length(&request.delivery));
  CHECK(count == 2 - request.delivery.is_owned, "%d descriptors", count);
  uint8_t how = take_byte(input);
  if (how & 1 && fds[1] != -1) {
    uint8_t ack[PROTOCOL_HEAD];
    put_head(ack, MESSAGE_ACK, sizeof ack, request.delivery.sequence);
    send(fds[1], ack, sizeof ack, MSG_DONTWAIT | MSG_NOSIGNAL);
  }
  if (how & 2) {
    CONTROL_FOR(1) back = {0};
    back.header = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
    memcpy(CMSG_DATA(&back.header), &fds[0], sizeof(int));
    vector = (struct iovec){&request, sizeof request};
    header = (struct msghdr){.msg_iov = &vector, .msg_iovlen = 1, .msg_control = &back, .msg_controllen = sizeof back};
    sendmsg(server, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  } else {
    note(&request.delivery);
  }
  for (int i = 0; i < 2; i++)
    if (fds[i] != -1) close(fds[i]);
}

/* A request that no library sends. */
static void lie(struct input *input, int server) {
  struct request request = {.kind = take_byte(input) % 6};
  uint8_t change = take_byte(input);
  is_honest = false;
  request.delivery.channel = helper.next_id - 1 - (change & 3);
  request.delivery.sequence = take_byte(input);
  request.delivery.is_owned = change >> 2 & 1;
  request.delivery.client_length = take_byte(input);
  request.delivery.server_length = take_byte(input);
  request.delivery.option_count = take_byte(input);
  request.option = (struct inherited_option){(int32_t)take_number(input, 2), (int32_t)take_number(input, 2), {1, 0},
                                             change & 8 ? take_number(input, 4) : 4};
  size_t length = change & 16 ? take_number(input, 2) % sizeof request : sizeof request;
  uint8_t count = take_byte(input);
  send_record(server, &request, length, count & 3, (uint32_t)count >> 2 | (uint32_t)take_byte(input) << 6);
}

static void act(struct input *input) {
  uint8_t action = take_byte(input), which = action >> 4;
  int *door = &doors[which % DOORS], *server = &servers[which % SERVERS];
  uint32_t *sequence = &sequences[which % DOORS];
  uint8_t bytes[64];
  switch (action & 15) {
    case 0:
      if (*door == -1) *door = connect_to_listener();
      *sequence = which & 4 ? UINT32_MAX - 1 : 1;
      break;
    case 1:
    case 2:
      if (*door != -1) send_handoff(*door, sequence);
      break;
    case 3:
      if (*door != -1) send_changed_handoff(input, *door, sequence);
      break;
    case 4:
      if (*door != -1) send_block(input, *door);
      break;
    case 5:
      if (*door == -1) break;
      put_head(bytes, MESSAGE_REVOKE, PROTOCOL_HEAD, *sequence - 1 - take_byte(input) % 4);
      send_record(*door, bytes, PROTOCOL_HEAD, 0, 0);
      break;
    case 6:
      if (*door == -1) break;
      has_joined = true;
      put_head(bytes, MESSAGE_JOIN, PROTOCOL_HEAD, AF_INET | (uint32_t)take_byte(input) << 16);
      send_record(*door, bytes, PROTOCOL_HEAD, take_byte(input) & 1, 0);
      break;
    case 7:
      if (*door != -1) close(*door);
      *door = -1;
      break;
    case 8:
      add_server();
      break;
    case 9:
    case 10:
      if (*server != -1) serve_one(input, *server);
      break;
    case 11:
      if (*server != -1) lie(input, *server);
      break;
    case 12:
      if (*server != -1) close(*server);
      *server = -1;
      break;
    case 13:
      advance(take_byte(input) * 4u);
      break;
    case 14:
      returned_settle(&helper);
      if (receivers_have_unread(&helper)) channels_age(&helper);
      break;
    default:
      options.is_shared = !options.is_shared;
  }
}

static void begin(void) {
  struct sockaddr_un name;
  socklen_t length = name_listener(&name);
  memset(&options, 0, sizeof options);
  helper.options = &options;
  prepare(&helper, "/nowhere/door.sock");
  helper.path_descriptor = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
  CHECK(bind(helper.path_descriptor, (struct sockaddr *)&name, length) == 0, "bind");
  CHECK(listen(helper.path_descriptor, 8) == 0, "listen");
  helper.epoll = epoll_create1(EPOLL_CLOEXEC);
  helper.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
  watch(&helper, helper.path_descriptor, WATCH_PATH, 0, EPOLLIN);
  for (int i = 0; i < DOORS; i++) doors[i] = -1;
  for (int i = 0; i < SERVERS; i++) servers[i] = -1;
  add_server();
  seen_count = 0;
  is_honest = true;
  has_joined = false;
}

static void close_ends(const int *fds, int count) {
  for (int i = 0; i < count; i++)
    if (fds[i] != -1) close(fds[i]);
  pump();
}

static void end(void) {
  /* Ends of pairs that nobody has fetched are in the doors' queues. */
  if (has_joined) close_ends(doors, DOORS);
  close_ends(servers, SERVERS);
  CHECK(helper.is_draining && helper.receiver_count == 0, "the last listener is closed, and it goes on");
  if (!has_joined) close_ends(doors, DOORS);
  returned_settle(&helper);
  CHECK(is_over(&helper), "%u channels are left", helper.channel_count);
  CHECK(helper.batch.count == helper.batch.sent, "%u connections are left", helper.batch.count - helper.batch.sent);
  CHECK(helper.returned_count == 0, "%u connections that came back are left", helper.returned_count);
  close(helper.epoll);
  close(helper.timer);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t length) {
  static int before;
  struct input input = {bytes, length};
  if (before == 0) {
    make_kinds();
    before = open_descriptors();
  }
  begin();
  for (int actions = 0; input.left > 0 && actions < 200; actions++) {
    act(&input);
    pump();
  }
  end();
  CHECK(open_descriptors() == before, "%d descriptors, %d before", open_descriptors(), before);
  return 0;
}
