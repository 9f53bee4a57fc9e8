/**
 * The worker's sockets to receivers of datagrams (handoff/DATAGRAM.md): connecting, sending, waiting for room. A receiver
 * says nothing, so all that is known of it is whether its path can be connected to and whether its queue has room.
 */
import { lstatSync } from "node:fs";
import { constants } from "node:os";
import type { SystemCallError } from "../errors.js";
import { type Loop, native } from "../native/addon.js";
import type { Backend } from "./backends.js";
import { type Connections, Mark, NOBODY } from "./connections.js";
import { datagramTag, ROOM_EVENTS } from "./poll-tags.js";
import type { Report } from "./report.js";
import type { ChannelStatus, DatagramBackendSettings } from "./settings.js";

const { EAGAIN, ECONNREFUSED, ECONNRESET, ENOTCONN, EPIPE } = constants.errno;

/** Time between two connects to a path while somebody waits there. Milliseconds. */
const RETRY = 1000;
/** How long sending rests where there is no event to wait for: the kernel is short of something (ETOOMANYREFS). Milliseconds. */
const REST = 10;
/** Connections that are served in one turn from those that wait. */
const MOST_AT_ONCE = 64;

/** What became of a connection that was to be sent. */
export const Passed = {
  /** It is the receiver's. */
  SENT: 0,
  /** There is no receiver, or it has no room: try again after an event. */
  NOT_NOW: 1,
  /** The client is gone. */
  GONE: 2,
} as const;
export type Passed = (typeof Passed)[keyof typeof Passed];

class Target {
  readonly index: number;
  backend: Backend;
  settings: DatagramBackendSettings;
  descriptor: number = NOBODY;
  generation: number = 0;
  isWatched: boolean = false;
  /** The receiver's queue was full at the last look. */
  isFull: boolean = false;
  /** By the operator: the path, or its backend. */
  isDrained: boolean = false;
  /** Those that wait should be served now. */
  isDue: boolean = false;
  retryAt: number = 0;
  /** The turn in which the path was last seen to lead to the receiver that the socket is connected to. */
  verifiedAt: number = -1;
  failure: string = "";

  constructor(index: number, backend: Backend, settings: DatagramBackendSettings) {
    this.index = index;
    this.backend = backend;
    this.settings = settings;
  }
}

export class Datagrams {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly report: Report;
  /** One worker speaks for all about paths that cannot be connected to. */
  private readonly spokesman: boolean;
  private targets: (Target | undefined)[] = [];
  /** By backend index. */
  private ofBackend: (Target | undefined)[] = [];
  /** What the operator has drained: names of backends, and keys of targets. */
  private drainedTargets: ReadonlySet<string> = new Set();
  /** Some target is due. */
  isDue: boolean = false;
  /** When `tick` is due, CLOCK_MONOTONIC in milliseconds. */
  dueAt: number = Number.POSITIVE_INFINITY;

  constructor(loop: Loop, connections: Connections, report: Report, spokesman: boolean) {
    this.loop = loop;
    this.connections = connections;
    this.report = report;
    this.spokesman = spokesman;
  }

  private get now(): number {
    return this.loop.clock[0]!;
  }

  /** A new configuration: sockets of backends that stay, with the same path, are kept. Nothing may be held at this moment. */
  configure(backends: readonly Backend[]): void {
    const kept = new Map<string, Target>();
    for (const target of this.targets) if (target !== undefined) kept.set(keyOf(target.settings), target);
    this.ofBackend = backends.map((backend) => {
      const { settings } = backend;
      if (settings.kind !== "datagram") return undefined;
      const target = kept.get(keyOf(settings)) ?? this.create(backend, settings);
      kept.delete(keyOf(settings));
      target.backend = backend;
      target.settings = settings;
      this.applyDrained(target);
      if (target.descriptor === NOBODY) this.connect(target);
      return target;
    });
    for (const target of kept.values()) {
      this.disconnect(target, "");
      this.targets[target.index] = undefined;
    }
  }

  /** What gets nothing new from now on: "backend", or "backend path". */
  setDrained(targets: readonly string[]): void {
    this.drainedTargets = new Set(targets);
    for (const target of this.targets) if (target !== undefined) this.applyDrained(target);
  }

  private applyDrained(target: Target): void {
    const { backend, settings } = target;
    backend.drained = this.drainedTargets.has(settings.name);
    target.isDrained = backend.drained || this.drainedTargets.has(keyOf(settings));
  }

  private create(backend: Backend, settings: DatagramBackendSettings): Target {
    let index = this.targets.indexOf(undefined);
    if (index < 0) index = this.targets.length;
    const target = new Target(index, backend, settings);
    this.targets[index] = target;
    return target;
  }

  /**
   * Sends a connection, which is in no epoll set, with its first bytes: those that were read already, or the `length`
   * bytes that were peeked at, at `start` of the peek buffer. NOT_NOW leaves it the caller's; the bytes are kept if they
   * are read by then.
   */
  pass(slot: number, backend: Backend, start: number, length: number): Passed {
    const target = this.ofBackend[backend.index]!;
    if (target.isDrained || !this.isConnected(target)) return Passed.NOT_NOW;
    const { connections } = this;
    const descriptor = connections.descriptor[slot]!;
    const isRead = (connections.marks[slot]! & Mark.READ) !== 0;
    const bytes = isRead ? connections.early.get(slot)! : this.loop.peekBuffer.subarray(start, start + length);
    const errno = isRead
      ? native.sendMessage(target.descriptor, bytes, [descriptor])
      : native.passDatagram(target.descriptor, descriptor, bytes);
    if (errno === 0) {
      target.isFull = false;
      return Passed.SENT;
    }
    if (errno < 0 && errno !== -EAGAIN) return Passed.GONE;
    if (errno > 0 && !isRead && length > 0) {
      connections.early.set(slot, bytes.slice());
      connections.marks[slot]! |= Mark.READ;
    }
    this.failed(target, Math.abs(errno));
    return Passed.NOT_NOW;
  }

  private failed(target: Target, errno: number): void {
    switch (errno) {
      case EAGAIN:
        target.isFull = true;
        this.watch(target);
        return;
      // The receiver went away since this turn's look: another one may have come.
      case ECONNREFUSED:
      case ECONNRESET:
      case ENOTCONN:
      case EPIPE:
        this.disconnect(target, "it is gone");
        this.wakeAt(target, this.now + REST);
        return;
      default:
        target.isFull = true;
        target.failure = `sending fails with errno ${errno}`;
        this.wakeAt(target, this.now + REST);
    }
  }

  /** Whether there is a receiver. Looks once a turn, so that a hello is hardly ever read for one that is gone. */
  private isConnected(target: Target): boolean {
    if (target.verifiedAt === this.now) return target.descriptor !== NOBODY;
    target.verifiedAt = this.now;
    if (target.descriptor === NOBODY) return target.retryAt <= this.now && this.connect(target);
    try {
      this.checkOwner(target.settings);
      if (native.reconnectUnix(target.descriptor, target.settings.path) === 0) return true;
    } catch {
      // As of a path that is gone: connecting tells why.
    }
    this.disconnect(target, "");
    return this.connect(target);
  }

  private connect(target: Target): boolean {
    const { settings } = target;
    target.retryAt = this.now + RETRY;
    try {
      this.checkOwner(settings);
      target.descriptor = native.connectUnix(settings.path, "dgram", { refuseDescriptors: true });
    } catch (error) {
      this.connectFailed(target, error as SystemCallError);
      return false;
    }
    target.verifiedAt = this.now;
    target.failure = "";
    target.isFull = false;
    if (this.spokesman) {
      const fields = { backend: settings.name, path: settings.path };
      this.report.line(this.now, "info", "datagram.connected", "there is a receiver of datagrams", fields);
    }
    return true;
  }

  /** Datagrams tell nothing of the process that reads them (unix(7), SO_PEERCRED): whose the path is has to do. */
  private checkOwner({ path, uid }: DatagramBackendSettings): void {
    if (path.startsWith("@")) return;
    const owner = lstatSync(path).uid;
    if (owner === 0 || owner === uid || owner === process.geteuid!()) return;
    throw new OwnerError(owner);
  }

  private connectFailed(target: Target, error: SystemCallError | OwnerError): void {
    const { code } = error;
    const isNew = target.failure !== code;
    target.failure = code;
    if (target.backend.held.count > 0) this.wakeAt(target, target.retryAt);
    if (!isNew || !this.spokesman) return;
    const { name, path } = target.settings;
    const message = explain(path, error);
    this.report.line(this.now, "warn", "instance.unreachable", message, { backend: name, path, code });
  }

  private disconnect(target: Target, failure: string): void {
    if (target.descriptor === NOBODY) return;
    this.unwatch(target);
    native.close(target.descriptor);
    target.descriptor = NOBODY;
    target.generation++;
    target.retryAt = this.now;
    target.failure = failure;
  }

  // --- waiting -------------------------------------------------------------------------------------------------------

  /** Somebody is held for this backend from now on. */
  held(backend: Backend): void {
    const target = this.ofBackend[backend.index]!;
    if (target.descriptor === NOBODY) this.wakeAt(target, target.retryAt);
    else if (target.isFull) this.watch(target);
  }

  /** Only while somebody waits: each datagram that is read would be an event. */
  private watch(target: Target): void {
    if (target.isWatched || target.descriptor === NOBODY) return;
    target.isWatched = true;
    try {
      this.loop.add(target.descriptor, ROOM_EVENTS, datagramTag(target.generation), target.index);
    } catch {
      target.isWatched = false; // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
      this.wakeAt(target, this.now + REST);
    }
  }

  private unwatch(target: Target): void {
    if (!target.isWatched) return;
    target.isWatched = false;
    try {
      this.loop.remove(target.descriptor);
    } catch {
      // Its events are of nobody's until its last copy is closed.
    }
  }

  /** An epoll event: there may be room. */
  ready(index: number, generation: number): void {
    const target = this.targets[index];
    if (target !== undefined && (target.generation & 0xffffff) === generation) this.makeDue(target);
  }

  /** This backend's held connections should be tried. */
  wake(backend: Backend): void {
    const target = this.ofBackend[backend.index];
    if (target !== undefined) this.makeDue(target);
  }

  /** A path appeared, or was replaced. */
  appeared(path: string): void {
    for (const target of this.targets) {
      if (target?.settings.path !== path) continue;
      target.retryAt = this.now;
      target.verifiedAt = -1;
      if (target.descriptor === NOBODY) this.connect(target);
      this.makeDue(target);
    }
  }

  private makeDue(target: Target): void {
    target.isDue = true;
    this.isDue = true;
  }

  private wakeAt(target: Target, at: number): void {
    target.retryAt = at;
    this.dueAt = Math.min(this.dueAt, at);
  }

  tick(): void {
    this.dueAt = Number.POSITIVE_INFINITY;
    for (const target of this.targets) {
      if (target === undefined || target.backend.held.count === 0) continue;
      if (target.retryAt <= this.now) this.makeDue(target);
      else this.wakeAt(target, target.retryAt);
    }
  }

  /**
   * Serves those that wait, oldest first, while there is room: `serve` takes the oldest of a backend from its list and
   * passes it, or puts it back before the others.
   */
  serve(serve: (backend: Backend) => void): void {
    this.isDue = false;
    for (const target of this.targets) {
      if (target?.isDue !== true) continue;
      target.isDue = false;
      const { backend } = target;
      target.isFull = false;
      for (let i = 0; i < MOST_AT_ONCE && this.canServe(target); i++) serve(backend);
      if (this.canServe(target)) this.makeDue(target);
      else if (backend.held.count === 0) this.unwatch(target);
    }
  }

  private canServe(target: Target): boolean {
    return target.backend.held.count > 0 && !target.isFull && !target.isDrained && this.isConnected(target);
  }

  /** The state of every socket. */
  snapshot(): ChannelStatus[] {
    return this.targets.flatMap((target) => {
      if (target === undefined) return [];
      const { backend, descriptor, failure, isDrained, isFull, settings } = target;
      return {
        backend: settings.name,
        path: settings.path,
        state: descriptor === NOBODY ? "absent" : "ready",
        pid: NOBODY,
        uid: NOBODY,
        window: 0,
        weight: 1,
        open: 0,
        outstanding: 0,
        stalled: isFull && backend.held.count > 0,
        resting: false,
        drained: isDrained,
        lastFailure: failure,
      };
    });
  }

  closeAll(): void {
    for (const target of this.targets) if (target !== undefined) this.disconnect(target, "");
    this.targets = [];
    this.ofBackend = [];
  }
}

/** The path is somebody's who may not receive. */
class OwnerError extends Error {
  readonly code = "EPERM";
  readonly owner: number;

  constructor(owner: number) {
    super(`it belongs to user ${owner}`);
    this.owner = owner;
  }
}

function keyOf({ name, path }: DatagramBackendSettings): string {
  return `${name} ${path}`;
}

function explain(path: string, error: SystemCallError | OwnerError): string {
  if (error instanceof OwnerError) {
    return `${path} belongs to user ${error.owner}, who may not receive: only root, the door's own user and the backend's "user:" may`;
  }
  const again = "tried again every second while a client waits";
  switch (error.code) {
    case "ENOENT":
      return `no receiver yet: ${path} does not exist; ${again}`;
    case "ECONNREFUSED":
      return `nobody receives at ${path}; ${again}`;
    case "EPROTOTYPE":
      return `${path} is a unix socket of another type: receivers of datagrams bind SOCK_DGRAM; without "protocol: datagram" it may be right`;
    case "EACCES":
    case "EPERM":
      return `not permitted to send to ${path}: the door's user needs write permission on it and search permission on its folders`;
    default:
      return `cannot connect to ${path}: ${error.message}`;
  }
}
