/**
 * The life of a relayed connection in one worker:
 *
 *   received -> dial --a target takes it--> bytes move --both have closed--> closed
 *                |  ^                          |--reset, idle, too old--> both are reset
 *                |  +--hold isn't over: wait
 *                +--none does--> the fallback: another backend's targets (dial), another backend's instances (deliver; wait,
 *                                while its hold isn't over; then its own fallback), or refuse -> parting -> closed
 *
 * Until a target has taken it nothing is read from the client, so that it can be given to any other. `close` is the only
 * place that closes a client's descriptor.
 */
import { getSystemErrorName } from "node:util";
import { FieldType, Flag, HEADER_LENGTH } from "../handoff/layout.js";
import { Message } from "../handoff/message.js";
import { answer, answerFor } from "../http/answers.js";
import { type Loop, native, type Splicer, SplicerFlag } from "../native/addon.js";
import { type AlertName, alertRecord } from "../tls/alerts.js";
import { Backend, type BackendHost } from "./backend.js";
import { choose } from "./balance.js";
import { Connections, Mark, State } from "./connections.js";
import { RelayCounter } from "./counters.js";
import { Deadlines, NOBODY } from "./deadlines.js";
import type { Delivery, HandoffFallback } from "./delivery.js";
import { Dialer, type DialerHost } from "./dialer.js";
import { RelayGauge } from "./gauges.js";
import { BATCH, Mover, type MoverHost, sideFlags } from "./mover.js";
import {
  PARTING_EVENTS,
  PollKind,
  pollTag,
  READING_EVENTS,
  RELAYED_EVENTS,
  WAITING_EVENTS,
  WAITING_PLAIN_EVENTS,
} from "./poll-tags.js";
import { header, proxyHeader } from "./proxy-header.js";
import { Report } from "./report.js";
import type {
  RelayFallback,
  RelayReport,
  RelaySettings,
  RelaySocketSettings,
  RelayWorkerData,
  TargetAddress,
} from "./settings.js";
import { TargetStat } from "./target-stats.js";

const EVENTS = 256;
/** What a pipe is asked to hold. Bytes. */
const PIPE_BYTES = 1 << 19;
/** How soon all targets are tried again, the first time and at most. Milliseconds. */
const FIRST_RETRY = 100;
const LONGEST_RETRY = 1600;
/** How long nothing new is taken after descriptors or memory were short. Milliseconds. */
const SHORTAGE_REST = 100;
/** A connection's idleness is looked at so many times in `idleTimeout`: it ends by so much of that too late. */
const IDLE_LOOKS = 8;
/** When connections without `idleTimeout` are looked at: once. Milliseconds. */
const FIRST_LOOK = 10_000;
/** How long a client may take to close after it was refused. Milliseconds. */
const PARTING_PATIENCE = 1000;
/** Most bytes that are read away at a time. */
const DISCARD = 1 << 16;
/** Backends that a connection is given to, should their fallbacks go round in a circle. */
const MOST_DIVERSIONS = 8;
const NOTHING = new Uint8Array(0);

export class Relay implements BackendHost, DialerHost, MoverHost {
  readonly loop: Loop;
  private readonly splicer: Splicer;
  private readonly connections: Connections;
  private readonly counters: Uint32Array;
  private readonly gauges: Float64Array;
  private readonly startedAt: number;
  private readonly post: (report: RelayReport) => void;
  private readonly report: Report;
  private readonly dialer: Dialer;
  private readonly mover: Mover;
  private readonly delivery: Delivery;
  private readonly message: Message = new Message();
  private backends: readonly Backend[] = [];

  /** Until when the target of a connection may be dialed. */
  private readonly dials: Deadlines;
  /** When the next address is tried, all targets are tried again, or parting ends: by the connection's state. */
  private readonly pauses: Deadlines;
  private readonly idles: Deadlines;
  private readonly lifetimes: Deadlines;

  private established: number = 0;
  private dialing: number = 0;
  private parting: number = 0;
  /** Descriptors in the splicer's batch of closes. */
  private closing: number = 0;
  /** Nothing new is taken before. */
  private restsUntil: number = 0;
  /** Backends whose doors may still have something on the way. */
  private listening: number = 0;
  private drainDeadline: number = Number.POSITIVE_INFINITY;
  private isDrained: boolean = false;

  /** Listens in every backend's folder at once. Throws what `Receiver` does. */
  constructor(data: RelayWorkerData, delivery: Delivery, post: (report: RelayReport) => void) {
    const { capacity } = data;
    this.post = post;
    this.report = new Report(post);
    this.delivery = delivery;
    this.counters = new Uint32Array(data.memory.counters);
    this.gauges = new Float64Array(data.memory.gauges);
    this.loop = native.createLoop({ events: EVENTS, peeks: 1, peekBytes: 1, sends: 1, sendBytes: 1, closes: 1 });
    this.startedAt = this.loop.clock[0]!;
    const pipes = Math.max(1, data.pipes);
    this.splicer = native.createSplicer({ rows: capacity, batch: BATCH, pipes, pipeBytes: PIPE_BYTES });
    this.connections = new Connections(capacity);
    this.dials = new Deadlines(capacity);
    this.pauses = new Deadlines(capacity);
    this.idles = new Deadlines(capacity);
    this.lifetimes = new Deadlines(capacity);
    this.dialer = new Dialer(this.loop, this.splicer, this.connections, this.pauses, this);
    this.mover = new Mover(this.splicer, this.connections, this);
    this.configure(data.settings, data.targetMemory, true);
  }

  // --- from the control plane ------------------------------------------------------------------------------------

  configure(settings: RelaySettings, targetMemory: SharedArrayBuffer, isFirst = false): void {
    const known = new Map(this.backends.map((backend) => [backend.settings.name, backend]));
    this.backends = settings.backends.map((each) => {
      const backend = known.get(each.name);
      if (backend === undefined || backend.settings.folder !== each.folder) return new Backend(each, this);
      known.delete(each.name);
      backend.configure(each);
      return backend;
    });
    for (const backend of this.backends) {
      const last = withFollowing(backend.settings.fallback).at(-1)!;
      backend.diversion = last.kind === "relay" ? this.backends[last.backend] : undefined;
    }
    for (const backend of this.backends) if (!backend.isListening) this.listen(backend, settings.sockets, isFirst);
    for (const backend of known.values()) this.leave(backend);
    const stats = new Float64Array(targetMemory);
    let row = 0;
    for (const { targets } of this.backends) for (const target of targets) target.countIn(stats, row++);
    const fallbacks = settings.backends.flatMap(({ fallback }) => withFollowing(fallback));
    this.delivery.configure(fallbacks.filter((each): each is HandoffFallback => each.kind === "handoff"));
    this.post({ type: "configured", generation: settings.generation });
  }

  /** A reload that finds a folder missing must not cost the connections that there are. */
  private listen(backend: Backend, sockets: RelaySocketSettings, isFirst: boolean): void {
    try {
      backend.listen(sockets);
      this.listening++;
    } catch (error) {
      if (isFirst) throw error;
      const message = `no door can reach backend ${backend.settings.name}: ${(error as Error).message}`;
      this.report.line(this.loop.clock[0]!, "error", "backend.unreachable", message, {
        backend: backend.settings.name,
      });
    }
  }

  /** What a target's name resolves to now. */
  addresses(backend: string, target: string, addresses: readonly TargetAddress[], failure: string): void {
    for (const { settings, targets } of this.backends) {
      if (settings.name !== backend) continue;
      for (const each of targets) if (each.name === target) each.resolved(addresses, failure);
    }
  }

  snapshot(id: number): void {
    const now = this.loop.clock[0]!;
    const targets = this.backends.flatMap((backend) => backend.targets.map((target) => target.status(now)));
    this.post({ type: "snapshot", id, targets });
  }

  /** Repeats `beat` where the control plane sees it. */
  ping(beat: number): void {
    this.gauges[RelayGauge.heartbeat] = beat;
  }

  /** Takes no more; reports "drained" when nothing is left, or what is left was reset after `timeout` milliseconds. */
  drain(timeout: number): void {
    if (this.isDraining) return;
    this.drainDeadline = this.loop.clock[0]! + timeout;
    for (const backend of this.backends) this.leave(backend);
  }

  private get isDraining(): boolean {
    return this.drainDeadline !== Number.POSITIVE_INFINITY;
  }

  private leave(backend: Backend): void {
    for (const target of backend.targets) if (!this.isDraining) target.forget();
    backend.close()?.then(() => {
      this.listening--;
    });
  }

  // --- one turn --------------------------------------------------------------------------------------------------

  /** Turns until libuv wants one of its own. Called by the loop's `run`. */
  turns(): void {
    const { loop } = this;
    do {
      this.writeGauges();
      this.dispatch(loop.wait(this.timeout(), 0));
      this.mover.move(loop.clock[0]!);
      this.tick();
      this.flushCloses();
      if (this.isDraining && !this.isDrained) this.checkDrained();
    } while (loop.flags[0] === 0);
  }

  private writeGauges(): void {
    const { gauges } = this;
    const { clock } = this.loop;
    gauges[RelayGauge.connections] = this.connections.count;
    gauges[RelayGauge.established] = this.established;
    gauges[RelayGauge.dialing] = this.dialing;
    gauges[RelayGauge.parting] = this.parting;
    gauges[RelayGauge.pipes] = this.splicer.pool[0]!;
    gauges[RelayGauge.pipes_in_use] = this.splicer.pool[1]!;
    gauges[RelayGauge.busy_milliseconds] = clock[0]! - this.startedAt - clock[2]!;
  }

  /** How long there is nothing to do unless something happens: milliseconds, -1 for ever. */
  private timeout(): number {
    if (this.closing > 0 || (this.isDraining && !this.isDrained && this.isEmpty)) return 0;
    const due = Math.min(
      this.mover.dueAt,
      this.dials.dueAt,
      this.pauses.dueAt,
      this.idles.dueAt,
      this.lifetimes.dueAt,
      this.isDrained ? Number.POSITIVE_INFINITY : this.drainDeadline,
    );
    return due === Number.POSITIVE_INFINITY ? -1 : Math.max(0, due - this.loop.clock[0]!);
  }

  private dispatch(count: number): void {
    const { events } = this.loop;
    const { generation } = this.connections;
    for (let i = 0; i < count; i++) {
      const happened = events[3 * i]!;
      const tag = events[3 * i + 1]!;
      const index = events[3 * i + 2]!;
      const kind = tag & 0xff;
      const isCurrent = (generation[index]! & 0xffffff) === tag >>> 8;
      const slot = kind === PollKind.ATTEMPT ? this.dialer.slotOf(index, tag >>> 8) : isCurrent ? index : NOBODY;
      if (slot === NOBODY) continue;
      try {
        if (kind === PollKind.ATTEMPT) this.dialer.besideReady(index, happened);
        else this.socketReady(slot, kind - PollKind.CLIENT, happened);
      } catch (error) {
        this.defect(slot, error as Error);
      }
    }
  }

  /** `side`: 0 the client, 1 the target. */
  private socketReady(slot: number, side: number, events: number): void {
    switch (this.connections.state[slot]) {
      case State.RELAYING:
        this.mover.ready(slot, sideFlags(side, events));
        break;
      case State.DIALING:
        if (side === 1) this.dialer.ready(slot, events);
        else this.clientGone(slot);
        break;
      case State.WAITING:
        if (side === 0) this.clientGone(slot);
        break;
      case State.PARTING:
        if (side === 0 && native.discard(this.clientOf(slot), DISCARD)) this.close(slot);
        break;
    }
  }

  /** What is due by time. */
  private tick(): void {
    const now = this.loop.clock[0]!;
    this.due(this.dials, now, this.dialTimedOut);
    this.due(this.pauses, now, this.pauseOver);
    this.due(this.idles, now, this.lookAtIdle);
    this.due(this.lifetimes, now, this.tooOld);
  }

  private due(deadlines: Deadlines, now: number, act: (this: this, slot: number, now: number) => void): void {
    for (let slot = deadlines.expired(now); slot !== NOBODY; slot = deadlines.expired(now)) {
      try {
        act.call(this, slot, now);
      } catch (error) {
        this.defect(slot, error as Error);
      }
    }
  }

  private pauseOver(slot: number): void {
    this.pauses.clear(slot);
    switch (this.connections.state[slot]) {
      case State.DIALING:
        this.dialer.next(slot);
        break;
      case State.WAITING:
        if (this.connections.fallback[slot] !== 0) {
          this.deliver(slot);
          break;
        }
        this.connections.tried.delete(slot);
        this.dial(slot);
        break;
      default:
        this.close(slot);
    }
  }

  // --- received --------------------------------------------------------------------------------------------------

  /** BackendHost: how many more are taken now; none for a moment after descriptors were short. */
  room(): number {
    return this.loop.clock[0]! < this.restsUntil ? 0 : this.connections.room;
  }

  /** BackendHost. */
  refused(): void {
    this.counters[RelayCounter.overloaded]!++;
  }

  /** BackendHost. */
  warn(backend: Backend, event: string, message: string): void {
    this.report.line(this.loop.clock[0]!, "warn", event, message, { backend: backend.settings.name });
  }

  /** BackendHost: a door's connection, in a turn of libuv's. */
  received(backend: Backend, descriptor: number, handoff: string): void {
    this.counters[RelayCounter.received]!++;
    const slot = this.connections.take(backend, handoff, this.loop.clock[0]!);
    if (slot === NOBODY) {
      // More than the doors were told that there is room for.
      this.counters[RelayCounter.refused]!++;
      try {
        native.farewell(descriptor, this.farewellTo(handoff, "internal_error"), DISCARD);
      } catch {
        // Then without a word.
      }
      native.close(descriptor);
      return;
    }
    backend.active++;
    this.countState(State.DIALING, 1);
    this.splicer.descriptors[2 * slot] = descriptor;
    this.splicer.descriptors[2 * slot + 1] = NOBODY;
    try {
      this.dial(slot);
    } catch (error) {
      this.defect(slot, error as Error);
    }
  }

  // --- dial ------------------------------------------------------------------------------------------------------

  /** Tries a target that has not failed it in this round. */
  private dial(slot: number): void {
    const { connections } = this;
    const backend = connections.backend[slot]!;
    const { balance, connectTimeout } = backend.settings;
    const now = this.loop.clock[0]!;
    const target = choose(backend.targets, balance, now, backend.turn++, connections.tried.get(slot));
    if (target === undefined) {
      this.noneIsLeft(slot, now);
      return;
    }
    const failed = connections.target[slot];
    if (failed !== undefined) {
      failed.count(TargetStat.retried, 1);
      this.counters[RelayCounter.retried]!++;
    }
    this.setState(slot, State.DIALING);
    connections.target[slot] = target;
    connections.activeAt[slot] = now;
    target.chosen(now, connectTimeout);
    this.dials.set(slot, now, connectTimeout);
    this.dialer.begin(slot);
  }

  private dialTimedOut(slot: number): void {
    this.connections.target[slot]!.count(TargetStat.connect_timeouts, 1);
    this.targetFailed(slot, "no answer within connectTimeout");
  }

  /** DialerHost: a TLS client's hello is there. */
  speaksFirst(slot: number): boolean {
    return (flagsOf(this.connections.handoff[slot]!) & Flag.TLS) !== 0;
  }

  /** DialerHost: none of the target's addresses took it. */
  failed(slot: number, reason: number | string): void {
    this.connections.target[slot]!.count(TargetStat.connect_failures, 1);
    this.targetFailed(slot, typeof reason === "string" ? reason : getSystemErrorName(-reason));
  }

  private targetFailed(slot: number, reason: string): void {
    const { connections } = this;
    const now = this.loop.clock[0]!;
    const target = connections.target[slot]!;
    this.endDial(slot);
    target.active--;
    target.failed(now, connections.activeAt[slot]!, reason);
    this.report.targetFailed(now, target, reason);
    connections.failedAt(slot, target);
    this.dial(slot);
  }

  /** DialerHost: this process is short of something, the target has done nothing wrong. */
  short(slot: number, errno: number): void {
    const now = this.loop.clock[0]!;
    const { connections } = this;
    const { hold, connectTimeout } = connections.backend[slot]!.settings;
    this.endDial(slot);
    connections.target[slot]!.active--;
    connections.target[slot] = undefined;
    this.beShort(now, errno);
    if (now > connections.since[slot]! + Math.max(hold, connectTimeout)) this.giveUp(slot);
    else this.wait(slot, now, SHORTAGE_REST);
  }

  private beShort(now: number, errno: number): void {
    this.counters[RelayCounter.short_of_descriptors]!++;
    if (now < this.restsUntil) return;
    this.restsUntil = now + SHORTAGE_REST;
    this.report.line(now, "error", "relay.short", "cannot make connections now; clients wait", {
      errno: getSystemErrorName(-errno),
      connections: this.connections.count,
    });
  }

  private endDial(slot: number): void {
    this.dialer.abandon(slot);
    this.dials.clear(slot);
  }

  /** All targets have failed it: again in a moment, unless its backend's `hold` is over by then. */
  private noneIsLeft(slot: number, now: number): void {
    const { hold } = this.connections.backend[slot]!.settings;
    if (!this.holds(slot, now, hold)) this.giveUp(slot);
  }

  /** Has it tried again in a moment; false if `hold` is over by then. */
  private holds(slot: number, now: number, hold: number): boolean {
    const { connections } = this;
    const delay = Math.min(LONGEST_RETRY, FIRST_RETRY * 2 ** connections.rounds[slot]!);
    if (now + delay > connections.since[slot]! + hold) return false;
    if (connections.rounds[slot]! < 0xff) connections.rounds[slot]!++;
    this.wait(slot, now, delay);
    return true;
  }

  private wait(slot: number, now: number, delay: number): void {
    this.setState(slot, State.WAITING);
    this.pauses.set(slot, now, delay);
    this.poll(slot, this.speaksFirst(slot) ? WAITING_EVENTS : WAITING_PLAIN_EVENTS);
  }

  private clientGone(slot: number): void {
    this.counters[RelayCounter.client_gone]!++;
    this.close(slot);
  }

  // --- relay -----------------------------------------------------------------------------------------------------

  /** DialerHost: a target has taken it. */
  connected(slot: number, events: number): void {
    const { connections } = this;
    const target = connections.target[slot]!;
    const { settings } = connections.backend[slot]!;
    const now = this.loop.clock[0]!;
    this.dials.clear(slot);
    if (settings.proxyProtocol !== "none") {
      const errno = this.sendProxyHeader(slot, settings.proxyProtocol);
      if (errno !== 0) {
        this.failed(slot, errno);
        return;
      }
    }
    this.setState(slot, State.RELAYING);
    target.took();
    this.counters[RelayCounter.connected]!++;
    connections.tried.delete(slot);
    connections.activeAt[slot] = now;
    const looks = settings.idleTimeout > 0 ? settings.idleTimeout / IDLE_LOOKS : settings.keepAlive ? FIRST_LOOK : 0;
    if (looks > 0) this.idles.set(slot, now, looks);
    if (settings.idleTimeout === 0) connections.marks[slot]! |= Mark.MAY_IDLE;
    if (settings.lifetime > 0) this.lifetimes.set(slot, now, settings.lifetime);
    this.unpoll(slot);
    this.mover.ready(slot, SplicerFlag.READABLE | SplicerFlag.WRITABLE | sideFlags(1, events));
  }

  /** Returns 0 or the errno. */
  private sendProxyHeader(slot: number, version: "v1" | "v2"): number {
    const { message } = this;
    const bytes = this.decode(slot);
    const length = proxyHeader(version, this.clientOf(slot), message, bytes);
    // A TLS client's hello is there already: it shares the segment.
    const isFollowed = (message.flags & Flag.TLS) !== 0;
    // Set in between, TCP_NODELAY would send the header by itself.
    if (!isFollowed) this.splicer.flags[slot]! |= SplicerFlag.WRITTEN << 1;
    return native.sendFirst(this.splicer.descriptors[2 * slot + 1]!, header, length, isFollowed);
  }

  /** MoverHost. */
  moved(slot: number, toTarget: number, toClient: number): void {
    const { connections } = this;
    this.watchClient(slot);
    if (toTarget + toClient === 0) return;
    const target = connections.target[slot]!;
    connections.activeAt[slot] = this.loop.clock[0]!;
    target.count(TargetStat.bytes_to_target, toTarget);
    if (toClient === 0) return;
    target.count(TargetStat.bytes_to_client, toClient);
    // An alert is no use to it any more.
    if (connections.handoff[slot] !== "") connections.handoff[slot] = "";
  }

  /**
   * From when its first bytes were read: watched before, they would be an event of their own. Whether it takes bytes is
   * watched from when once it did not, which most never come to.
   */
  private watchClient(slot: number): void {
    const { marks } = this.connections;
    const isBlocked = (this.splicer.flags[slot]! & SplicerFlag.WRITABLE) === 0;
    const wanted = isBlocked ? Mark.POLLED | Mark.WRITE_POLLED : Mark.POLLED;
    if ((marks[slot]! & wanted) === wanted) return;
    this.poll(slot, isBlocked ? RELAYED_EVENTS : READING_EVENTS);
    marks[slot]! |= wanted;
  }

  /** MoverHost. */
  shortOfPipes(): void {
    this.counters[RelayCounter.short_of_pipes]!++;
  }

  /** MoverHost: both have closed in order. */
  completed(slot: number): void {
    this.counters[RelayCounter.completed]!++;
    this.close(slot);
  }

  /** MoverHost: one of them has reset, or its network fails: the other one is reset. */
  broke(slot: number): void {
    const { connections, splicer } = this;
    const target = connections.target[slot]!;
    const errno = splicer.errors[2 * slot + 1]!;
    if (errno === 0) {
      this.counters[RelayCounter.client_reset]!++;
      target.count(TargetStat.client_resets, 1);
      this.reset(slot);
      return;
    }
    this.counters[RelayCounter.target_reset]!++;
    target.count(TargetStat.target_resets, 1);
    if (connections.handoff[slot] === "") {
      this.reset(slot);
      return;
    }
    // The client has had no byte from anybody: it can be told.
    this.report.targetFailed(this.loop.clock[0]!, target, `${getSystemErrorName(-errno)} before it answered`);
    this.refuse(slot, "internal_error");
  }

  private lookAtIdle(slot: number, now: number): void {
    const { connections, idles } = this;
    const interval = idles.duration(slot);
    const { keepAlive } = connections.backend[slot]!.settings;
    if (keepAlive && (connections.marks[slot]! & Mark.KEPT_ALIVE) === 0) this.keepAlive(slot);
    // The limit that it began with, whatever a reload has said since.
    if ((connections.marks[slot]! & Mark.MAY_IDLE) !== 0) idles.clear(slot);
    else if (now - connections.activeAt[slot]! < interval * IDLE_LOOKS) idles.set(slot, now, interval);
    else this.timedOut(slot, RelayCounter.idle_timeout);
  }

  /** Two calls that a short connection is spared: the kernel's first probe comes after 2 hours (tcp(7), tcp_keepalive_time). */
  private keepAlive(slot: number): void {
    this.connections.marks[slot]! |= Mark.KEPT_ALIVE;
    native.keepAlive(this.clientOf(slot));
    native.keepAlive(this.splicer.descriptors[2 * slot + 1]!);
  }

  private tooOld(slot: number): void {
    this.timedOut(slot, RelayCounter.lifetime_timeout);
  }

  private timedOut(slot: number, counter: number): void {
    this.counters[counter]!++;
    this.connections.target[slot]!.count(TargetStat.timeouts, 1);
    this.reset(slot);
  }

  /** Both sides get RST: what is on the way is lost, and neither takes it for a whole. */
  private reset(slot: number): void {
    const { descriptors } = this.splicer;
    for (let at = 2 * slot; at < 2 * slot + 2; at++) if (descriptors[at]! !== NOBODY) resetOnClose(descriptors[at]!);
    this.close(slot);
  }

  // --- no target -------------------------------------------------------------------------------------------------

  private giveUp(slot: number): void {
    const { connections } = this;
    connections.target[slot]?.count(TargetStat.fallback, 1);
    connections.target[slot] = undefined;
    connections.tried.delete(slot);
    this.fallBack(slot);
  }

  /** To the next of its fallbacks. */
  private fallBack(slot: number): void {
    const { connections } = this;
    connections.fallback[slot]!++;
    const fallback = this.fallbackOf(slot);
    const { diversion } = connections.backend[slot]!;
    if (fallback.kind === "reject") {
      this.refuse(slot, fallback.reject);
      return;
    }
    if (fallback.kind === "relay" && (diversion === undefined || connections.diversions[slot] === MOST_DIVERSIONS)) {
      this.refuse(slot, "internal_error");
      return;
    }
    this.counters[RelayCounter.fallback]!++;
    connections.since[slot] = this.loop.clock[0]!;
    connections.rounds[slot] = 0;
    if (fallback.kind === "handoff") this.deliver(slot);
    else this.divert(slot, diversion!);
  }

  /** The one that it is at. A reload may have made it another one. */
  private fallbackOf(slot: number): RelayFallback {
    const { connections } = this;
    const all = withFollowing(connections.backend[slot]!.settings.fallback);
    return all[Math.min(connections.fallback[slot]!, all.length) - 1]!;
  }

  private divert(slot: number, backend: Backend): void {
    const { connections } = this;
    connections.diversions[slot]!++;
    connections.fallback[slot] = 0;
    connections.backend[slot]!.active--;
    backend.active++;
    connections.backend[slot] = backend;
    this.dial(slot);
  }

  private deliver(slot: number): void {
    const { connections } = this;
    const fallback = this.fallbackOf(slot);
    if (fallback.kind !== "handoff") {
      this.fallBack(slot);
      return;
    }
    const generation = connections.generation[slot]!;
    // It is shared with whoever gets it: epoll(7), Q6.
    this.unpoll(slot);
    this.setState(slot, State.DELIVERING);
    this.delivery.deliver(fallback, this.clientOf(slot), connections.handoff[slot]!).then((isTaken) => {
      if (connections.generation[slot] !== generation) return;
      try {
        this.delivered(slot, isTaken, fallback);
      } catch (error) {
        this.defect(slot, error as Error);
      }
    });
  }

  private delivered(slot: number, isTaken: boolean, { hold }: HandoffFallback): void {
    if (!isTaken) {
      if (!this.holds(slot, this.loop.clock[0]!, hold)) this.fallBack(slot);
      return;
    }
    this.counters[RelayCounter.delivered]!++;
    this.close(slot);
  }

  /** Ends it so that the client sees why: in its own words where the door has known its protocol, others by the end of file. */
  private refuse(slot: number, how: AlertName | "close" | "reset"): void {
    const { connections, splicer } = this;
    this.counters[RelayCounter.refused]!++;
    if (how === "reset") {
      this.reset(slot);
      return;
    }
    const client = this.clientOf(slot);
    const farewell = how === "close" ? NOTHING : this.farewellTo(connections.handoff[slot]!, how);
    if (connections.state[slot] === State.RELAYING) {
      // It may have a part of what the client has sent, and not be what has failed.
      resetOnClose(splicer.descriptors[2 * slot + 1]!);
      this.leaveTarget(slot);
      splicer.descriptors[2 * slot] = client;
    }
    this.setState(slot, State.PARTING);
    if (native.farewell(client, farewell, DISCARD)) {
      this.close(slot);
      return;
    }
    this.pauses.set(slot, this.loop.clock[0]!, PARTING_PATIENCE);
    this.poll(slot, PARTING_EVENTS);
  }

  /** What tells this client the same as that alert would. */
  private farewellTo(handoff: string, alert: AlertName): Uint8Array {
    const flags = flagsOf(handoff);
    if ((flags & Flag.TLS) !== 0) return alertRecord(alert);
    return (flags & Flag.HTTP) === 0 ? NOTHING : answer(answerFor(alert), this.loop.clock[1]!);
  }

  /** Reads its HANDOFF into `message`; returns the bytes that it points into. */
  private decode(slot: number): Uint8Array {
    const bytes = Buffer.from(this.connections.handoff[slot]!, "latin1");
    const wrong = this.message.decode(bytes, 0, bytes.length);
    if (wrong !== undefined) throw new Error(`unreachable: a HANDOFF with ${wrong}`);
    return bytes;
  }

  // --- the end ---------------------------------------------------------------------------------------------------

  /** MoverHost: a defect of the relay itself, or a refusal of the kernel's, ends this one connection, not the worker. */
  defect(slot: number, error: Error): void {
    this.counters[RelayCounter.defect]!++;
    this.report.line(this.loop.clock[0]!, "error", "connection.defect", `defect: ${error.message}`, {
      stack: error.stack ?? "",
    });
    if (this.connections.state[slot] !== State.FREE) this.reset(slot);
  }

  /** Keeps what `dialing`, `established` and `parting` count. */
  private setState(slot: number, state: State): void {
    this.countState(this.connections.state[slot] as State, -1);
    this.countState(state, 1);
    this.connections.state[slot] = state;
  }

  private countState(state: State, by: number): void {
    if (state === State.DIALING || state === State.WAITING) this.dialing += by;
    else if (state === State.RELAYING) this.established += by;
    else if (state === State.PARTING) this.parting += by;
  }

  private clientOf(slot: number): number {
    return this.splicer.descriptors[2 * slot]!;
  }

  private poll(slot: number, events: number): void {
    const { connections, loop } = this;
    const tag = pollTag(PollKind.CLIENT, connections.generation[slot]!);
    if ((connections.marks[slot]! & Mark.POLLED) !== 0) {
      loop.modify(this.clientOf(slot), events, tag, slot);
      return;
    }
    loop.add(this.clientOf(slot), events, tag, slot);
    connections.marks[slot]! |= Mark.POLLED;
  }

  private unpoll(slot: number): void {
    const { connections } = this;
    if ((connections.marks[slot]! & Mark.POLLED) === 0) return;
    connections.marks[slot]! &= ~(Mark.POLLED | Mark.WRITE_POLLED);
    try {
      this.loop.remove(this.clientOf(slot));
    } catch {
      // Its events are of nobody's until its last copy is closed.
    }
  }

  /** Closes the target's side; the client's is still there. */
  private leaveTarget(slot: number): void {
    const { connections, splicer } = this;
    const descriptor = splicer.descriptors[2 * slot + 1]!;
    const target = connections.target[slot]!;
    this.mover.forget(slot);
    this.idles.clear(slot);
    this.lifetimes.clear(slot);
    splicer.release(slot);
    this.closeLater(descriptor);
    target.active--;
    target.left();
  }

  /** The one place that closes a client's descriptor, at the end of the turn or when the batch is full. */
  private close(slot: number): void {
    const { connections, splicer } = this;
    const client = this.clientOf(slot);
    this.pauses.clear(slot);
    switch (connections.state[slot]) {
      case State.RELAYING:
        this.leaveTarget(slot);
        break;
      case State.DIALING:
        this.endDial(slot);
        if (connections.target[slot] !== undefined) connections.target[slot]!.active--;
        break;
      case State.PARTING:
        // A door that is late with closing its own copy keeps it in the epoll set. Elsewhere that is an edge at most,
        // of an earlier generation; a level would be reported for ever.
        this.unpoll(slot);
        break;
    }
    splicer.release(slot);
    this.setState(slot, State.FREE);
    connections.backend[slot]!.active--;
    connections.release(slot);
    this.closeLater(client);
  }

  private closeLater(descriptor: number): void {
    if (this.closing === BATCH) this.flushCloses();
    this.splicer.closes[this.closing++] = descriptor;
  }

  private flushCloses(): void {
    if (this.closing === 0) return;
    this.splicer.close(this.closing);
    this.closing = 0;
  }

  // --- shutdown --------------------------------------------------------------------------------------------------

  private get isEmpty(): boolean {
    return this.connections.count === 0 && this.listening === 0;
  }

  private checkDrained(): void {
    if (!this.isEmpty && this.loop.clock[0]! < this.drainDeadline) return;
    this.isDrained = true;
    const { capacity, state } = this.connections;
    let count = 0;
    for (let slot = 0; slot < capacity; slot++) {
      // What is being delivered may be somebody else's by now.
      if (state[slot] === State.FREE || state[slot] === State.DELIVERING) continue;
      if (state[slot] !== State.PARTING) count++;
      this.reset(slot);
    }
    this.counters[RelayCounter.drain_reset]! += count;
    this.flushCloses();
    this.delivery.close();
    this.post({ type: "drained", reset: count });
  }
}

function resetOnClose(descriptor: number): void {
  try {
    native.resetOnClose(descriptor);
  } catch {
    // Then without a reset.
  }
}

/** It and those that follow where nobody takes a connection: the last one refuses, or relays. */
function withFollowing(fallback: RelayFallback): RelayFallback[] {
  const all = [fallback];
  for (let each = fallback; each.kind === "handoff"; all.push(each)) each = each.fallback;
  return all;
}

/** Bits of `Flag` in a HANDOFF, without decoding the rest of it. */
function flagsOf(handoff: string): number {
  for (let at = HEADER_LENGTH; at < handoff.length; ) {
    if (handoff.charCodeAt(at) === FieldType.FLAGS && handoff.charCodeAt(at + 1) === 0)
      return handoff.charCodeAt(at + 4);
    at += 4 + (handoff.charCodeAt(at + 2) | (handoff.charCodeAt(at + 3) << 8));
  }
  return 0;
}
