/** Which connections have bytes to move, and what came of moving them. */
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  type Splicer,
  SplicerFlag,
  SplicerOutcome,
} from "../native/addon.js";
import { type Connections, Mark, State } from "./connections.js";

/** Connections that one call of the splicer handles. */
export const BATCH = 64;
/** Pipes that are kept when none is needed, and how long the others are. Milliseconds. */
const SPARE_PIPES = 16;
const SPARE_TIME = 1000;
/** How long bytes wait that got no pipe, if nobody gives one back. Milliseconds. */
const SHORTAGE_REST = 100;

export interface MoverHost {
  /** How many bytes were passed on; called first of all, after each move. */
  moved(slot: number, toTarget: number, toClient: number): void;
  /** A side has failed: `Splicer.errors` tells which. */
  broke(slot: number): void;
  /** Both sides have closed, and know of each other. */
  completed(slot: number): void;
  shortOfPipes(): void;
  /** Something else has thrown. */
  defect(slot: number, error: Error): void;
}

// What each event needs, as constants of this file: an imported constant is read from its module's cell at each use.
const { READABLE, WRITABLE, BROKEN, ENDING } = SplicerFlag;
const { MORE, NO_PIPE, FAILED, DONE } = SplicerOutcome;
const { LISTED, SHORT } = Mark;
const { RELAYING } = State;
const READ_EVENTS = EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR;
const WRITE_EVENTS = EPOLLOUT | EPOLLHUP | EPOLLERR;
const END_EVENTS = EPOLLRDHUP | EPOLLHUP;
const ERROR = EPOLLERR;

/** Flags of a side (0 the client, 1 the target) from epoll events. */
export function sideFlags(side: number, events: number): number {
  const readable = (events & READ_EVENTS) === 0 ? 0 : READABLE;
  const writable = (events & WRITE_EVENTS) === 0 ? 0 : WRITABLE;
  const broken = (events & ERROR) === 0 ? 0 : BROKEN;
  const ending = (events & END_EVENTS) === 0 ? 0 : ENDING;
  return (readable | writable | broken | ending) << side;
}

export class Mover {
  private readonly splicer: Splicer;
  private readonly connections: Connections;
  private readonly host: MoverHost;
  /** Slots to be moved: each at most once. `taken` are those of the turn that runs. */
  private listed: Int32Array;
  private taken: Int32Array;
  private count: number = 0;
  /** Slots that found no pipe. */
  private readonly short: Int32Array;
  private shortCount: number = 0;
  private shortUntil: number = Number.POSITIVE_INFINITY;
  private trimAt: number = Number.POSITIVE_INFINITY;

  constructor(splicer: Splicer, connections: Connections, host: MoverHost) {
    this.splicer = splicer;
    this.connections = connections;
    this.host = host;
    this.listed = new Int32Array(connections.capacity);
    this.taken = new Int32Array(connections.capacity);
    this.short = new Int32Array(connections.capacity);
  }

  /** 0: there is something to move now. */
  get dueAt(): number {
    return this.count > 0 ? 0 : Math.min(this.shortUntil, this.trimAt);
  }

  /** Something has happened to a relayed connection. */
  ready(slot: number, flags: number): void {
    this.splicer.flags[slot]! |= flags;
    this.list(slot);
  }

  private list(slot: number): void {
    const { marks } = this.connections;
    if ((marks[slot]! & LISTED) !== 0) return;
    marks[slot]! |= LISTED;
    this.listed[this.count++] = slot;
  }

  /** The slot is relayed no more. */
  forget(slot: number): void {
    const { marks } = this.connections;
    if ((marks[slot]! & LISTED) !== 0) this.count = without(this.listed, this.count, slot);
    if ((marks[slot]! & SHORT) !== 0) this.shortCount = without(this.short, this.shortCount, slot);
    if (this.shortCount === 0) this.shortUntil = Number.POSITIVE_INFINITY;
    marks[slot]! &= ~(LISTED | SHORT);
  }

  /** Moves what there is. `now` is CLOCK_MONOTONIC in milliseconds. */
  move(now: number): void {
    if (this.shortCount > 0) this.relieve(now);
    const { count, listed, splicer } = this;
    this.listed = this.taken;
    this.taken = listed;
    this.count = 0;
    const { marks, state } = this.connections;
    for (let at = 0; at < count; ) {
      let size = 0;
      for (; at < count && size < BATCH; at++) {
        const slot = listed[at]!;
        if (state[slot] !== RELAYING) continue;
        marks[slot]! &= ~LISTED;
        splicer.rows[size++] = slot;
      }
      splicer.move(size);
      for (let i = 0; i < size; i++) {
        try {
          this.settle(splicer.rows[i]!, i, now);
        } catch (error) {
          this.host.defect(splicer.rows[i]!, error as Error);
        }
      }
    }
    if (this.trimAt <= now) this.trim();
    else if (this.trimAt === Number.POSITIVE_INFINITY && this.spare > SPARE_PIPES) this.trimAt = now + SPARE_TIME;
  }

  private settle(slot: number, i: number, now: number): void {
    const { bytes, outcomes } = this.splicer;
    this.host.moved(slot, bytes[2 * i]!, bytes[2 * i + 1]!);
    const outcome = outcomes[i]!;
    if (outcome === 0) return;
    if ((outcome & FAILED) !== 0) this.host.broke(slot);
    else if ((outcome & DONE) !== 0) this.host.completed(slot);
    else if ((outcome & MORE) !== 0) this.list(slot);
    else if ((outcome & NO_PIPE) !== 0) this.wait(slot, now);
  }

  private wait(slot: number, now: number): void {
    const { marks } = this.connections;
    if ((marks[slot]! & SHORT) !== 0) return;
    marks[slot]! |= SHORT;
    this.short[this.shortCount++] = slot;
    if (this.shortUntil === Number.POSITIVE_INFINITY) this.shortUntil = now + SHORTAGE_REST;
    this.host.shortOfPipes();
  }

  private get spare(): number {
    return this.splicer.pool[0]! - this.splicer.pool[1]!;
  }

  /** A pipe was given back, or one may be made now. */
  private relieve(now: number): void {
    if (this.spare === 0 && now < this.shortUntil) return;
    this.shortUntil = Number.POSITIVE_INFINITY;
    const { marks } = this.connections;
    const count = this.shortCount;
    this.shortCount = 0;
    for (let i = 0; i < count; i++) {
      const slot = this.short[i]!;
      marks[slot]! &= ~SHORT;
      this.list(slot);
    }
  }

  private trim(): void {
    this.trimAt = Number.POSITIVE_INFINITY;
    this.splicer.trim(SPARE_PIPES);
  }
}

function without(list: Int32Array, count: number, slot: number): number {
  const at = list.subarray(0, count).indexOf(slot);
  list[at] = list[count - 1]!;
  return count - 1;
}
