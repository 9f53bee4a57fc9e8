/*
 * Connections that came back because their ACK failed: the door took them back (REVOKE), or it is gone, and then they
 * are this server's (PROTOCOL.md, "Revoking"). That is known when the channel has been read to its end; or before, of
 * what was acknowledged from here.
 */
#include <sys/socket.h>
#include <unistd.h>

#include "helper.h"

/*
 * More than some full queues hold: a server that was stuck, and goes on, gives back at once all that its queue had of
 * channels that have ended meanwhile.
 */
enum { MOST_RETURNED = 4096 };

static struct returned {
  int fd;
  struct delivery delivery;
} returned[MOST_RETURNED];

static bool is_ours(const struct ended *ended, uint32_t sequence) {
  if (ended->is_all_ours) return true;
  return ended->has_latest && (int32_t)(ended->latest - sequence) >= 0; /* RFC 1982 */
}

/* Whose it is: 1 ours, 0 not, -1 not known yet. */
static int decide(struct helper *helper, const struct delivery *delivery) {
  if (delivery->is_owned) return 1;
  const struct ended *ended = channel_ended(helper, delivery->channel);
  if (ended != NULL) return is_ours(ended, delivery->sequence);
  struct channel *channel = channel_by_id(helper, delivery->channel);
  if (channel == NULL) return 0; /* of a helper before this one: the door has it, or lost it with that one */
  if (channel_has_acknowledged(channel, delivery->sequence)) return 1;
  /* The door is not reading: the ACK is sent from here as soon as that can be done. */
  return channel_acknowledge(channel, delivery->sequence) ? 1 : -1;
}

static void give_back(struct helper *helper, const struct returned *one) {
  struct batch *batch = &helper->batch;
  unsigned i = batch->count++;
  batch->deliveries[i] = one->delivery;
  batch->deliveries[i].is_owned = 1;
  batch->channel[i] = -1;
  batch->from[i] = NULL;
  batch->connection[i] = one->fd;
  batch->length[i] = delivery_length(&one->delivery);
}

/* Into the batch, or closed; false if it is not known yet. */
static bool settle(struct helper *helper, const struct returned *one) {
  int whose = decide(helper, &one->delivery);
  if (whose == -1 && !helper->is_draining) return false;
  if (whose == 1 && helper->receiver_count > 0)
    give_back(helper, one);
  else
    close(one->fd);
  return true;
}

void returned_take(struct helper *helper, const struct delivery *delivery, int fd) {
  const struct returned one = {fd, *delivery};
  /* A batch that waits is not added to: its arrays may be in use. */
  if (helper->batch.count == 0 && settle(helper, &one)) {
    if (helper->batch.count > 0) receivers_pass(helper);
  } else if (helper->returned_count < MOST_RETURNED) {
    returned[helper->returned_count++] = one;
    start_ticking(helper);
  } else {
    close(fd);
  }
}

void returned_settle(struct helper *helper) {
  while (helper->batch.count == 0) {
    unsigned kept = 0;
    for (unsigned i = 0; i < helper->returned_count; i++)
      if (helper->batch.count == BATCH || !settle(helper, &returned[i])) returned[kept++] = returned[i];
    helper->returned_count = kept;
    if (helper->batch.count == 0) return;
    receivers_pass(helper);
  }
}
