/**
 * The instance's side of the handoff protocol for one path: listens, accepts the doors' channels, and hands what they
 * own to a `Sink`. Knows nothing of Node's servers. PROTOCOL.md is the reference.
 */
import { EventEmitter } from "node:events";
import { PeerError, type SystemCallError } from "../errors.js";
import { type Credentials, native } from "../native/addon.js";
import { userId } from "./accounts.js";
import { atExit } from "./at-exit.js";
import { ChannelListener } from "./channel-listener.js";
import { Idleness } from "./idleness.js";
import { MAX_WINDOW, type RefuseReason } from "./layout.js";
import { processName } from "./process-name.js";
import { type ChannelCounts, type ChannelHost, ReceiverChannel } from "./receiver-channel.js";
import { integer, listen, type ReceiverOptions } from "./receiver-options.js";
import { Reporter } from "./reporter.js";
import type { Sink } from "./sink.js";
import { ToldCauses } from "./told-causes.js";

export type { ReceiverOptions };

export interface ReceiverCounts extends Readonly<ChannelCounts> {
  /** Channels of doors that are open now. */
  readonly channels: number;
}

export interface ReceiverEvents {
  /** For the first time a door was told READY: connections can come. */
  ready: [];
  /** A door connected a channel and was told READY. */
  peer: [peer: Credentials];
  /** A connection was refused, and goes to another instance. */
  refused: [refusal: { reason: RefusalReason; peer: Credentials }];
  /**
   * A door broke the protocol (ERR_PROTOCOL) or may not connect (ERR_NOT_PERMITTED), or channels cannot be accepted (a
   * SystemCallError). Once for each cause and process, and again after it was quiet for 10 minutes. Without a listener
   * it becomes a process warning.
   */
  warning: [error: PeerError | SystemCallError];
  /** After `close`, or after the server was closed: all channels are gone, nothing more will be delivered. */
  drained: [];
  /** After "drained", if `idleTimeout` was the reason. */
  idle: [];
}

export type RefusalReason = "no descriptor" | "not tcp" | "overloaded" | "draining";

const refusalReasons: Record<RefuseReason, RefusalReason> = {
  1: "no descriptor",
  2: "not tcp",
  3: "overloaded",
  4: "draining",
};

const DEFAULT_DRAIN_TIMEOUT = 10_000;
/**
 * A service that the manager has started stays for so long at least: by default it is not started more than 5 times in
 * 10 s (systemd.unit(5), StartLimitIntervalSec=, StartLimitBurst=). Milliseconds.
 */
const SHORTEST_SERVICE = 2500;
/** How long doors have to close their channels once the server is closed: what they send is refused. Milliseconds. */
const CLOSED_TIMEOUT = 2000;
/**
 * Channels that one process may have open: a door has one for each of its workers. More would be there to take all
 * descriptors of this process.
 */
const MAX_CHANNELS_OF_ONE = 256;

export class Receiver extends EventEmitter<ReceiverEvents> {
  /** The path that doors connect to: the socket's own path also where a folder was asked for. */
  readonly path: string;
  private readonly sink: Sink;
  private readonly host: ChannelHost;
  private readonly listener: ChannelListener;
  private readonly releasePath: () => void;
  private readonly reporter: Reporter;
  private readonly channels: Set<ReceiverChannel> = new Set();
  private readonly allowedUids: ReadonlySet<number> | undefined;
  private readonly drainTimeout: number;
  private readonly totals: ChannelCounts = { received: 0, dead: 0, refused: 0, revoked: 0 };
  private readonly told: ToldCauses = new ToldCauses();
  private isReady: boolean = false;
  private isReferenced: boolean = true;
  private state: "open" | "draining" | "drained" = "open";
  private deadline: NodeJS.Timeout | undefined;
  private readonly idleness: Idleness | undefined;
  /** Channels whose doors were asked to leave for idleness; undefined while it is not idle. */
  private leaving: Set<ReceiverChannel> | undefined;
  private readonly ended: Promise<void>;
  private resolveEnded!: () => void;

  /**
   * Listens at once. Throws ERR_OPTION, ERR_PATH_IN_USE (names the process), ERR_PATH_UNUSABLE, or a SystemCallError.
   */
  constructor(options: ReceiverOptions, sink: Sink) {
    super();
    this.drainTimeout = milliseconds("drainTimeout", options.drainTimeout ?? DEFAULT_DRAIN_TIMEOUT);
    const { idleTimeout } = options;
    if (idleTimeout !== undefined) integer("idleTimeout", idleTimeout, 1, 0x7fffffff);
    this.allowedUids = options.allowedUsers && new Set(options.allowedUsers.map(userId));
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.sink = sink;
    this.reporter = new Reporter(this.channels, sink, () => this.sinkClosed());
    this.host = {
      sink,
      window: integer("window", options.window ?? MAX_WINDOW, 1, MAX_WINDOW),
      weight: integer("weight", options.weight ?? 1, 1, 0xffff),
      greeted: (channel) => this.onGreeted(channel),
      refused: (channel, reason) => this.onRefused(channel, reason),
      warn: (error) => this.warn(error),
      restless: () => this.reporter.wake(),
      ended: (channel) => this.onEnded(channel),
    };
    const { descriptor, path, isPassed, release } = listen(options);
    this.path = path;
    this.releasePath = release;
    this.listener = new ChannelListener(
      descriptor,
      (channel) => this.admit(channel),
      (error) => this.warn(error),
    );
    if (idleTimeout !== undefined) {
      const look = () => ({ open: sink.open(), came: this.totals.received + this.totals.refused });
      this.idleness = new Idleness(idleTimeout, isPassed ? SHORTEST_SERVICE : 0, look, () => this.leave());
    }
    atExit.add(this.abandon);
  }

  /** What has happened so far. */
  get counts(): ReceiverCounts {
    return { ...this.totals, channels: this.channels.size };
  }

  /** Keeps the process alive while the receiver is open. The default. */
  ref(): this {
    this.isReferenced = true;
    for (const each of [this.listener, ...this.channels]) each.ref();
    return this;
  }

  /** Lets the process end although the receiver is open. */
  unref(): this {
    this.isReferenced = false;
    for (const each of [this.listener, ...this.channels]) each.unref();
    return this;
  }

  /**
   * Drains: tells every door to send no more, removes the path, goes on taking what is on the way until each door has
   * closed its channel (at most `timeout` milliseconds; default `drainTimeout`), then closes the server, if this
   * receiver made it listen. Resolves when nothing more will be delivered. Connections that were delivered go on.
   */
  close(options: { timeout?: number } = {}): Promise<void> {
    this.startDraining(milliseconds("timeout", options.timeout ?? this.drainTimeout));
    return this.ended;
  }

  /**
   * The sink is closed: drains as `close` does, but what is on the way is refused, and the process is kept alive (if it
   * was) only for the moment that doors need to close their channels.
   */
  sinkClosed(): void {
    if (this.state !== "open") return;
    this.startDraining(Math.min(this.drainTimeout, CLOSED_TIMEOUT));
    if (!this.isReferenced) this.deadline?.unref();
  }

  /** Without a word to anybody: the process, or the worker thread, ends now. */
  private readonly abandon = (): void => {
    if (this.state === "open") this.stopListening();
    for (const channel of [...this.channels]) channel.close();
  };

  private stopListening(): void {
    this.releasePath();
    this.listener.close();
  }

  /**
   * Idle: the doors are asked to close their channels, but the socket stays open until they have. What they hand over
   * before they read that, and channels that they open meanwhile, end the idleness: it would otherwise be the next
   * process's, which is not started before this one has ended.
   */
  private leave(): void {
    if (this.state !== "open" || this.leaving !== undefined) return;
    const leaving = new Set(this.channels);
    this.leaving = leaving;
    for (const channel of leaving) channel.drain();
    this.deadline = setTimeout(() => {
      for (const channel of [...leaving]) channel.close();
    }, this.drainTimeout).unref();
    this.finishLeaving();
  }

  private finishLeaving(): void {
    if (this.state !== "open" || this.leaving === undefined || this.leaving.size > 0) return;
    clearTimeout(this.deadline);
    this.leaving = undefined;
    if (this.channels.size > 0 || !this.idleness!.isIdle()) {
      this.idleness!.restart();
      return;
    }
    this.startDraining(0);
    this.emitLater("idle");
  }

  private startDraining(timeout: number): void {
    if (this.state === "open") {
      this.state = "draining";
      this.idleness?.stop();
      this.stopListening();
      for (const channel of [...this.channels]) channel.drain();
      this.finishIfDrained();
    }
    if (this.state === "drained") return;
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => {
      for (const channel of [...this.channels]) channel.close();
    }, timeout);
  }

  private finishIfDrained(): void {
    if (this.state !== "draining" || this.channels.size > 0) return;
    this.state = "drained";
    atExit.delete(this.abandon);
    clearTimeout(this.deadline);
    this.reporter.stop();
    this.sink.drained();
    this.emitLater("drained");
    this.resolveEnded();
  }

  private admit(descriptor: number): void {
    let channel: ReceiverChannel;
    try {
      const peer = native.peerCredentials(descriptor);
      this.checkPermission(peer);
      channel = new ReceiverChannel(descriptor, peer, this.host, this.totals);
    } catch (error) {
      native.close(descriptor);
      this.warn(error as PeerError | SystemCallError);
      return;
    }
    this.channels.add(channel);
    if (!this.isReferenced) channel.unref();
    channel.start();
  }

  private checkPermission(peer: Credentials): void {
    const { pid, uid } = peer;
    const who = `${processName(pid)} of user ${uid}`;
    if (this.allowedUids !== undefined && !this.allowedUids.has(uid)) {
      const message = `${who} may not be a door at ${this.path}: not one of allowedUsers`;
      throw new PeerError("ERR_NOT_PERMITTED", message, peer);
    }
    let open = 0;
    for (const channel of this.channels) if (channel.peer.pid === pid) open++;
    if (open < MAX_CHANNELS_OF_ONE) return;
    const message = `${who} has ${open} channels open at ${this.path}, more than any door needs: another was refused`;
    throw new PeerError("ERR_PROTOCOL", message, peer);
  }

  private onGreeted(channel: ReceiverChannel): void {
    if (!this.isReady) {
      this.isReady = true;
      this.emitLater("ready");
    }
    this.emitLater("peer", channel.peer);
  }

  private onRefused({ peer }: ReceiverChannel, reason: RefuseReason): void {
    this.emitLater("refused", { reason: refusalReasons[reason], peer });
    // A server that listens on a port too tells only by refusing that it was closed.
    if (this.sink.closed()) setImmediate(() => this.sinkClosed());
  }

  private onEnded(channel: ReceiverChannel): void {
    this.channels.delete(channel);
    this.leaving?.delete(channel);
    this.finishLeaving();
    this.finishIfDrained();
  }

  /** Events wait for a turn of their own: listeners may throw, and must not come between an ACK and its deliveries. */
  private emitLater<K extends keyof ReceiverEvents>(event: K, ...values: ReceiverEvents[K]): void {
    if (this.listenerCount(event) === 0) return;
    setImmediate(() => this.emit(event, ...(values as never)));
  }

  private warn(error: PeerError | SystemCallError): void {
    if (!this.told.isNew(error)) return;
    if (this.listenerCount("warning") > 0) this.emitLater("warning", error);
    else process.emitWarning(error.message, { type: "SniHandoffWarning", code: error.code });
  }
}

function milliseconds(name: string, value: number): number {
  return integer(name, value, 0, 0x7fffffff);
}
