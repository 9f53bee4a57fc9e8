/*
 * Connections that came back because their ACK failed: the door took them back (REVOKE), or it is gone, and then they
 * are this server's (PROTOCOL.md, "Revoking"). That is known when the channel has been read to its end.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"

static bool is_ours(const struct ended *ended, uint32_t sequence) {
  if (ended->is_all_ours) return true;
  return ended->has_latest && (int32_t)(ended->latest - sequence) >= 0; /* RFC 1982 */
}

/* The door is not reading: the ACK is sent from here as soon as that can be done. */
static bool acknowledge(const struct channel *channel, uint32_t sequence) {
  uint8_t bytes[64];
  size_t length = protocol_ack(bytes, sequence);
  return send(channel->fd, bytes, length, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)length;
}

/* Whose it is: 1 ours, 0 not, -1 not known yet. */
static int decide(struct helper *helper, const struct delivery *delivery) {
  if (delivery->is_owned) return 1;
  const struct ended *ended = channel_ended(helper, delivery->channel);
  if (ended != NULL) return is_ours(ended, delivery->sequence);
  const struct channel *channel = channel_by_id(helper, delivery->channel);
  if (channel == NULL) return 0; /* of a helper before this one: the door has it, or lost it with that one */
  return acknowledge(channel, delivery->sequence) ? 1 : -1;
}

static void give_back(struct helper *helper, const struct returned *returned) {
  struct batch *batch = &helper->batch;
  unsigned i = batch->count++;
  batch->deliveries[i] = returned->delivery;
  batch->deliveries[i].is_owned = 1;
  batch->channel[i] = -1;
  batch->from[i] = NULL;
  batch->connection[i] = returned->fd;
  batch->length[i] = delivery_length(&returned->delivery);
}

void returned_take(struct helper *helper, const struct delivery *delivery, int fd) {
  if (helper->returned_count == MOST_RETURNED) {
    close(fd);
    return;
  }
  helper->returned[helper->returned_count++] = (struct returned){fd, *delivery};
  returned_settle(helper);
  start_ticking(helper);
}

void returned_settle(struct helper *helper) {
  unsigned kept = 0;
  bool was_empty = helper->batch.count == 0;
  for (unsigned i = 0; i < helper->returned_count; i++) {
    struct returned *returned = &helper->returned[i];
    /* A batch that waits is not added to: its arrays may be in use. */
    int whose = was_empty && helper->batch.count < BATCH ? decide(helper, &returned->delivery) : -1;
    if (whose == 1 && helper->receiver_count > 0)
      give_back(helper, returned);
    else if (whose == -1 && !helper->is_draining)
      helper->returned[kept++] = *returned;
    else
      close(returned->fd);
  }
  helper->returned_count = kept;
  if (was_empty && helper->batch.count > 0) receivers_pass(helper);
}
