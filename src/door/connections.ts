/**
 * The connections of one worker, as columns of numbers: accepting one allocates nothing.
 *
 * A slot is a connection's row. Its generation counts how often the row was used, so that an event of an earlier
 * connection is told apart from one of this.
 */

import { ADDRESS_BYTES } from "../addresses.js";

export const State = {
  FREE: 0,
  /** Being examined or placed in this turn; in no list. */
  PLACING: 1,
  /** Its hello is not complete; in the list of waiting ones. */
  WAITING: 2,
  /** No instance can take it; in its backend's list of held ones. */
  HELD: 3,
  /** In the outbox of this turn. */
  LEAVING_WITH_OUTBOX: 4,
  /** Sent, not acknowledged; in its channel's ring. */
  OUTSTANDING: 5,
  /** Refused and shut down; waits for the client's end, so that the alert is seen. */
  PARTING: 6,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Bits of `Connections.marks`. */
export const Mark = {
  /** Is a member of the epoll set. */
  POLLED: 1,
  /** Has an entry in `refusals`. */
  REFUSED: 4,
  /** The client has closed its side while the hello was incomplete. */
  ENDED: 8,
  /** Its end is in the access log's ring. */
  RECORDED: 16,
  /** Is on the list of those to examine. */
  LISTED: 32,
  /** A PROXY header is to come, before anything else. */
  HEADER_EXPECTED: 128,
  /** Some of it has come. */
  HEADER_BEGUN: 256,
  /** Came by an http listener. */
  HTTP: 64,
  /** Its hello was read, and is in `early`. */
  READ: 512,
  /** Waits in the list of those that have sent nothing. */
  SILENT: 1024,
  /** What it begins with, if anything, is not TLS: an alert would say nothing to its client. */
  PLAIN: 2048,
} as const;

/** What has an entry in a map. */
const FORGOTTEN = Mark.REFUSED | Mark.READ;

export const NOBODY = -1;

export class Connections {
  readonly capacity: number;
  /** Connections that are not free. */
  count: number = 0;
  readonly descriptor: Int32Array;
  readonly state: Uint8Array;
  readonly marks: Uint16Array;
  readonly generation: Uint32Array;
  /** The client's address, packed: ADDRESS_BYTES a slot. Family 0: not known. Where a PROXY header told one, it is that. */
  readonly address: Uint8Array;
  /** Bytes that were read from the connection: those of a PROXY header. */
  readonly consumed: Uint16Array;
  /**
   * Where `consumed` is not 0: the connection's own peer, if the header told another, and the address that the client
   * connected to, as the header told it. Packed; family 0: the header told no addresses.
   */
  readonly proxy: Uint8Array;
  readonly server: Uint8Array;
  /** What SO_RCVLOWAT was set to; 0: it was not changed. */
  readonly lowWater: Uint32Array;
  /** Index of the listener that it came by; NOBODY if that is gone, or it was taken over from the predecessor. */
  readonly listener: Int16Array;
  /** The connection's id, two words. */
  readonly idLow: Uint32Array;
  readonly idHigh: Uint32Array;
  /** CLOCK_REALTIME in nanoseconds, two words. */
  readonly acceptedAtLow: Uint32Array;
  readonly acceptedAtHigh: Uint32Array;
  /** CLOCK_MONOTONIC in milliseconds, as all times below. */
  readonly acceptedAt: Float64Array;
  /** When its present state ends by itself: of WAITING and PARTING. */
  readonly deadline: Float64Array;
  /** Since when its backend has had no instance for it; 0: it has not been held. */
  readonly heldSince: Float64Array;
  /** When the present hold began, and how long earlier ones were together. */
  readonly heldAt: Float64Array;
  readonly heldFor: Float64Array;
  /** When it was sent to the instance whose acknowledgement it waits for. */
  readonly sentAt: Float64Array;
  /** Index of the backend that it is placed at; NOBODY: none yet, or one that is configured no more. */
  readonly backend: Int32Array;
  /** The instance that it was sent to, or is about to be. */
  readonly pid: Int32Array;
  /** Index of the fallback backend that it is to go to, whatever its route says; else NOBODY. */
  readonly diverted: Int32Array;
  /** Neighbours in the list that it is in. */
  readonly next: Int32Array;
  readonly previous: Int32Array;
  /** For each place (`Channel.key`) the instance (`Channel.instance`) that refused it there last; only for the few that were refused. */
  readonly refusals: Map<number, Map<string, string>> = new Map();
  /** What was read for a datagram that could not be sent; only for the few to which that happened. */
  readonly early: Map<number, Uint8Array> = new Map();

  private readonly free: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.descriptor = new Int32Array(capacity).fill(NOBODY);
    this.state = new Uint8Array(capacity);
    this.marks = new Uint16Array(capacity);
    this.generation = new Uint32Array(capacity);
    this.address = new Uint8Array(capacity * ADDRESS_BYTES);
    this.consumed = new Uint16Array(capacity);
    this.proxy = new Uint8Array(capacity * ADDRESS_BYTES);
    this.server = new Uint8Array(capacity * ADDRESS_BYTES);
    this.lowWater = new Uint32Array(capacity);
    this.listener = new Int16Array(capacity);
    this.idLow = new Uint32Array(capacity);
    this.idHigh = new Uint32Array(capacity);
    this.acceptedAtLow = new Uint32Array(capacity);
    this.acceptedAtHigh = new Uint32Array(capacity);
    this.acceptedAt = new Float64Array(capacity);
    this.deadline = new Float64Array(capacity);
    this.heldSince = new Float64Array(capacity);
    this.heldAt = new Float64Array(capacity);
    this.heldFor = new Float64Array(capacity);
    this.sentAt = new Float64Array(capacity);
    this.backend = new Int32Array(capacity);
    this.pid = new Int32Array(capacity);
    this.diverted = new Int32Array(capacity);
    this.next = new Int32Array(capacity);
    this.previous = new Int32Array(capacity);
    this.free = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.free[i] = capacity - 1 - i;
  }

  get room(): number {
    return this.capacity - this.count;
  }

  /** Takes a free slot for a descriptor; the caller has checked `room`. */
  take(descriptor: number): number {
    const slot = this.free[this.capacity - ++this.count]!;
    this.descriptor[slot] = descriptor;
    this.state[slot] = State.PLACING;
    this.marks[slot] = 0;
    this.diverted[slot] = NOBODY;
    this.heldSince[slot] = 0;
    this.heldFor[slot] = 0;
    this.backend[slot] = NOBODY;
    this.listener[slot] = NOBODY;
    this.address[slot * ADDRESS_BYTES] = 0;
    this.consumed[slot] = 0;
    this.lowWater[slot] = 0;
    return slot;
  }

  /** Gives the slot back and returns its descriptor, which the caller closes. */
  release(slot: number): number {
    const descriptor = this.descriptor[slot]!;
    if ((this.marks[slot]! & FORGOTTEN) !== 0) {
      this.refusals.delete(slot);
      this.early.delete(slot);
    }
    this.descriptor[slot] = NOBODY;
    this.state[slot] = State.FREE;
    this.generation[slot]!++;
    this.free[this.capacity - this.count--] = slot;
    return descriptor;
  }

  /** Notes that the instance at this place (`Channel.key`, `Channel.instance`) refused the connection. */
  refusedBy(slot: number, key: string, instance: string): void {
    this.marks[slot]! |= Mark.REFUSED;
    const instances = this.refusals.get(slot);
    if (instances === undefined) this.refusals.set(slot, new Map([[key, instance]]));
    else instances.set(key, instance);
  }
}

/** A list of slots, first in first out, with removal anywhere. A slot is in one list at most. */
export class SlotList {
  head: number = NOBODY;
  tail: number = NOBODY;
  count: number = 0;
  private readonly connections: Connections;

  constructor(connections: Connections) {
    this.connections = connections;
  }

  push(slot: number): void {
    const { next, previous } = this.connections;
    next[slot] = NOBODY;
    previous[slot] = this.tail;
    if (this.tail === NOBODY) this.head = slot;
    else next[this.tail] = slot;
    this.tail = slot;
    this.count++;
  }

  /** Puts a slot before all others. */
  unshift(slot: number): void {
    const { next, previous } = this.connections;
    previous[slot] = NOBODY;
    next[slot] = this.head;
    if (this.head === NOBODY) this.tail = slot;
    else previous[this.head] = slot;
    this.head = slot;
    this.count++;
  }

  /**
   * Inserts a slot before those whose `times` are later. In a list that is filled so throughout its head is due first; it
   * costs as little as `push` where nearly all come in order.
   */
  insert(slot: number, times: Float64Array): void {
    const { next, previous } = this.connections;
    let after = NOBODY;
    let before = this.tail;
    while (before !== NOBODY && times[before]! > times[slot]!) {
      after = before;
      before = previous[before]!;
    }
    next[slot] = after;
    previous[slot] = before;
    if (before === NOBODY) this.head = slot;
    else next[before] = slot;
    if (after === NOBODY) this.tail = slot;
    else previous[after] = slot;
    this.count++;
  }

  remove(slot: number): void {
    const { next, previous } = this.connections;
    const before = previous[slot]!;
    const after = next[slot]!;
    if (before === NOBODY) this.head = after;
    else next[before] = after;
    if (after === NOBODY) this.tail = before;
    else previous[after] = before;
    this.count--;
  }
}
