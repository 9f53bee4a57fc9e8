/**
 * The connections of one worker, as columns: a slot is a connection's row, here and in the splicer, which has the
 * descriptors. Its generation counts how often the row was used, so that an event of an earlier connection is told apart.
 */
import type { Backend } from "./backend.js";
import { NOBODY } from "./deadlines.js";
import type { Target } from "./target.js";

export const State = {
  FREE: 0,
  /** A target is being connected to. */
  DIALING: 1,
  /** No target, or no instance, could be reached; they are tried again in a moment. */
  WAITING: 2,
  /** Bytes move. */
  RELAYING: 3,
  /** No target could be reached; another backend's instance is asked. */
  DELIVERING: 4,
  /** Refused and shut down; waits for the client's end, so that the alert is seen. */
  PARTING: 5,
} as const;
export type State = (typeof State)[keyof typeof State];

/** Bits of `Connections.marks`. */
export const Mark = {
  /** The client is a member of the epoll set. */
  POLLED: 1,
  /** Is on the list of those to move. */
  LISTED: 2,
  /** Is on the list of those that wait for a pipe. */
  SHORT: 4,
  /** Events tell when the client takes more bytes. */
  WRITE_POLLED: 8,
  /** Both sockets have SO_KEEPALIVE. */
  KEPT_ALIVE: 16,
  /** It began without idleTimeout. */
  MAY_IDLE: 32,
} as const;

export class Connections {
  readonly capacity: number;
  /** Connections that are not free. */
  count: number = 0;
  readonly state: Uint8Array;
  readonly marks: Uint8Array;
  readonly generation: Uint32Array;
  /** CLOCK_MONOTONIC in milliseconds: when it began to seek a target, or an instance, and when a byte last moved. */
  readonly since: Float64Array;
  readonly activeAt: Float64Array;
  /** Which of the target's addresses is tried next. */
  readonly endpoint: Uint16Array;
  /** How often it was tried again, and how many backends it has been given to. */
  readonly rounds: Uint8Array;
  readonly diversions: Uint8Array;
  /** Which of its backend's fallbacks it is at, in their order: 0 none, it seeks a target. */
  readonly fallback: Uint16Array;
  /** The errno, or words, of its last failed attempt. */
  readonly failure: (number | string)[] = [];
  readonly backend: (Backend | undefined)[] = [];
  /** The target that it has or that is tried. */
  readonly target: (Target | undefined)[] = [];
  /** Its HANDOFF as a latin1 string, until bytes have come back from its target. */
  readonly handoff: string[] = [];
  /** Which targets failed it in this round; only for the few that some did. */
  readonly tried: Map<number, Set<Target>> = new Map();

  private readonly free: Int32Array;

  constructor(capacity: number) {
    this.capacity = capacity;
    this.state = new Uint8Array(capacity);
    this.marks = new Uint8Array(capacity);
    this.generation = new Uint32Array(capacity);
    this.since = new Float64Array(capacity);
    this.activeAt = new Float64Array(capacity);
    this.endpoint = new Uint16Array(capacity);
    this.rounds = new Uint8Array(capacity);
    this.diversions = new Uint8Array(capacity);
    this.fallback = new Uint16Array(capacity);
    this.free = new Int32Array(capacity);
    for (let i = 0; i < capacity; i++) this.free[i] = capacity - 1 - i;
  }

  get room(): number {
    return this.capacity - this.count;
  }

  /** Takes a free slot, the lowest that there is at first; NOBODY if there is none. */
  take(backend: Backend, handoff: string, now: number): number {
    if (this.count === this.capacity) return NOBODY;
    const slot = this.free[this.capacity - ++this.count]!;
    this.state[slot] = State.DIALING;
    this.marks[slot] = 0;
    this.since[slot] = now;
    this.rounds[slot] = this.diversions[slot] = this.fallback[slot] = 0;
    this.backend[slot] = backend;
    this.target[slot] = undefined;
    this.handoff[slot] = handoff;
    return slot;
  }

  release(slot: number): void {
    this.tried.delete(slot);
    this.state[slot] = State.FREE;
    this.generation[slot]!++;
    this.backend[slot] = this.target[slot] = undefined;
    this.handoff[slot] = "";
    this.free[this.capacity - this.count--] = slot;
  }

  /** Notes that this target failed it in this round. */
  failedAt(slot: number, target: Target): void {
    const targets = this.tried.get(slot);
    if (targets === undefined) this.tried.set(slot, new Set([target]));
    else targets.add(target);
  }
}
