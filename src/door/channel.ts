/**
 * The door's side of one channel: what was sent to an instance and is not acknowledged yet. Bookkeeping only; the
 * system calls are in channels.ts. States as in handoff/PROTOCOL.md.
 */
import { MAX_WINDOW, RefuseReason } from "../handoff/layout.js";
import { distance } from "../handoff/message.js";
import { NOBODY } from "./connections.js";
import type { ChannelStatus, HandoffBackendSettings } from "./settings.js";

export const ChannelState = {
  /** Not connected; tried again at `retryAt`. */
  ABSENT: 0,
  /** Connected, READY has not come. */
  GREETING: 1,
  READY: 2,
  /** DRAIN came: nothing more is sent; closed once nothing is outstanding. */
  DRAINING: 3,
  /** shutdown(SHUT_RD) is done and REVOKE could not be sent yet. */
  REVOKING: 4,
} as const;
export type ChannelState = (typeof ChannelState)[keyof typeof ChannelState];

/** A window of slots indexed by sequence number modulo its size: 2^32 is a multiple of 128, so wrapping is seamless. */
const RING = MAX_WINDOW;

export class Channel {
  /** Index in the worker's array of channels. */
  readonly index: number;
  /** Index of its backend in the settings, and those; both change with a new configuration. */
  backend: number;
  settings: HandoffBackendSettings;
  readonly path: string;
  /** Names the place of the instance: backend and path. */
  readonly key: string;
  /** Names the instance itself in lists of who refused a connection: whoever listens there next is another one. */
  instance: string;
  /** How often READY has said that there is room again. */
  private rooms: number = 0;
  /** It has refused for want of room, and not said READY since: the next one says that there is room. */
  isFull: boolean = false;
  /** It has lost a descriptor, and cannot know when it has room for one: the end of its rest says that there is. */
  lacksDescriptors: boolean = false;
  state: ChannelState = ChannelState.ABSENT;
  descriptor: number = NOBODY;
  /** Counts connects, so that an epoll event of an earlier connection is told apart. */
  generation: number = 0;
  retryAt: number = 0;
  /** Errno name of the last failed connect, so that each cause is logged once. */
  connectFailure: string = "";
  /** Why it has no instance, or lost its last one: an errno name, or words. Empty from READY on. */
  lastFailure: string = "";
  /**
   * At the last connect the service manager had called listen(2) there: connecting starts its service. Such a path is
   * connected lazily, whatever the settings say, or a service that was stopped would be started again.
   */
  managed: boolean = false;
  /** By the operator: gets nothing new. */
  drained: boolean = false;
  /** The owner of the path when it was connected; NOBODY where that proves nothing. */
  ownerUid: number = NOBODY;
  pid: number = NOBODY;
  uid: number = NOBODY;
  window: number = 0;
  weight: number = 1;
  /** Connections that the instance said it has open. */
  open: number = 0;
  /** Current weight of smooth weighted round-robin (balance.ts). */
  credit: number = 0;
  /** Gets nothing before this time. */
  restsUntil: number = 0;
  /** Has not acknowledged for longer than allowed. */
  stalled: boolean = false;
  /** First violation of the protocol, if there was one. */
  violation: string | undefined;
  /** When it is read again, or REVOKE is sent, since that has failed; Infinity: an event tells it. */
  againAt: number = Number.POSITIVE_INFINITY;
  /** REVOKING: everything that the instance had said is read. */
  isRead: boolean = false;
  /** The errno of reading that has been told. */
  readFailure: number = 0;
  /** The errno of handoffs that has been told. */
  sendFailure: number = 0;
  /** No longer configured: finish what is outstanding, then close and forget. */
  retired: boolean = false;
  /** Messages in the outbox of this turn. */
  queued: number = 0;

  /** Sequence of the next HANDOFF. */
  private nextSequence: number;
  /** Everything up to this sequence is acknowledged or refused. */
  private settled: number;
  private readonly ring: Int32Array = new Int32Array(RING).fill(NOBODY);
  /** Sent, neither acknowledged nor refused. */
  outstanding: number = 0;

  constructor(
    index: number,
    backend: number,
    settings: HandoffBackendSettings,
    path: string,
    key: string,
    firstSequence = 1,
  ) {
    this.index = index;
    this.backend = backend;
    this.settings = settings;
    this.path = path;
    this.key = key;
    this.instance = key;
    this.nextSequence = firstSequence >>> 0;
    this.settled = (firstSequence - 1) >>> 0;
  }

  /** Is connected only while a client waits for its backend. */
  get lazy(): boolean {
    return this.managed || this.settings.connect === "lazily";
  }

  /** READY came after refusals for want of room, or a rest ended after one for want of descriptors: what the instance refused may come to it again. */
  hasRoomAgain(): void {
    this.isFull = false;
    this.lacksDescriptors = false;
    this.instance = `${this.key} ${this.generation}.${++this.rooms}`;
  }

  /** Connections that the instance has, as far as is known here: open, or on their way. */
  get load(): number {
    return this.open + this.outstanding + this.queued;
  }

  /** A fresh connection: sequences start again, nothing is outstanding. */
  connected(descriptor: number): void {
    this.descriptor = descriptor;
    this.state = ChannelState.GREETING;
    this.generation++;
    this.instance = `${this.key} ${this.generation}`;
    this.isFull = false;
    this.lacksDescriptors = false;
    this.nextSequence = 1;
    this.settled = 0;
    this.open = 0;
    this.restsUntil = 0;
    this.stalled = false;
    this.violation = undefined;
    this.againAt = Number.POSITIVE_INFINITY;
    this.isRead = false;
    this.readFailure = 0;
    this.sendFailure = 0;
    this.ring.fill(NOBODY);
    this.outstanding = 0;
  }

  /** The connection is closed; what is known of the instance is forgotten. */
  closed(): void {
    this.descriptor = NOBODY;
    this.state = ChannelState.ABSENT;
    this.pid = NOBODY;
    this.uid = NOBODY;
    this.window = 0;
    this.open = 0;
    this.restsUntil = 0;
    this.stalled = false;
    this.againAt = Number.POSITIVE_INFINITY;
  }

  /** How many HANDOFFs may be sent now. */
  room(now: number): number {
    if (
      this.state !== ChannelState.READY ||
      this.stalled ||
      this.violation !== undefined ||
      this.retired ||
      this.drained ||
      this.restsUntil > now
    ) {
      return 0;
    }
    // READY may offer a smaller window than there are outstanding.
    return Math.max(0, this.window - this.queued - ((this.nextSequence - this.settled - 1) | 0));
  }

  /** Whether one more HANDOFF may be sent now. */
  takes(now: number): boolean {
    return this.room(now) > 0;
  }

  /** The sequence that the message at `position` of those queued now will carry. */
  sequenceOf(position: number): number {
    return (this.nextSequence + position) >>> 0;
  }

  /** The next HANDOFF was sent for this slot. */
  sent(slot: number): void {
    this.ring[this.nextSequence % RING] = slot;
    this.nextSequence = (this.nextSequence + 1) >>> 0;
    this.outstanding++;
  }

  /** The last sequence that was acknowledged, or passed over: what REVOKE carries. */
  get acknowledged(): number {
    return this.settled;
  }

  /**
   * A cumulative ACK. Calls `owned` for each slot that the instance has now. Returns what is wrong with it, or
   * undefined; one that is behind the last is a report of the open count only.
   */
  acknowledge(sequence: number, owned: (slot: number) => void): string | undefined {
    if (distance(sequence, this.nextSequence) <= 0) {
      return `ACK of ${sequence}, but ${(this.nextSequence - 1) >>> 0} is the last that was sent`;
    }
    while (distance(this.settled, sequence) > 0) {
      this.settled = (this.settled + 1) >>> 0;
      const slot = this.ring[this.settled % RING]!;
      if (slot !== NOBODY) {
        this.ring[this.settled % RING] = NOBODY;
        this.outstanding--;
        owned(slot);
      }
    }
    this.passOverRefused();
    return undefined;
  }

  /** A REFUSE. Returns the slot, or what is wrong with it. */
  refuse(sequence: number): number | string {
    const outstanding = distance(this.settled, sequence) > 0 && distance(sequence, this.nextSequence) > 0;
    const slot = outstanding ? this.ring[sequence % RING]! : NOBODY;
    if (slot === NOBODY) return `REFUSE of ${sequence}, which is not outstanding`;
    this.ring[sequence % RING] = NOBODY;
    this.outstanding--;
    this.passOverRefused();
    return slot;
  }

  /** Takes back every slot that is outstanding, oldest first. */
  takeBack(take: (slot: number) => void): void {
    for (let s = (this.settled + 1) >>> 0; s !== this.nextSequence; s = (s + 1) >>> 0) {
      const slot = this.ring[s % RING]!;
      this.ring[s % RING] = NOBODY;
      if (slot !== NOBODY) take(slot);
    }
    this.settled = (this.nextSequence - 1) >>> 0;
    this.outstanding = 0;
  }

  /** The slot that has waited longest for its acknowledgement, or NOBODY. */
  get oldest(): number {
    if (this.outstanding === 0) return NOBODY;
    return this.ring[(this.settled + 1) % RING]!;
  }

  /** Refused ones at the head of the window would otherwise close it for ever if the instance acknowledges nothing. */
  private passOverRefused(): void {
    while ((this.settled + 1) >>> 0 !== this.nextSequence && this.ring[((this.settled + 1) >>> 0) % RING] === NOBODY) {
      this.settled = (this.settled + 1) >>> 0;
    }
  }
}

/** Words for a state in snapshots. */
export const channelStateName: Readonly<Record<ChannelState, ChannelStatus["state"]>> = {
  [ChannelState.ABSENT]: "absent",
  [ChannelState.GREETING]: "greeting",
  [ChannelState.READY]: "ready",
  [ChannelState.DRAINING]: "draining",
  [ChannelState.REVOKING]: "revoking",
};

/** Words for a reason of REFUSE in logs. */
export const refuseReasonName: Readonly<Record<number, string>> = {
  [RefuseReason.NO_DESCRIPTOR]: "no descriptor",
  [RefuseReason.NOT_TCP]: "not a TCP socket",
  [RefuseReason.OVERLOADED]: "overloaded",
  [RefuseReason.DRAINING]: "draining",
};
