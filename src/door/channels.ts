/**
 * The worker's channels to instances: connecting, reading acknowledgements, revoking. What the messages mean for
 * connections is told to a `ChannelListener`. The rules are in handoff/PROTOCOL.md.
 */
import { lstatSync } from "node:fs";
import { constants } from "node:os";
import { getSystemErrorName } from "node:util";
import type { SystemCallError } from "../errors.js";
import { MAX_MESSAGE_LENGTH, MessageType, PROTOCOL_VERSION, RefuseReason } from "../handoff/layout.js";
import { encodeRevoke, Message } from "../handoff/message.js";
import { ownerOf } from "../handoff/path-owner.js";
import { Arrival, EPOLLIN, EPOLLOUT, EPOLLRDHUP, type Loop, native, ReceiveEnd } from "../native/addon.js";
import { type Backend, instancePaths } from "./backends.js";
import { Channel, ChannelState, channelStateName, refuseReasonName } from "./channel.js";
import { type Connections, NOBODY } from "./connections.js";
import { Counter } from "./counters.js";
import { channelTag } from "./poll-tags.js";
import type { Report } from "./report.js";
import type { ChannelStatus, HandoffBackendSettings } from "./settings.js";

/** Time between two connects to one path. Milliseconds. */
const RETRY = 1000;
/**
 * Time between two connects to a path that is connected lazily, unless the instance ended the first by DRAIN: each one
 * may start a service, and by default systemd starts one at most 5 times in 10 s, then lets it and its socket fail
 * (systemd.unit(5), StartLimitIntervalSec=, StartLimitBurst=). Each worker counts for itself. Milliseconds.
 */
const LAZY_RETRY = 2500;
/** The service manager: it has called listen(2) on the sockets that it holds for its services. */
const MANAGER_PID = 1;
/** How long an instance rests after a REFUSE that was not for the one connection, unless it says READY before. */
const REST = 1000;
/** How long a channel rests after a failed send: the kernel's back-pressure (ETOOMANYREFS) has no event to wait for. */
const PRESSURE_REST = 10;

/** `retryAt` of a channel that is not connected again. */
const NEVER = Number.POSITIVE_INFINITY;

/**
 * Messages that are read from one channel without a pause. An instance has at most a window to settle, and the kernel's
 * queue takes some 280 messages: who goes on and on would keep all other channels and clients waiting.
 */
const MOST_MESSAGES = 1024;

const SHUT_RD = 0;

const { EAGAIN, ECONNRESET, ENOBUFS, ENOMEM, ENOTCONN, EPIPE } = constants.errno;
/** Of a send: the peer is gone. */
const gone: ReadonlySet<number> = new Set([EPIPE, ECONNRESET, ENOTCONN]);
/** ETOOMANYREFS: asm-generic/errno.h; node:os does not name it. */
const TOO_MANY_REFERENCES = 109;
/** Of a send: what belongs to a busy life, or is told otherwise. */
const ordinary: ReadonlySet<number> = new Set([...gone, EAGAIN, ENOBUFS, ENOMEM, TOO_MANY_REFERENCES]);

export interface ChannelListener {
  /** The instance owns it now: close the kept copy. */
  owned(slot: number): void;
  /** The instance refused it, which is noted at the connection. */
  refused(slot: number): void;
  /** It was outstanding at an instance that is dead or revoked: place it again if nobody has touched it. */
  takenBack(slot: number): void;
  /** The channel that this one, among others, is outstanding at was revoked. Once a channel. */
  revoked(slot: number): void;
  /** This backend may have an instance that takes connections again. */
  opened(backend: number): void;
  /** Sends what is queued, so that no message waits for a channel that is about to close. */
  flush(): void;
}

export class Channels {
  private readonly loop: Loop;
  private readonly connections: Connections;
  private readonly counters: Uint32Array;
  private readonly report: Report;
  private readonly listener: ChannelListener;
  /** One worker speaks for all about paths that cannot be connected to. */
  private readonly spokesman: boolean;
  private readonly all: (Channel | undefined)[] = [];
  private readonly message: Message = new Message();
  private readonly scratch: Uint8Array = new Uint8Array(MAX_MESSAGE_LENGTH);
  private readonly owned: (slot: number) => void = (slot) => this.listener.owned(slot);
  private backends: readonly Backend[] = [];
  /** What the operator has drained: names of backends, and keys of channels. */
  private drainedTargets: ReadonlySet<string> = new Set();
  /** When `tick` is due, CLOCK_MONOTONIC in milliseconds. */
  dueAt: number = 0;

  constructor(
    loop: Loop,
    connections: Connections,
    counters: Uint32Array,
    report: Report,
    listener: ChannelListener,
    spokesman: boolean,
  ) {
    this.loop = loop;
    this.connections = connections;
    this.counters = counters;
    this.report = report;
    this.listener = listener;
    this.spokesman = spokesman;
  }

  private get now(): number {
    return this.loop.clock[0]!;
  }

  /** Brings `tick` forward. */
  wake(at: number): void {
    if (at < this.dueAt) this.dueAt = at;
  }

  /** A new configuration: channels of instances that stay are kept, the others finish what is outstanding. */
  configure(backends: readonly Backend[], found: readonly (readonly string[])[]): void {
    this.backends = backends;
    const kept = new Map<string, Channel>();
    for (const channel of this.all) {
      if (channel === undefined) continue;
      kept.set(channel.key, channel);
      channel.retired = true;
    }
    for (const backend of backends) {
      if (backend.settings.kind !== "handoff") continue;
      this.assign(backend, instancePaths(backend.settings, found[backend.index] ?? []), kept);
    }
    this.dropRetired();
    this.wake(this.now);
  }

  /** The sockets that a backend's folder has now. */
  instances(backendIndex: number, paths: readonly string[]): void {
    const backend = this.backends[backendIndex];
    if (backend === undefined || backend.settings.kind !== "handoff") return;
    const kept = new Map<string, Channel>();
    for (const channel of backend.channels) {
      kept.set(channel.key, channel);
      channel.retired = true;
    }
    this.assign(backend, instancePaths(backend.settings, paths), kept);
    this.dropRetired();
    this.wake(this.now);
  }

  /** What gets nothing new from now on: "backend", or "backend path". What is outstanding is finished; channels stay. */
  setDrained(targets: readonly string[]): void {
    this.drainedTargets = new Set(targets);
    for (const backend of this.backends) this.applyDrained(backend);
    this.wake(this.now);
  }

  private applyDrained(backend: Backend): void {
    backend.drained = this.drainedTargets.has(backend.settings.name);
    for (const channel of backend.channels) {
      channel.drained = backend.drained || this.drainedTargets.has(channel.key);
    }
  }

  /** A client found no instance of this backend. It need not wait: with a hold time of 0 nobody ever does. */
  wanted(backend: Backend): void {
    for (const channel of backend.channels) {
      if (channel.state !== ChannelState.ABSENT || !channel.lazy || channel.drained) continue;
      if (backend.capacity === 0) return;
      if (channel.retryAt <= this.now) this.connect(channel);
      if (channel.state === ChannelState.ABSENT) this.wake(channel.retryAt);
    }
  }

  /** The state of every channel. */
  snapshot(): ChannelStatus[] {
    const now = this.now;
    const all: ChannelStatus[] = [];
    for (const channel of this.all) {
      if (channel === undefined) continue;
      const { path, pid, uid, window, weight, open, outstanding, stalled, drained, lastFailure } = channel;
      all.push({
        backend: channel.settings.name,
        path,
        state: channelStateName[channel.state],
        pid,
        uid,
        window,
        weight,
        open,
        outstanding,
        stalled,
        resting: channel.restsUntil > now,
        drained,
        lastFailure,
      });
    }
    return all;
  }

  /** A path appeared, or was replaced: no reason to wait for the end of the back-off. */
  appeared(path: string): void {
    for (const channel of this.all) {
      if (channel?.path === path && channel.state === ChannelState.ABSENT) channel.retryAt = this.now;
    }
    this.wake(this.now);
  }

  /**
   * Upgrade: takes over a channel that is connected already, to the process that follows; its peer says READY as an
   * instance does. It is not connected again when it ends.
   */
  take(backend: Backend, descriptor: number): void {
    const { settings } = backend;
    if (settings.kind !== "handoff") return;
    this.backends = [...this.backends.slice(0, backend.index), backend];
    const channel = this.create(backend.index, settings, settings.path, `${settings.name} ${settings.path}`);
    channel.retryAt = NEVER;
    this.begin(channel, descriptor);
    backend.channels = [channel];
  }

  /** Whether a backend has a channel that has not ended. */
  isOpen(backend: Backend): boolean {
    return backend.channels.some((channel) => channel.state !== ChannelState.ABSENT);
  }

  private assign(backend: Backend, paths: readonly string[], kept: Map<string, Channel>): void {
    const { settings } = backend;
    if (settings.kind !== "handoff") return;
    backend.channels = paths.map((path) => {
      const key = `${settings.name} ${path}`;
      const channel = kept.get(key) ?? this.create(backend.index, settings, path, key);
      channel.backend = backend.index;
      channel.settings = settings;
      channel.retired = false;
      return channel;
    });
    this.applyDrained(backend);
  }

  private create(backend: number, settings: HandoffBackendSettings, path: string, key: string): Channel {
    let index = this.all.indexOf(undefined);
    if (index < 0) index = this.all.length;
    const channel = new Channel(index, backend, settings, path, key);
    this.all[index] = channel;
    return channel;
  }

  private dropRetired(): void {
    for (const channel of this.all) {
      if (channel?.retired === true && channel.outstanding === 0 && channel.state !== ChannelState.REVOKING) {
        this.close(channel, 0);
      }
    }
  }

  /** What is due by time: connects, ends of rests, overdue acknowledgements. */
  tick(): void {
    const now = this.now;
    this.dueAt = Number.POSITIVE_INFINITY;
    for (const channel of this.all) {
      if (channel === undefined) continue;
      if (channel.state === ChannelState.ABSENT) {
        if (channel.retryAt <= now && this.mayConnect(channel)) this.connect(channel);
        if (channel.state === ChannelState.ABSENT && this.mayConnect(channel)) this.wake(channel.retryAt);
      }
      if (channel.restsUntil > 0) {
        if (channel.restsUntil <= now) {
          channel.restsUntil = 0;
          if (channel.lacksDescriptors) channel.hasRoomAgain();
          this.listener.opened(channel.backend);
        } else {
          this.wake(channel.restsUntil);
        }
      }
      if (channel.againAt <= now) {
        if (channel.state === ChannelState.REVOKING) this.finishRevoke(channel);
        else this.readAgain(channel);
      } else {
        this.wake(channel.againAt);
      }
      if (channel.outstanding > 0 && channel.state !== ChannelState.REVOKING) this.checkOverdue(channel);
    }
  }

  /** An instance that does not acknowledge in time loses what it has not acknowledged, once there is somebody to give it to. */
  private checkOverdue(channel: Channel): void {
    const { settings } = channel;
    const now = this.now;
    const sentAt = this.connections.sentAt[channel.oldest]!;
    const overdueAt = sentAt + settings.acknowledgeTimeout;
    if (now < overdueAt) {
      channel.stalled = false;
      this.wake(overdueAt);
      return;
    }
    if (!channel.stalled) {
      channel.stalled = true;
      this.report.line(now, "warn", "channel.stalled", "instance does not acknowledge; it gets no more", {
        ...this.describe(channel),
        outstanding: channel.outstanding,
        milliseconds: Math.round(now - sentAt),
      });
    }
    const givenUpAt = Math.max(overdueAt, sentAt + settings.hold);
    const other = channel.retired || this.backends[channel.backend]!.channels.some((candidate) => candidate.takes(now));
    if (other || now >= givenUpAt) this.revoke(channel, "it did not acknowledge in time");
    else this.wake(Math.min(givenUpAt, now + 50));
  }

  /** Lazily: while a client waits here that its instance could be given. */
  private mayConnect(channel: Channel): boolean {
    if (!channel.lazy) return true;
    const backend = this.backends[channel.backend]!;
    return !channel.drained && backend.held.count > 0 && backend.capacity > 0;
  }

  private connect(channel: Channel): void {
    const now = this.now;
    channel.retryAt = now + RETRY;
    let descriptor: number;
    try {
      channel.ownerUid = ownerOf(channel.path, channel.settings.uid) ?? NOBODY;
      descriptor = native.connectUnix(channel.path, "seqpacket", { credentials: true, refuseDescriptors: true });
    } catch (error) {
      this.connectFailed(channel, error as SystemCallError);
      return;
    }
    channel.managed = listenerPid(descriptor) === MANAGER_PID;
    if (channel.lazy) channel.retryAt = now + LAZY_RETRY;
    this.begin(channel, descriptor);
  }

  /** A connected descriptor, which is owned here, becomes the channel's; if it can be watched. */
  private begin(channel: Channel, descriptor: number): void {
    channel.connected(descriptor);
    try {
      this.watch(channel);
      channel.connectFailure = "";
    } catch (error) {
      native.close(descriptor);
      channel.closed();
      this.connectFailed(channel, error as SystemCallError); // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
    }
  }

  private watch({ descriptor, generation, index }: Channel): void {
    this.loop.addLazy(descriptor, EPOLLIN | EPOLLRDHUP, channelTag(generation), index);
  }

  private connectFailed(channel: Channel, error: SystemCallError): void {
    channel.lastFailure = error.code;
    if (channel.connectFailure === error.code) return;
    channel.connectFailure = error.code;
    // Lazily, only those whose clients wait have tried.
    if (!this.spokesman && !channel.lazy) return;
    this.report.line(this.now, "warn", "instance.unreachable", explainConnectFailure(channel, error), {
      backend: channel.settings.name,
      path: channel.path,
      code: error.code,
    });
  }

  /** An epoll event of a channel. */
  ready(index: number, generation: number, events: number): void {
    const channel = this.all[index];
    if (channel === undefined || (channel.generation & 0xffffff) !== generation) return;
    if (channel.state === ChannelState.ABSENT) return;
    if (channel.state === ChannelState.REVOKING) {
      if ((events & ~EPOLLRDHUP) !== 0) this.finishRevoke(channel);
      return;
    }
    const end = this.read(channel, MOST_MESSAGES);
    if (end === ReceiveEnd.FAILED) {
      this.readLater(channel);
    } else if (channel.violation !== undefined) {
      this.counters[Counter.violations]!++;
      channel.lastFailure = `protocol violation: ${channel.violation}`;
      this.report.line(this.now, "error", "channel.violation", `protocol violation: ${channel.violation}`, {
        ...this.describe(channel),
      });
      this.revoke(channel, "it broke the protocol");
    } else if (end === ReceiveEnd.CLOSED) {
      this.ended(channel);
    } else if (channel.outstanding === 0 && (channel.state === ChannelState.DRAINING || channel.retired)) {
      channel.lastFailure = channel.retired ? "" : "it drained";
      this.close(channel, RETRY);
    }
  }

  /** Nothing is known of what it has acknowledged: no more is read for a moment. */
  private readLater(channel: Channel): void {
    this.unwatch(channel);
    channel.againAt = this.now + PRESSURE_REST;
    this.wake(channel.againAt);
    const errno = this.loop.received.end[1]!;
    if (channel.readFailure === errno) return;
    channel.readFailure = errno;
    const code = getSystemErrorName(-errno);
    this.report.line(this.now, "error", "channel.unreadable", `a channel cannot be read (${code}); it is tried again`, {
      ...this.describe(channel),
      code,
    });
  }

  private readAgain(channel: Channel): void {
    channel.againAt = NEVER;
    try {
      this.watch(channel);
    } catch {
      channel.againAt = this.now + PRESSURE_REST; // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
      this.wake(channel.againAt);
    }
  }

  /** Reads and applies everything that is queued; more than `most` messages are a violation. */
  private read(channel: Channel, most: number): number {
    const { received } = this.loop;
    const { outstanding, load } = channel;
    let end: number;
    let messages = 0;
    do {
      const count = this.loop.receive(channel.descriptor);
      for (let i = 0; i < count; i++) this.apply(channel, i);
      messages += count;
      end = received.end[0]!;
    } while (end === ReceiveEnd.FULL && messages < most);
    if (end === ReceiveEnd.FULL) channel.violation ??= `more than ${most} messages without a pause`;
    if (channel.outstanding < outstanding) channel.stalled = false;
    // Fewer outstanding: the window opens. A lower load: `maxConnections` may allow more.
    if (channel.outstanding < outstanding || channel.load < load) this.listener.opened(channel.backend);
    return end;
  }

  /**
   * One message. After a violation, acknowledgements still count: the instance owns what it acknowledged before it was
   * revoked, whatever else it said.
   */
  private apply(channel: Channel, i: number): void {
    const { received } = this.loop;
    const { message } = this;
    let wrong: string | undefined;
    if (received.arrivals[i] !== Arrival.NONE) wrong = "a descriptor towards the door";
    else wrong = message.decode(received.buffer, i * received.stride, received.lengths[i]!);
    wrong ??= this.act(channel, received.credentials[3 * i]!, received.credentials[3 * i + 1]!);
    channel.violation ??= wrong;
  }

  private act(channel: Channel, pid: number, uid: number): string | undefined {
    const { message } = this;
    if (message.type === MessageType.READY) return this.greeted(channel, pid, uid);
    // DRAIN alone: it ends, and has had no room for anybody yet.
    if (channel.state === ChannelState.GREETING && message.type !== MessageType.DRAIN) {
      return `a message of type ${message.type} before READY`;
    }
    switch (message.type) {
      case MessageType.ACK:
        if (message.open >= 0) channel.open = message.open;
        return channel.acknowledge(message.sequence, this.owned);
      case MessageType.REFUSE: {
        const slot = channel.refuse(message.sequence);
        if (typeof slot === "string") return slot;
        this.refused(channel, slot);
        return undefined;
      }
      case MessageType.DRAIN:
        if (channel.state !== ChannelState.REVOKING) channel.state = ChannelState.DRAINING;
        return undefined;
      default:
        return `a message of type ${message.type}, which only the door sends`;
    }
  }

  private greeted(channel: Channel, pid: number, uid: number): string | undefined {
    const { message } = this;
    if (channel.state === ChannelState.GREETING) {
      channel.pid = pid;
      channel.uid = uid;
      if (!this.permitted(channel, uid)) {
        return `READY from user ${uid}, who may not serve ${channel.path}: ${whoMay(channel)}`;
      }
    }
    if (message.lowestVersion > PROTOCOL_VERSION || message.highestVersion < PROTOCOL_VERSION) {
      return `no common version: the instance speaks ${message.lowestVersion} to ${message.highestVersion}, this door ${PROTOCOL_VERSION}`;
    }
    channel.window = message.window;
    channel.weight = message.weight > 0 ? message.weight : 1;
    if (message.open >= 0) channel.open = message.open;
    // Whether it still rests or not: it may have been full for longer than a rest lasts.
    if (channel.isFull) channel.hasRoomAgain();
    channel.restsUntil = 0;
    if (channel.state === ChannelState.GREETING) {
      channel.state = ChannelState.READY;
      channel.lastFailure = "";
      this.askNoMore(channel);
      this.counters[Counter.channels_ready]!++;
      this.report.line(this.now, "info", "channel.ready", "instance is ready", {
        ...this.describe(channel),
        window: channel.window,
      });
    }
    this.listener.opened(channel.backend);
    return undefined;
  }

  /** Credentials are known now; from here on they would only cost. */
  private askNoMore({ descriptor }: Channel): void {
    try {
      native.askCredentials(descriptor, false);
    } catch {
      // Then they do.
    }
  }

  private permitted(channel: Channel, uid: number): boolean {
    if (uid < 0) return false;
    if (uid === 0 || uid === channel.settings.uid) return true;
    return uid === (channel.ownerUid === NOBODY ? process.geteuid!() : channel.ownerUid);
  }

  private refused(channel: Channel, slot: number): void {
    const { reason } = this.message;
    this.counters[Counter.refused_by_instance]!++;
    if (reason === RefuseReason.DRAINING) {
      if (channel.state === ChannelState.READY) channel.state = ChannelState.DRAINING;
    } else if (reason !== RefuseReason.NOT_TCP) {
      channel.isFull = true;
      if (reason === RefuseReason.NO_DESCRIPTOR) channel.lacksDescriptors = true;
      channel.restsUntil = this.now + REST;
      this.wake(channel.restsUntil);
    }
    this.report.line(this.now, "debug", "handoff.refused", `instance refused: ${refuseReasonName[reason]}`, {
      ...this.describe(channel),
    });
    this.connections.refusedBy(slot, channel.key, channel.instance);
    this.listener.refused(slot);
  }

  /** A send failed. The connection is the caller's to place again; if the channel is at its end, epoll will say so. */
  sendFailed(channel: Channel, errno: number): void {
    if (errno === constants.errno.ECANCELED) return; // it stood behind the one that failed
    channel.restsUntil = this.now + PRESSURE_REST;
    this.wake(channel.restsUntil);
    if (ordinary.has(errno) || channel.sendFailure === errno) return;
    channel.sendFailure = errno;
    const code = getSystemErrorName(-errno);
    this.report.line(this.now, "error", "handoff.failed", `handing over fails (${code}); clients wait`, {
      ...this.describe(channel),
      code,
    });
  }

  /** Takes from an instance what it has not acknowledged, so that others may have it. */
  private revoke(channel: Channel, why: string): void {
    this.listener.flush();
    if (channel.outstanding === 0 || channel.state === ChannelState.GREETING) {
      this.close(channel, RETRY);
      return;
    }
    this.counters[Counter.channels_revoked]!++;
    this.listener.revoked(channel.oldest);
    channel.isRead = this.readToEnd(channel);
    if (channel.violation === undefined) channel.lastFailure = why;
    this.report.line(this.now, "warn", "channel.revoked", `connections are taken back from an instance: ${why}`, {
      ...this.describe(channel),
      outstanding: channel.outstanding,
    });
    channel.state = ChannelState.REVOKING;
    this.finishRevoke(channel);
  }

  /** From now on an ACK fails at its sender; those that did not are read. Returns false if that is to be tried again. */
  private readToEnd(channel: Channel): boolean {
    try {
      native.shutdown(channel.descriptor, SHUT_RD);
    } catch (error) {
      // ENOTCONN: the peer is gone; what it had sent is still read.
      if ((error as SystemCallError).code !== "ENOTCONN") return false;
    }
    // All of it: nothing can be added any more.
    return this.read(channel, Number.POSITIVE_INFINITY) !== ReceiveEnd.FAILED;
  }

  /** REVOKE must be in the peer's queue, or the peer be gone, before anything is given away. */
  private finishRevoke(channel: Channel): void {
    channel.isRead ||= this.readToEnd(channel);
    const length = encodeRevoke(this.scratch, 0, channel.acknowledged);
    const errno = channel.isRead ? native.sendMessage(channel.descriptor, this.scratch.subarray(0, length)) : ENOBUFS;
    if (errno === 0 || gone.has(errno)) {
      this.ended(channel);
      return;
    }
    // Its events would be there all the time: SHUT_RD is an end of file.
    this.unwatch(channel);
    channel.againAt = errno === EAGAIN && this.watchRoom(channel) ? NEVER : this.now + PRESSURE_REST;
    this.wake(channel.againAt);
  }

  private unwatch({ descriptor }: Channel): void {
    try {
      this.loop.removeLazy(descriptor);
      this.loop.remove(descriptor);
    } catch {
      // Nothing can be done about it.
    }
  }

  /** Whether an event will tell that there is room in the peer's queue. */
  private watchRoom({ descriptor, generation, index }: Channel): boolean {
    try {
      this.loop.add(descriptor, EPOLLOUT, channelTag(generation), index);
      return true;
    } catch {
      return false; // ENOMEM, ENOSPC (max_user_watches): epoll_ctl(2)
    }
  }

  /** The instance is gone or revoked, and everything that it had said is read. */
  private ended(channel: Channel): void {
    this.listener.flush();
    const taken = channel.outstanding;
    if (channel.state !== ChannelState.REVOKING) {
      channel.lastFailure = channel.state === ChannelState.DRAINING ? "it drained" : "it closed its channel";
      this.report.line(this.now, "info", "channel.ended", "instance closed its channel", {
        ...this.describe(channel),
        outstanding: taken,
      });
    }
    channel.takeBack((slot) => this.listener.takenBack(slot));
    this.close(channel, channel.state === ChannelState.REVOKING ? RETRY : 0);
  }

  private close(channel: Channel, retryIn: number): void {
    const hasDrained = channel.state === ChannelState.DRAINING && channel.pid !== NOBODY;
    if (channel.state !== ChannelState.ABSENT) {
      this.listener.flush();
      native.close(channel.descriptor);
      channel.closed();
    }
    if (channel.retired || channel.retryAt === NEVER) {
      this.all[channel.index] = undefined;
      return;
    }
    // An instance that had served and went in order: the next client to wait starts the next one at once.
    channel.retryAt = hasDrained && channel.lazy ? this.now : Math.max(channel.retryAt, this.now + retryIn);
    if (this.mayConnect(channel)) this.wake(channel.retryAt);
    // Its connections no longer count for `maxConnections`.
    if (channel.settings.maxConnections > 0) this.listener.opened(channel.backend);
  }

  /**
   * Closes every channel, and has none until `configure`. Instances own what is outstanding there (no REVOKE was sent):
   * `owned` gets it.
   */
  closeAll(owned: (slot: number) => void): void {
    for (const channel of this.all) {
      if (channel === undefined || channel.state === ChannelState.ABSENT) continue;
      native.close(channel.descriptor);
      channel.takeBack(owned);
      channel.closed();
    }
    this.all.length = 0;
    for (const backend of this.backends) backend.channels = [];
  }

  private describe(channel: Channel): Record<string, string | number> {
    return {
      backend: channel.settings.name,
      path: channel.path,
      pid: channel.pid,
      uid: channel.uid,
    };
  }
}

function whoMay({ path, ownerUid }: Channel): string {
  if (ownerUid !== NOBODY || path.startsWith("@")) return `only root, the path's owner and the backend's "user:" may`;
  return `only root, the door's own user and the backend's "user:" may where every user could have made it`;
}

/** SO_PEERCRED: who called listen(2) at the other end (unix(7)); NOBODY if it cannot be told. */
function listenerPid(descriptor: number): number {
  try {
    return native.peerCredentials(descriptor).pid;
  } catch {
    return NOBODY;
  }
}

function explainConnectFailure({ path, lazy }: Channel, error: SystemCallError): string {
  const again = `tried again every second${lazy ? " while a client waits" : ""}`;
  switch (error.code) {
    case "ENOENT":
      return `no instance yet: ${path} does not exist; ${again}`;
    case "EACCES":
    case "EPERM":
      return `not permitted to connect to ${path}: the door's user needs write permission on it and search permission on its folders`;
    case "EPROTOTYPE":
      return `${path} is a unix socket of another type: instances listen on SOCK_SEQPACKET`;
    case "EAGAIN":
      return `the instance at ${path} does not accept channels: its backlog is full`;
    case "ECONNREFUSED":
      return isSocket(path) ? `nobody listens on ${path}; ${again}` : `${path} is not a socket; ${again}`;
    default:
      return `cannot connect to ${path}: ${error.message}`;
  }
}

function isSocket(path: string): boolean {
  try {
    return path.startsWith("@") || lstatSync(path).isSocket();
  } catch {
    return true;
  }
}
