/**
 * Handoffs of one turn, sent together: one sendmmsg(2) for each channel that has some.
 */
import { encodeHandoff, type HandoffFacts, MAX_HANDOFF_LENGTH } from "../handoff/message.js";
import type { Loop } from "../native/addon.js";
import type { Channel } from "./channel.js";
import { type Connections, State } from "./connections.js";

/** Handoffs that fit: as many as one accept batch and one batch of reconsidered connections bring. */
export const OUTBOX_CAPACITY = 128;
export const OUTBOX_BYTES = OUTBOX_CAPACITY * MAX_HANDOFF_LENGTH;

export class Outbox {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private count: number = 0;
  private used: number = 0;
  private readonly slots: Int32Array = new Int32Array(OUTBOX_CAPACITY);
  private readonly starts: Uint32Array = new Uint32Array(OUTBOX_CAPACITY);
  private readonly lengths: Uint32Array = new Uint32Array(OUTBOX_CAPACITY);
  private readonly channelOf: (Channel | undefined)[] = new Array(OUTBOX_CAPACITY).fill(undefined);
  private readonly touched: (Channel | undefined)[] = new Array(OUTBOX_CAPACITY).fill(undefined);
  private touchedCount: number = 0;
  /** Position in `slots` of each message in the order of sending. */
  private readonly order: Int32Array = new Int32Array(OUTBOX_CAPACITY);

  constructor(loop: Loop, connections: Connections) {
    this.loop = loop;
    this.connections = connections;
  }

  get full(): boolean {
    return this.count === OUTBOX_CAPACITY;
  }

  get empty(): boolean {
    return this.count === 0;
  }

  /** Queues a handoff; the caller has made sure that the channel takes it and that the outbox is not full. */
  add(slot: number, channel: Channel, facts: HandoffFacts): void {
    facts.sequence = channel.sequenceOf(channel.queued);
    if (channel.queued++ === 0) this.touched[this.touchedCount++] = channel;
    const position = this.count++;
    this.slots[position] = slot;
    this.channelOf[position] = channel;
    this.starts[position] = this.used;
    const end = encodeHandoff(this.loop.sendBuffer, this.used, facts);
    this.lengths[position] = end - this.used;
    this.used = end;
    this.connections.state[slot] = State.LEAVING_WITH_OUTBOX;
  }

  /**
   * Sends everything. Calls `failed(slot, channel, errno)` for each connection that the channel did not take (which must
   * not use the outbox), and `delivered(slot)` for the others, which are outstanding on their channels. Returns how many
   * those are.
   */
  flush(
    now: number,
    delivered: (slot: number) => void,
    failed: (slot: number, channel: Channel, errno: number) => void,
  ): number {
    const { loop, connections, count } = this;
    if (count === 0) return 0;
    let next = 0;
    // A round for each channel: there are few of them in a turn, and usually one.
    for (let t = 0; t < this.touchedCount; t++) {
      const channel = this.touched[t]!;
      for (let position = 0; position < count; position++) {
        if (this.channelOf[position] !== channel) continue;
        loop.sendChannels[next] = channel.descriptor;
        loop.sendDescriptors[next] = connections.descriptor[this.slots[position]!]!;
        loop.sendOffsets[next] = this.starts[position]!;
        loop.sendLengths[next] = this.lengths[position]!;
        this.order[next++] = position;
      }
      channel.queued = 0;
    }
    loop.send(count);
    this.count = 0;
    this.used = 0;
    this.touchedCount = 0;
    let sent = 0;
    for (let i = 0; i < count; i++) {
      const position = this.order[i]!;
      const slot = this.slots[position]!;
      const errno = loop.sendResults[i]!;
      const channel = this.channelOf[position]!;
      if (errno !== 0) {
        connections.state[slot] = State.PLACING;
        failed(slot, channel, errno);
        continue;
      }
      channel.sent(slot);
      connections.state[slot] = State.OUTSTANDING;
      connections.sentAt[slot] = now;
      delivered(slot);
      sent++;
    }
    return sent;
  }
}
