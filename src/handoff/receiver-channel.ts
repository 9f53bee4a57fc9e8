/**
 * One channel from a door, on libuv's loop: reads batches of messages, does what `InstanceChannel` says about them, and
 * closes every descriptor that does not become a connection.
 */
import { constants } from "node:os";
import { type ErrorCode, PeerError } from "../errors.js";
import { Arrival, type Credentials, type MessageWatch, native, ReceiveEnd } from "../native/addon.js";
import { InstanceChannel, REVOKED, TAKEN_IN, type Unsettled, Verdict } from "./instance-channel.js";
import { HEADER_LENGTH, MAX_MESSAGE_LENGTH, MessageType, RefuseReason } from "./layout.js";
import { encodeAck, encodeDrain, encodeReady, encodeRefuse, Message } from "./message.js";
import { processName } from "./process-name.js";
import { RoomWatch } from "./room-watch.js";
import type { Sink } from "./sink.js";

/** What a channel tells its receiver. None of this may throw. */
export interface ChannelHost {
  readonly sink: Sink;
  /** The largest window that is offered, 1 to MAX_WINDOW. */
  readonly window: number;
  readonly weight: number;
  /** READY was sent for the first time. */
  greeted(channel: ReceiverChannel): void;
  refused(channel: ReceiverChannel, reason: RefuseReason): void;
  warn(error: PeerError): void;
  /** `report` should be called again soon. */
  restless(): void;
  /** The channel is closed, and everything it owned is delivered. */
  ended(channel: ReceiverChannel): void;
}

/** When `ReceiverChannel.report` wants to be called again. */
export const Restless = {
  NO: 0,
  /** The open count may change. */
  LATER: 1,
  /** The door waits for READY, or something could not be sent. */
  SOON: 2,
} as const;
export type Restless = (typeof Restless)[keyof typeof Restless];

export interface ChannelCounts {
  /** Connections owned. */
  received: number;
  /** Of them: dead on arrival, or unusable, and closed. */
  dead: number;
  refused: number;
  /** Closed because the door revoked them, or the channel ended by a violation. */
  revoked: number;
}

export class ReceiverChannel {
  readonly peer: Credentials;
  private readonly descriptor: number;
  private readonly host: ChannelHost;
  private readonly counts: ChannelCounts;
  private readonly machine: InstanceChannel;
  private readonly watch: MessageWatch;
  private readonly batchBytes: Buffer;
  private readonly roomWatch: RoomWatch;
  /** The window that the last READY offered; 0 before the first. */
  private offered: number = 0;
  /** The door was told `overloaded`, or waits for its first READY: one is due when there is room. */
  private resting: boolean = true;
  private reportedOpen: number = 0;
  private drain_: "no" | "due" | "sent" = "no";
  private closing: boolean = false;
  /** Deliveries that are still to come from the current batch. */
  private owed: number = 0;

  /** Takes `descriptor` over: an accepted SEQPACKET connection. */
  constructor(descriptor: number, peer: Credentials, host: ChannelHost, counts: ChannelCounts) {
    this.descriptor = descriptor;
    this.peer = peer;
    this.host = host;
    this.counts = counts;
    this.machine = new InstanceChannel(host.window);
    this.watch = native.watchMessages(
      descriptor,
      (count) => this.onBatch(count),
      () => this.onDelivery(),
    );
    this.watch.own();
    this.roomWatch = new RoomWatch(descriptor, () => this.trySettle());
    const { buffer } = this.watch.batch;
    this.batchBytes = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
  }

  /** Sends READY, now or as soon as there is room. */
  start(): void {
    if (this.report(true) !== Restless.NO) this.host.restless();
  }

  ref(): void {
    this.setReferenced(true);
  }

  unref(): void {
    this.setReferenced(false);
  }

  private setReferenced(referenced: boolean): void {
    if (this.closing) return;
    referenced ? this.watch.ref() : this.watch.unref();
  }

  /**
   * Asks the door for no more. What is in the queue is still acknowledged, or refused once the sink is closed.
   * `ended` follows when the door has closed the channel.
   */
  drain(): void {
    if (this.drain_ !== "no" || this.closing) return;
    this.drain_ = "due";
    this.trySettle();
  }

  /** Closes the channel; what is unsettled goes elsewhere by the door's own copies. */
  close(): void {
    if (this.closing) return;
    this.discard(this.machine.takeAll());
    this.end();
  }

  /**
   * Tries again what could not be sent, and tells the door what has changed: READY when there is room (again), else,
   * if `withCount`, the open count by repeating the last ACK. Returns when that may be worth doing again.
   */
  report(withCount: boolean): Restless {
    const { sink } = this.host;
    if (this.closing || this.machine.broken) return Restless.NO;
    this.trySettle();
    const isWaiting = this.machine.size > 0 && !this.roomWatch.isWaiting;
    if (this.drain_ !== "no" || sink.closed()) return isWaiting ? Restless.SOON : Restless.NO;
    const open = sink.open();
    const window = Math.min(this.host.window, Math.max(0, sink.room()));
    if (window > 0 && (this.resting || window > this.offered)) {
      this.sendReady(window, open);
    } else if (withCount && open !== this.reportedOpen && !this.resting) {
      const last = this.machine.acknowledged;
      if (last === undefined) this.sendReady(Math.max(1, this.offered), open);
      else if (this.send(encodeAck(scratch, 0, last, open)) === 0) this.reportedOpen = open;
    }
    if (isWaiting || this.resting) return Restless.SOON;
    return open > 0 || open !== this.reportedOpen || this.offered < window ? Restless.LATER : Restless.NO;
  }

  private sendReady(window: number, open: number): void {
    const isFirst = this.offered === 0;
    if (this.send(encodeReady(scratch, 0, { window, weight: this.host.weight, open })) !== 0) return;
    this.offered = window;
    this.resting = false;
    this.reportedOpen = open;
    if (isFirst) this.host.greeted(this);
  }

  /** Returns 0 or the errno. */
  private send(length: number): number {
    return native.sendMessage(this.descriptor, scratch.subarray(0, length));
  }

  private onBatch(count: number): number {
    if (this.closing) {
      this.discardArrived(0, count);
      return 0;
    }
    const { batch } = this.watch;
    for (let i = 0; i < count; i++) {
      const step = this.readMessage(i);
      if (step === TAKEN_IN) continue;
      this.discardArrived(i, count);
      if (step !== REVOKED) {
        this.warn("ERR_PROTOCOL", `protocol violation by ${this.door}: ${step}; its channel is closed`);
      }
      this.close();
      return 0;
    }
    switch (batch.end[0]) {
      case ReceiveEnd.CLOSED: {
        // No REVOKE came: the door is gone, and nobody else has what it left here.
        const deliveries = this.own(this.machine.takeAll());
        this.end();
        return deliveries;
      }
      case ReceiveEnd.FAILED:
        this.warn("ERR_PROTOCOL", `cannot read from ${this.door}: errno ${batch.end[1]}; its channel is closed`);
        this.close();
        return 0;
      default:
        return this.settle();
    }
  }

  private readMessage(i: number): typeof TAKEN_IN | typeof REVOKED | string {
    const { batch } = this.watch;
    const length = batch.lengths[i]!;
    if (length > batch.stride) return `a message of ${length} bytes; at most ${MAX_MESSAGE_LENGTH} are allowed`;
    const start = i * batch.stride;
    const wrong = message.decode(this.batchBytes, start, length);
    if (wrong !== undefined) return wrong;
    const arrival = batch.arrivals[i] as Arrival;
    if (message.type !== MessageType.HANDOFF) {
      if (arrival !== Arrival.NONE) return `a message of type ${message.type} with a descriptor`;
      return this.machine.receive(message, Verdict.TAKE, -1, "");
    }
    const verdict = arrival === Arrival.TCP ? this.admission() : judge(arrival);
    const text = arrival === Arrival.TCP ? this.batchBytes.toString("latin1", start, start + length) : "";
    return this.machine.receive(message, verdict, batch.descriptors[i]!, text);
  }

  /** Whether one more connection can be taken, beside those that are unsettled. */
  private admission(): Verdict {
    const { sink } = this.host;
    if (sink.closed()) return RefuseReason.DRAINING;
    const room = sink.room();
    return room === Number.POSITIVE_INFINITY || this.machine.taking < room ? Verdict.TAKE : RefuseReason.OVERLOADED;
  }

  /** Sends what is due: DRAIN, then all REFUSEs, then the ACK. Returns how many deliveries follow. */
  private settle(): number {
    const { machine, host } = this;
    if (machine.broken) return 0;
    if (this.drain_ === "due") {
      if (!this.sendOrWait(encodeDrain(scratch, 0))) return 0;
      this.drain_ = "sent";
    }
    if (host.sink.closed()) machine.refuseRest(RefuseReason.DRAINING);
    for (let handoff = machine.nextRefusal; handoff !== undefined; handoff = machine.nextRefusal) {
      const reason = handoff.verdict as RefuseReason;
      if (!this.sendOrWait(encodeRefuse(scratch, 0, handoff.sequence, reason))) return 0;
      machine.refused(handoff);
      if (handoff.descriptor >= 0) native.close(handoff.descriptor);
      this.counts.refused++;
      if (reason === RefuseReason.OVERLOADED) {
        this.resting = true;
        host.restless();
      }
      host.refused(this, reason);
    }
    const sequence = machine.acknowledgeable;
    if (sequence === undefined) return 0;
    const open = host.sink.open() + machine.taking;
    if (!this.sendOrWait(encodeAck(scratch, 0, sequence, open))) return 0;
    this.reportedOpen = open;
    host.restless();
    return this.own(machine.acknowledge());
  }

  /** `settle` outside of a batch, where every delivery needs a turn of its own. */
  private trySettle(): void {
    const deliveries = this.settle();
    for (let i = 0; i < deliveries; i++) setImmediate(() => this.onDelivery());
  }

  private sendOrWait(length: number): boolean {
    const errno = this.send(length);
    switch (errno) {
      case 0:
        return true;
      case EPIPE:
      case ECONNRESET:
      case ENOTCONN:
        this.machine.sendFailed();
        this.roomWatch.stop();
        return false;
      case EAGAIN:
        if (!this.roomWatch.start()) this.host.restless();
        return false;
      default:
        // Short of memory (ENOBUFS, ENOMEM): there is no event to wait for.
        this.host.restless();
        return false;
    }
  }

  /** They are this process's now. Returns how many deliveries follow. */
  private own(handoffs: readonly Unsettled[]): number {
    const { sink } = this.host;
    let deliveries = 0;
    for (const { descriptor, text, verdict } of handoffs) {
      if (descriptor < 0) continue;
      this.counts.received++;
      const isServed = (verdict === Verdict.TAKE || verdict === RefuseReason.OVERLOADED) && !sink.closed();
      if (!isServed) native.close(descriptor);
      if (isServed && sink.own(descriptor, text)) deliveries++;
      else this.counts.dead++;
    }
    if (sink.ownsAtOnce === true) return 0;
    this.owed += deliveries;
    return deliveries;
  }

  private onDelivery(): void {
    try {
      this.host.sink.deliver();
    } finally {
      this.owed--;
      if (this.closing && this.owed === 0) this.dispose();
    }
  }

  private get door(): string {
    return `the door, ${processName(this.peer.pid)} of user ${this.peer.uid}`;
  }

  private warn(code: ErrorCode, what: string): void {
    this.host.warn(new PeerError(code, what, this.peer));
  }

  /** Closes the descriptors of messages that are not looked at any more. */
  private discardArrived(from: number, count: number): void {
    const { descriptors } = this.watch.batch;
    for (let i = from; i < count; i++) if (descriptors[i]! >= 0) native.close(descriptors[i]!);
  }

  private discard(handoffs: readonly Unsettled[]): void {
    for (const { descriptor } of handoffs) {
      if (descriptor < 0) continue;
      native.close(descriptor);
      this.counts.revoked++;
    }
  }

  private end(): void {
    this.closing = true;
    this.roomWatch.stop();
    if (this.owed === 0) this.dispose();
  }

  private dispose(): void {
    this.watch.close();
    native.close(this.descriptor);
    this.host.ended(this);
  }
}

function judge(arrival: Arrival): Verdict {
  switch (arrival) {
    case Arrival.DEAD:
      return Verdict.BURY;
    case Arrival.OTHER:
      return RefuseReason.NOT_TCP;
    default:
      // None, lost, or several: not the one descriptor that there should be.
      return RefuseReason.NO_DESCRIPTOR;
  }
}

const { EAGAIN, ECONNRESET, ENOTCONN, EPIPE } = constants.errno;

/** The longest message that an instance sends is READY. */
const scratch = new Uint8Array(HEADER_LENGTH + 64);
/** Decoded one after another; nothing keeps it. */
const message = new Message();
