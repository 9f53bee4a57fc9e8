/**
 * The instance's side of the handoff protocol for one path: listens, accepts the doors' channels, and hands what they
 * own to a `Sink`. Knows nothing of Node's servers. PROTOCOL.md is the reference.
 */
import { EventEmitter } from "node:events";
import { HandoffError, PeerError, type SystemCallError } from "../errors.js";
import { type Credentials, native, type Watch } from "../native/addon.js";
import { groupId, userId } from "./accounts.js";
import { takePassedSocket } from "./activation.js";
import { MAX_WINDOW, type RefuseReason } from "./layout.js";
import { claimPath } from "./path.js";
import { type ChannelCounts, type ChannelHost, ReceiverChannel, Restless, type Sink } from "./receiver-channel.js";

export interface ReceiverOptions {
  /**
   * Where doors connect: a socket's path, an abstract address ("@name"), or a folder (an existing one, or any path that
   * ends in "/"), in which the process makes a socket of its own, `<pid>-<random>.sock`: so several processes serve one
   * backend. The folder itself must exist. May be left out if `fdName` is given.
   */
  readonly path?: string;
  /**
   * Use the socket that the service manager passed under this name (FileDescriptorName= in the .socket unit). Without
   * it, a passed socket that is bound to `path` is used. If no sockets were passed at all, `path` is bound.
   */
  readonly fdName?: string;
  /** Permission bits of the path. Default 0o660. The door needs write permission. */
  readonly mode?: number;
  /** Group of the path, by name or number: the door's. Default: the process's own. */
  readonly group?: string | number;
  /** Owner of the path, by name or number. Default: the process's user. Changing it takes privileges. */
  readonly owner?: string | number;
  /** Connections that each worker of a door may have on the way at once, 1 to 128. Default 128. */
  readonly window?: number;
  /** Share of the backend's connections relative to its other instances, 1 to 65535. Default 1. */
  readonly weight?: number;
  /**
   * Users, by name or number, whose processes may be doors; others are disconnected. Default: whoever may write to the
   * path.
   */
  readonly allowedUsers?: readonly (string | number)[];
  /**
   * How long `close` waits for the doors to close their channels, in milliseconds. Default 10,000. What they have not
   * been told about by then goes to other instances.
   */
  readonly drainTimeout?: number;
}

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
   * SystemCallError). Without a listener it becomes a process warning, each one once.
   */
  warning: [error: PeerError | SystemCallError];
  /** After `close`, or after the server was closed: all channels are gone, nothing more will be delivered. */
  drained: [];
}

export type RefusalReason = "no descriptor" | "not tcp" | "overloaded" | "draining";

const refusalReasons: Record<RefuseReason, RefusalReason> = {
  1: "no descriptor",
  2: "not tcp",
  3: "overloaded",
  4: "draining",
};

/** What a receiver does with its server. */
export interface ServingSink extends Sink {
  /** All channels are gone: nothing more will come. */
  drained(): void;
}

const BACKLOG = 511;
const DEFAULT_DRAIN_TIMEOUT = 10_000;
/** The open count is reported at most 4 times a second, and less often while it stays the same. Milliseconds. */
const COUNT_INTERVAL = 250;
const MAX_COUNT_INTERVAL = 2000;
/** How soon a door that waits for READY learns that there is room. Milliseconds. */
const ROOM_INTERVAL = 20;
/** How long the listening socket rests when accept fails (no descriptors left). Milliseconds. */
const ACCEPT_REST = 1000;
/** Channels accepted in one turn of the event loop. */
const ACCEPT_BATCH = 64;
const READABLE = 1;

export class Receiver extends EventEmitter<ReceiverEvents> {
  /** The path that doors connect to: also the socket's own path where a folder was asked for. */
  readonly path: string;
  private readonly listener: number;
  private readonly listenWatch: Watch;
  private readonly release: () => void;
  private readonly sink: ServingSink;
  private readonly host: ChannelHost;
  private readonly channels: Set<ReceiverChannel> = new Set();
  private readonly allowedUids: ReadonlySet<number> | undefined;
  private readonly drainTimeout: number;
  private readonly totals: ChannelCounts = { received: 0, dead: 0, refused: 0, revoked: 0 };
  private readonly warned: Set<string> = new Set();
  private isReady: boolean = false;
  private referenced: boolean = true;
  private state: "open" | "draining" | "drained" = "open";
  private ticker: NodeJS.Timeout | undefined;
  private tickDelay: number = 0;
  private countInterval: number = COUNT_INTERVAL;
  private lastCountAt: number = 0;
  private lastOpen: number = 0;
  private restTimer: NodeJS.Timeout | undefined;
  private deadline: NodeJS.Timeout | undefined;
  private readonly ended: Promise<void>;
  private resolveEnded!: () => void;

  /**
   * Listens at once. Throws ERR_OPTION, ERR_PATH_IN_USE (names the process), ERR_PATH_UNUSABLE, or a SystemCallError.
   */
  constructor(options: ReceiverOptions, sink: ServingSink) {
    super();
    const window = integer("window", options.window ?? MAX_WINDOW, 1, MAX_WINDOW);
    const weight = integer("weight", options.weight ?? 1, 1, 0xffff);
    this.drainTimeout = integer("drainTimeout", options.drainTimeout ?? DEFAULT_DRAIN_TIMEOUT, 0, 0x7fffffff);
    this.allowedUids = options.allowedUsers && new Set(options.allowedUsers.map(userId));
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    this.sink = sink;
    this.host = {
      sink,
      window,
      weight,
      greeted: (channel) => this.onGreeted(channel),
      refused: (channel, reason) => this.onRefused(channel, reason),
      warn: (error) => this.warn(error),
      restless: () => this.schedule(COUNT_INTERVAL),
      ended: (channel) => this.onEnded(channel),
    };
    const listening = listen(options);
    this.path = listening.path;
    this.listener = listening.descriptor;
    this.release = listening.release;
    this.listenWatch = native.watch(this.listener, () => this.onListener());
  }

  /** What has happened so far. */
  get counts(): ReceiverCounts {
    return { ...this.totals, channels: this.channels.size };
  }

  /** Keeps the process alive while the receiver is open. The default. */
  ref(): this {
    return this.setReferenced(true);
  }

  /** Lets the process end although the receiver is open. */
  unref(): this {
    return this.setReferenced(false);
  }

  /**
   * Drains: tells every door to send no more, removes the path, goes on taking what is on the way until each door has
   * closed its channel (at most `timeout` milliseconds; default `drainTimeout`), then closes the server, if this
   * receiver made it listen. Resolves when nothing more will be delivered. Connections that were delivered go on.
   */
  close(options: { timeout?: number } = {}): Promise<void> {
    const timeout = integer("timeout", options.timeout ?? this.drainTimeout, 0, 0x7fffffff);
    this.startDraining(timeout);
    return this.ended;
  }

  /** The sink is closed: drains as `close` does, but what is on the way is refused, and nothing keeps the process alive. */
  sinkClosed(): void {
    if (this.state !== "open") return;
    this.startDraining(this.drainTimeout);
    this.unref();
    this.deadline?.unref();
  }

  private setReferenced(referenced: boolean): this {
    this.referenced = referenced;
    if (this.state === "open") referenced ? this.listenWatch.ref() : this.listenWatch.unref();
    for (const channel of this.channels) referenced ? channel.ref() : channel.unref();
    return this;
  }

  private startDraining(timeout: number): void {
    if (this.state === "open") {
      this.state = "draining";
      clearTimeout(this.restTimer);
      this.listenWatch.close();
      this.release();
      native.close(this.listener);
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
    clearTimeout(this.deadline);
    clearTimeout(this.ticker);
    this.sink.drained();
    this.emitLater("drained");
    this.resolveEnded();
  }

  private onListener(): void {
    for (let i = 0; i < ACCEPT_BATCH && this.state === "open"; i++) {
      let descriptor: number;
      try {
        descriptor = native.acceptUnix(this.listener);
      } catch (error) {
        this.restListener(error as SystemCallError);
        return;
      }
      if (descriptor < 0) return;
      this.admit(descriptor);
    }
  }

  /** Without a rest, a listening socket that is ready and cannot be accepted from would take a whole processor. */
  private restListener(error: SystemCallError): void {
    if (error.code === "ECONNABORTED") return;
    this.warn(error);
    this.listenWatch.select(0);
    this.restTimer = setTimeout(() => this.listenWatch.select(READABLE), ACCEPT_REST).unref();
  }

  private admit(descriptor: number): void {
    const peer = native.peerCredentials(descriptor);
    if (this.allowedUids !== undefined && !this.allowedUids.has(peer.uid)) {
      native.close(descriptor);
      const message = `process ${peer.pid} of user ${peer.uid} may not be a door at ${this.path}: not one of allowedUsers`;
      this.warn(new PeerError("ERR_NOT_PERMITTED", message, peer));
      return;
    }
    const channel = new ReceiverChannel(descriptor, peer, this.host, this.totals);
    this.channels.add(channel);
    if (!this.referenced) channel.unref();
    channel.start();
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
    this.finishIfDrained();
  }

  /** Events wait for a turn of their own: listeners may throw, and must not come between an ACK and its deliveries. */
  private emitLater<K extends keyof ReceiverEvents>(event: K, ...values: ReceiverEvents[K]): void {
    if (this.listenerCount(event) === 0) return;
    setImmediate(() => this.emit(event, ...(values as never)));
  }

  private warn(error: PeerError | SystemCallError): void {
    if (this.listenerCount("warning") > 0) {
      this.emitLater("warning", error);
      return;
    }
    if (this.warned.has(error.message) || this.warned.size >= MAX_WARNINGS) return;
    this.warned.add(error.message);
    process.emitWarning(error.message, { type: "SniHandoffWarning", code: error.code });
  }

  /** Has `tick` run in at most `delay` milliseconds. */
  private schedule(delay: number): void {
    if (this.state === "drained" || (this.ticker !== undefined && this.tickDelay <= delay)) return;
    clearTimeout(this.ticker);
    this.tickDelay = delay;
    this.ticker = setTimeout(() => this.tick(), delay).unref();
  }

  private tick(): void {
    this.ticker = undefined;
    if (this.sink.closed()) this.sinkClosed();
    const open = this.sink.open();
    const now = performance.now();
    const withCount = now - this.lastCountAt >= COUNT_INTERVAL - 1;
    if (withCount) {
      this.countInterval =
        open === this.lastOpen ? Math.min(2 * this.countInterval, MAX_COUNT_INTERVAL) : COUNT_INTERVAL;
      this.lastCountAt = now;
      this.lastOpen = open;
    }
    let restless: Restless = Restless.NO;
    for (const channel of [...this.channels]) restless = Math.max(restless, channel.report(withCount)) as Restless;
    if (restless === Restless.SOON) this.schedule(ROOM_INTERVAL);
    else if (restless === Restless.LATER) this.schedule(this.countInterval);
  }
}

/** Different warnings that are printed when nobody listens for them. */
const MAX_WARNINGS = 100;

function listen(options: ReceiverOptions): { descriptor: number; path: string; release(): void } {
  const { path, fdName } = options;
  if (path === undefined && fdName === undefined) throw new HandoffError("ERR_OPTION", "path (or fdName) is needed");
  if (path === "") throw new HandoffError("ERR_OPTION", "path is empty");
  const passed = takePassedSocket({ path, name: fdName });
  if (passed !== undefined) return { ...passed, release: () => {} };
  if (path === undefined) {
    throw new HandoffError(
      "ERR_OPTION",
      `no socket named "${fdName}" was passed (LISTEN_FDS), and there is no path to bind instead`,
    );
  }
  return claimPath(path, {
    backlog: BACKLOG,
    mode: integer("mode", options.mode ?? 0o660, 0, 0o777),
    uid: options.owner === undefined ? -1 : userId(options.owner),
    gid: options.group === undefined ? -1 : groupId(options.group),
  });
}

function integer(name: string, value: number, lowest: number, highest: number): number {
  if (Number.isInteger(value) && value >= lowest && value <= highest) return value;
  throw new HandoffError("ERR_OPTION", `${name} is ${value}; a whole number from ${lowest} to ${highest} is needed`);
}
