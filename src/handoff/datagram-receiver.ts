/**
 * Receives connections in datagrams, as sni-router's `pass` and this project's door send them: bytes that the sender has
 * read from the connection, beside its descriptor. DATAGRAM.md is the reference.
 *
 * Nothing is acknowledged, and nothing can be refused: what was sent is this process's. While there is no room for more
 * connections nothing is read, so that they wait in the kernel's queue, and the senders when that is full.
 */
import { EventEmitter } from "node:events";
import { PeerError } from "../errors.js";
import { Arrival, type MessageWatch, native, ReceiveEnd } from "../native/addon.js";
import { userId } from "./accounts.js";
import { atExit } from "./at-exit.js";
import { processName } from "./process-name.js";
import { integer, listen, type PathOptions } from "./receiver-options.js";
import type { Sink } from "./sink.js";

export interface DatagramReceiverOptions extends PathOptions {
  /**
   * Users, by name or number, whose processes may send; what others send is closed. The kernel tells who sent each
   * datagram. Default: whoever may write to the path.
   */
  readonly allowedUsers?: readonly (string | number)[];
  /**
   * How long `close` waits for room for the connections that were sent before, in milliseconds. Default 10,000. Those
   * that find none by then are closed.
   */
  readonly drainTimeout?: number;
}

/** Why a datagram's connection was not taken, and closed. */
export type DatagramFault =
  | "no descriptor"
  | "several descriptors"
  | "not tcp"
  | "no descriptor left"
  | "too long"
  | "not permitted"
  | "closing";

export interface DatagramCounts {
  /** Connections taken. */
  readonly received: number;
  /** Of them: dead on arrival, or unusable, and closed. */
  readonly dead: number;
  /** Datagrams that brought no connection, or one that was not taken, and closed. */
  readonly refused: number;
}

export interface DatagramReceiverEvents {
  /** A datagram was not taken; `pid` and `uid` are its sender's. */
  refused: [refusal: { reason: DatagramFault; pid: number; uid: number }];
  /**
   * A datagram was not taken, for a reason that this receiver had not met yet. Without a listener it becomes a process
   * warning.
   */
  warning: [error: PeerError];
  /** After `close`, or after the server was closed: nothing more will be delivered. */
  drained: [];
}

/** The most that a datagram's bytes may be: the longest hello that a door takes. */
export const MOST_EARLY_BYTES = 65_536;

const DEFAULT_DRAIN_TIMEOUT = 10_000;
/** How soon is looked whether there is room again. Milliseconds. */
const ROOM_INTERVAL = 20;
const READABLE = 1;
const SHUT_RD = 0;

interface Waiting {
  readonly descriptor: number;
  readonly early: Buffer;
}

export class DatagramReceiver extends EventEmitter<DatagramReceiverEvents> {
  /** The path that senders send to. */
  readonly path: string;
  private readonly sink: Sink;
  private readonly descriptor: number;
  private readonly isPassed: boolean;
  private readonly releasePath: () => void;
  private readonly allowedUids: ReadonlySet<number> | undefined;
  private readonly drainTimeout: number;
  private readonly watch: MessageWatch;
  private readonly bytes: Buffer;
  private readonly totals = { received: 0, dead: 0, refused: 0 };
  private readonly warned: Set<DatagramFault> = new Set();
  /** Read, but there is no room for them yet. */
  private readonly waiting: Waiting[] = [];
  private roomTimer: NodeJS.Timeout | undefined;
  private deadline: NodeJS.Timeout | undefined;
  private isReferenced: boolean = true;
  private batches: number = 0;
  private state: "open" | "emptying" | "draining" | "drained" = "open";
  private readonly ended: Promise<void>;
  private resolveEnded!: () => void;

  /** Receives at once. Throws ERR_OPTION, ERR_PATH_IN_USE, ERR_PATH_UNUSABLE, or a SystemCallError. */
  constructor(options: DatagramReceiverOptions, sink: Sink) {
    super();
    this.sink = sink;
    this.drainTimeout = milliseconds("drainTimeout", options.drainTimeout ?? DEFAULT_DRAIN_TIMEOUT);
    this.allowedUids = options.allowedUsers && new Set(options.allowedUsers.map(userId));
    this.ended = new Promise((resolve) => {
      this.resolveEnded = resolve;
    });
    const { descriptor, path, isPassed, release } = listen(options, "dgram");
    this.descriptor = descriptor;
    this.path = path;
    this.isPassed = isPassed;
    this.releasePath = release;
    native.askCredentials(descriptor, true);
    this.watch = native.watchMessages(
      descriptor,
      (count) => this.onBatch(count),
      () => this.sink.deliver(),
      MOST_EARLY_BYTES,
    );
    this.watch.own();
    const { buffer } = this.watch.batch;
    this.bytes = Buffer.from(buffer.buffer, buffer.byteOffset, buffer.byteLength);
    atExit.add(this.abandon);
  }

  /** What has happened so far. */
  get counts(): DatagramCounts {
    return { ...this.totals };
  }

  /** Keeps the process alive while the receiver is open. The default. */
  ref(): this {
    this.isReferenced = true;
    this.watch.ref();
    this.roomTimer?.ref();
    return this;
  }

  /** Lets the process end although the receiver is open. */
  unref(): this {
    this.isReferenced = false;
    this.watch.unref();
    this.roomTimer?.unref();
    return this;
  }

  /**
   * Removes the path, has senders fail from now on, takes what they had sent before (waiting for room at most `timeout`
   * milliseconds; default `drainTimeout`), then closes the server, if this receiver made it listen. Resolves when nothing
   * more will be delivered. Connections that were delivered go on. What is in the queue of a socket that the service
   * manager passed stays there, for the next process.
   */
  close(options: { timeout?: number } = {}): Promise<void> {
    this.startDraining(milliseconds("timeout", options.timeout ?? this.drainTimeout));
    return this.ended;
  }

  /** The sink is closed: as `close`, but what was sent before is closed too. */
  sinkClosed(): void {
    if (this.state !== "open") return;
    this.startDraining(0);
    this.unref();
  }

  /** The process, or the worker thread, ends now. */
  private readonly abandon = (): void => {
    if (this.state === "open") this.releasePath();
    this.dispose();
  };

  private startDraining(timeout: number): void {
    if (this.state === "drained") return;
    if (this.state === "open") {
      this.releasePath();
      if (this.isPassed) {
        this.state = "draining";
      } else {
        // From now on sending fails with EPIPE, and what was sent before can still be read: unix(7).
        native.shutdown(this.descriptor, SHUT_RD);
        this.state = "emptying";
        this.watch.select(READABLE);
        this.whenRead();
      }
    }
    clearTimeout(this.deadline);
    this.deadline = setTimeout(() => this.giveUp(), timeout);
    this.move();
  }

  /** After SHUT_RD the socket always polls as readable: a turn of the event loop that read nothing has found nothing. */
  private whenRead(): void {
    const before = this.batches;
    setImmediate(() =>
      setImmediate(() => {
        if (this.state !== "emptying") return;
        if (this.batches !== before) return this.whenRead();
        this.state = "draining";
        this.watch.select(0);
        this.finishIfDrained();
      }),
    );
  }

  private giveUp(): void {
    for (const { descriptor } of this.waiting.splice(0)) this.refuse("closing", descriptor, -1, -1);
    this.finishIfDrained();
  }

  private finishIfDrained(): void {
    if (this.state !== "draining" || this.waiting.length > 0) return;
    this.dispose();
    this.sink.drained();
    setImmediate(() => this.emit("drained"));
    this.resolveEnded();
  }

  private dispose(): void {
    if (this.state === "drained") return;
    this.state = "drained";
    atExit.delete(this.abandon);
    clearTimeout(this.deadline);
    clearTimeout(this.roomTimer);
    this.watch.close();
    native.close(this.descriptor);
    for (const { descriptor } of this.waiting.splice(0)) native.close(descriptor);
  }

  private onBatch(count: number): number {
    const { arrivals, credentials, descriptors, end, lengths, stride } = this.watch.batch;
    if (count > 0) this.batches++;
    for (let i = 0; i < count; i++) {
      const descriptor = descriptors[i]!;
      const pid = credentials[3 * i]!;
      const uid = credentials[3 * i + 1]!;
      const fault = this.faultOf(arrivals[i] as Arrival, lengths[i]!, uid);
      if (fault !== undefined) {
        this.refuse(fault, descriptor, pid, uid);
      } else if (arrivals[i] === Arrival.DEAD) {
        this.totals.received++;
        this.totals.dead++;
        native.close(descriptor);
      } else {
        // A copy: the batch's bytes are those of the next one soon.
        const early = Buffer.from(this.bytes.subarray(i * stride, i * stride + lengths[i]!));
        this.waiting.push({ descriptor, early });
      }
    }
    if (end[0] === ReceiveEnd.FAILED) this.warn(`cannot read from ${this.path}: errno ${end[1]}`, -1, -1);
    return this.own();
  }

  private faultOf(arrival: Arrival, length: number, uid: number): DatagramFault | undefined {
    if (this.allowedUids?.has(uid) === false) return "not permitted";
    switch (arrival) {
      case Arrival.TCP:
      case Arrival.DEAD:
        return length > this.watch.batch.stride ? "too long" : undefined;
      case Arrival.NONE:
        return "no descriptor";
      case Arrival.LOST:
        return "no descriptor left";
      case Arrival.SEVERAL:
        return "several descriptors";
      default:
        return "not tcp";
    }
  }

  /** Gives to the sink what it has room for. Returns how many deliveries follow. */
  private own(): number {
    const { sink, waiting } = this;
    let deliveries = 0;
    let taken = 0;
    for (const { descriptor, early } of waiting) {
      if (sink.closed()) {
        this.refuse("closing", descriptor, -1, -1);
      } else {
        if (sink.room() <= 0) break;
        this.totals.received++;
        if (sink.own(descriptor, "", early)) deliveries++;
        else this.totals.dead++;
      }
      taken++;
    }
    waiting.splice(0, taken);
    if (sink.closed()) setImmediate(() => this.sinkClosed());
    else if (waiting.length > 0 || sink.room() <= 0) this.rest();
    else if (this.state === "open") this.watch.select(READABLE);
    this.finishIfDrained();
    return deliveries;
  }

  /** `own` outside of a batch, where every delivery needs a turn of its own. */
  private move(): void {
    if (this.state === "drained") return;
    const deliveries = this.own();
    for (let i = 0; i < deliveries; i++) setImmediate(() => this.sink.deliver());
  }

  private rest(): void {
    if (this.state === "open") this.watch.select(0);
    if (this.state !== "open" && this.waiting.length === 0) return;
    this.roomTimer = setTimeout(() => this.move(), ROOM_INTERVAL);
    // The watch keeps no process alive while it waits for nothing.
    if (!this.isReferenced) this.roomTimer.unref();
  }

  private refuse(reason: DatagramFault, descriptor: number, pid: number, uid: number): void {
    if (descriptor >= 0) native.close(descriptor);
    this.totals.refused++;
    if (this.listenerCount("refused") > 0) setImmediate(() => this.emit("refused", { reason, pid, uid }));
    if (reason === "closing" || this.warned.has(reason)) return;
    this.warned.add(reason);
    this.warn(
      `a datagram of ${processName(pid)} of user ${uid} at ${this.path} was not taken: ${explain[reason]}`,
      pid,
      uid,
    );
  }

  private warn(message: string, pid: number, uid: number): void {
    const code = uid >= 0 && this.allowedUids?.has(uid) === false ? "ERR_NOT_PERMITTED" : "ERR_PROTOCOL";
    const error = new PeerError(code, message, { pid, uid, gid: -1 });
    if (this.listenerCount("warning") > 0) setImmediate(() => this.emit("warning", error));
    else process.emitWarning(message, { type: "SniHandoffWarning", code });
  }
}

const explain: Record<Exclude<DatagramFault, "closing">, string> = {
  "no descriptor": "it brought no descriptor",
  "several descriptors": "it brought more than one descriptor, and which one its bytes belong to cannot be told",
  "not tcp": "its descriptor is no TCP connection",
  "no descriptor left":
    "this process is at its limit of open files (RLIMIT_NOFILE), and the kernel has closed the connection",
  "too long": `it has more than ${MOST_EARLY_BYTES} bytes, and the rest is lost`,
  "not permitted": "that user is not one of allowedUsers",
};

function milliseconds(name: string, value: number): number {
  return integer(name, value, 0, 0x7fffffff);
}
