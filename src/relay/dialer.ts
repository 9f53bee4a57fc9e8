/**
 * Connecting to one target: its addresses are tried 250 ms apart, or at once when one has failed, and the first that
 * accepts is taken (RFC 8305 §5). The first attempt's socket is the slot's own; those beside it are rows here.
 */
import { constants } from "node:os";
import type { SystemCallError } from "../errors.js";
import { EPOLLERR, EPOLLHUP, EPOLLOUT, type Loop, native, type Splicer } from "../native/addon.js";
import type { Connections } from "./connections.js";
import { type Deadlines, NOBODY } from "./deadlines.js";
import { PollKind, pollTag, RELAYED_EVENTS } from "./poll-tags.js";
import type { Endpoint } from "./target.js";

/** "Connection Attempt Delay", RFC 8305 §8. Milliseconds. */
export const ATTEMPT_DELAY = 250;
const NONE = -1;

/** What a dialer tells. None of this may throw. */
export interface DialerHost {
  /** Whether bytes will be sent as soon as it is connected. */
  speaksFirst(slot: number): boolean;
  /** The slot's socket is connected; `events` are those that told it. */
  connected(slot: number, events: number): void;
  /** None of the addresses took it. */
  failed(slot: number, reason: number | string): void;
  /** This process has no descriptor, or no memory, for it. */
  short(slot: number, errno: number): void;
}

interface Attempt {
  slot: number;
  descriptor: number;
}

const { EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC } = constants.errno;
/** ENOSPC: max_user_watches, epoll_ctl(2). */
const shortages: ReadonlySet<number> = new Set([EMFILE, ENFILE, ENOBUFS, ENOMEM, ENOSPC]);

export class Dialer {
  private readonly loop: Loop;
  private readonly splicer: Splicer;
  private readonly connections: Connections;
  /** Slots whose next address is due. */
  private readonly pauses: Deadlines;
  private readonly host: DialerHost;
  /** Attempts beside a slot's own; their index is that of their event. Few at a time. */
  private readonly attempts: (Attempt | undefined)[] = [];
  /** How many each row was used. */
  private readonly generations: number[] = [];
  /** Of slots that have some. */
  private readonly beside: Map<number, number[]> = new Map();

  constructor(loop: Loop, splicer: Splicer, connections: Connections, pauses: Deadlines, host: DialerHost) {
    this.loop = loop;
    this.splicer = splicer;
    this.connections = connections;
    this.pauses = pauses;
    this.host = host;
  }

  /** Begins with the first address of the slot's target. */
  begin(slot: number): void {
    this.connections.endpoint[slot] = 0;
    this.connections.failure[slot] = 0;
    this.splicer.descriptors[2 * slot + 1] = NONE;
    this.next(slot);
  }

  /** The next address: its time has come, or the one before has failed. */
  next(slot: number): void {
    const { connections } = this;
    const target = connections.target[slot]!;
    const { endpoints } = target;
    while (connections.endpoint[slot]! < endpoints.length) {
      const descriptor = this.start(slot, endpoints[connections.endpoint[slot]++]!);
      if (descriptor >= 0) {
        if (connections.endpoint[slot]! < endpoints.length) {
          this.pauses.set(slot, this.loop.clock[0]!, ATTEMPT_DELAY);
        }
        return;
      }
      if (shortages.has(-descriptor)) {
        if (this.isTrying(slot)) return;
        this.host.short(slot, -descriptor);
        return;
      }
      connections.failure[slot] = -descriptor;
    }
    if (this.isTrying(slot)) return;
    const nothing = `no address${target.unresolved === "" ? "" : `: ${target.unresolved}`}`;
    this.host.failed(slot, endpoints.length === 0 ? nothing : connections.failure[slot]!);
  }

  /** The slot's own attempt has come to something. */
  ready(slot: number, events: number): void {
    const descriptor = this.splicer.descriptors[2 * slot + 1]!;
    if (this.hasFailed(slot, descriptor, events)) {
      this.splicer.descriptors[2 * slot + 1] = NONE;
      native.close(descriptor);
      this.next(slot);
    } else if ((events & EPOLLOUT) !== 0) {
      this.settle(slot);
      this.host.connected(slot, events);
    }
  }

  /** Whose attempt beside that is; NOBODY if it has ended meanwhile. */
  slotOf(index: number, generation: number): number {
    const isCurrent = (this.generations[index]! & 0xffffff) === generation;
    return (isCurrent ? this.attempts[index]?.slot : undefined) ?? NOBODY;
  }

  /** An attempt beside that has come to something. */
  besideReady(index: number, events: number): void {
    const { slot, descriptor } = this.attempts[index]!;
    if (this.hasFailed(slot, descriptor, events)) {
      this.drop(index);
      this.beside.set(
        slot,
        this.beside.get(slot)!.filter((each) => each !== index),
      );
      native.close(descriptor);
      this.next(slot);
    } else if ((events & EPOLLOUT) !== 0) {
      const own = this.splicer.descriptors[2 * slot + 1]!;
      if (own !== NONE) native.close(own);
      this.splicer.descriptors[2 * slot + 1] = descriptor;
      this.drop(index);
      this.settle(slot);
      this.loop.modify(descriptor, RELAYED_EVENTS, pollTag(PollKind.TARGET, this.connections.generation[slot]!), slot);
      this.host.connected(slot, events);
    }
  }

  /** Ends all attempts. */
  abandon(slot: number): void {
    const own = this.splicer.descriptors[2 * slot + 1]!;
    if (own !== NONE) native.close(own);
    this.splicer.descriptors[2 * slot + 1] = NONE;
    this.settle(slot);
  }

  private isTrying(slot: number): boolean {
    return this.splicer.descriptors[2 * slot + 1] !== NONE || (this.beside.get(slot)?.length ?? 0) > 0;
  }

  private hasFailed(slot: number, descriptor: number, events: number): boolean {
    if ((events & (EPOLLERR | EPOLLHUP)) === 0) return false;
    this.connections.failure[slot] = native.pendingError(descriptor) || constants.errno.ECONNRESET;
    return true;
  }

  /** Nothing but the slot's own socket is left. */
  private settle(slot: number): void {
    this.pauses.clear(slot);
    const others = this.beside.get(slot);
    if (others === undefined) return;
    this.beside.delete(slot);
    for (const index of others) {
      const attempt = this.attempts[index];
      if (attempt === undefined || attempt.slot !== slot) continue;
      native.close(attempt.descriptor);
      this.drop(index);
    }
  }

  private drop(index: number): void {
    this.attempts[index] = undefined;
    this.generations[index]!++;
  }

  /** Returns the descriptor, or the negative errno. */
  private start(slot: number, endpoint: Endpoint): number {
    const descriptor =
      endpoint.socketAddress === undefined
        ? connectUnix(endpoint.path)
        : native.dial(endpoint.socketAddress, this.host.speaksFirst(slot));
    if (descriptor < 0) return descriptor;
    try {
      this.watch(slot, descriptor);
    } catch (error) {
      native.close(descriptor);
      return -(error as SystemCallError).errno;
    }
    return descriptor;
  }

  private watch(slot: number, descriptor: number): void {
    const { descriptors } = this.splicer;
    if (descriptors[2 * slot + 1] === NONE && !this.beside.has(slot)) {
      const tag = pollTag(PollKind.TARGET, this.connections.generation[slot]!);
      this.loop.add(descriptor, RELAYED_EVENTS, tag, slot);
      descriptors[2 * slot + 1] = descriptor;
      return;
    }
    let index = this.attempts.indexOf(undefined);
    if (index < 0) index = this.attempts.length;
    this.generations[index] ??= 0;
    this.loop.add(descriptor, RELAYED_EVENTS, pollTag(PollKind.ATTEMPT, this.generations[index]!), index);
    this.attempts[index] = { slot, descriptor };
    const others = this.beside.get(slot);
    if (others === undefined) this.beside.set(slot, [index]);
    else others.push(index);
  }
}

/** Connects at once or not at all: EAGAIN when the backlog is full, which no event would tell the end of. */
function connectUnix(path: string): number {
  try {
    return native.connectUnix(path, "stream", {});
  } catch (error) {
    return -(error as SystemCallError).errno;
  }
}
