/**
 * A door's side of one channel on libuv's loop, for few connections: the relay gives its fallback's to instances so. (The
 * door itself has door/channels.ts, which is made for many.) PROTOCOL.md is the reference.
 */
import { constants } from "node:os";
import type { SystemCallError } from "../errors.js";
import { Arrival, type MessageWatch, native, ReceiveEnd } from "../native/addon.js";
import { MAX_WINDOW, MessageType, PROTOCOL_VERSION, RefuseReason } from "./layout.js";
import { distance, encodeRevoke, Message } from "./message.js";
import { ownerOf } from "./path-owner.js";

/** What became of a handoff. */
export type Outcome =
  /** An instance owns the connection. */
  | "acknowledged"
  /** It was refused, or could not be sent. */
  | "refused"
  /** Nobody owns it: the instance is gone, or was told that it is not its own. */
  | "taken back";

/** An instance that is full gets nothing until its next READY, or for so long. Milliseconds. */
const REST = 1000;
/** When what could not be sent (ENOBUFS, ETOOMANYREFS) is tried again: no event tells. Milliseconds. */
const SEND_AGAIN = 20;
const SHUT_RD = 0;

export class OutgoingChannel {
  private readonly descriptor: number;
  private readonly ownerUid: number;
  private readonly watch: MessageWatch;
  private readonly permittedUid: number;
  private state: "greeting" | "ready" | "draining" | "revoking" | "closed" = "greeting";
  private window: number = 0;
  private restsUntil: number = 0;
  private nextSequence: number = 1;
  /** By their sequences, in that order. */
  private readonly outstanding: Map<number, (outcome: Outcome) => void> = new Map();
  private readonly waiting: Set<() => void> = new Set();

  /** Connects. Throws a SystemCallError. `permittedUid` may serve the path beside root and its owner; -1: nobody. */
  constructor(path: string, permittedUid: number) {
    this.permittedUid = permittedUid;
    this.ownerUid = ownerOf(path, permittedUid) ?? process.geteuid!();
    this.descriptor = native.connectUnix(path, "seqpacket", { credentials: true, refuseDescriptors: true });
    this.watch = native.watchMessages(
      this.descriptor,
      (count) => this.onBatch(count),
      () => {},
    );
    this.watch.unref();
  }

  get isClosed(): boolean {
    return this.state === "closed" || this.state === "revoking" || this.state === "draining";
  }

  private get takes(): boolean {
    const isResting = performance.now() < this.restsUntil;
    return this.state === "ready" && !isResting && this.outstanding.size < this.window;
  }

  private changed(timeout: number): Promise<void> {
    return new Promise((resolve) => {
      const done = () => {
        clearTimeout(timer);
        this.waiting.delete(done);
        resolve();
      };
      const timer = setTimeout(done, timeout);
      this.waiting.add(done);
    });
  }

  private wake(): void {
    for (const done of [...this.waiting]) done();
  }

  /**
   * Sends a HANDOFF (its sequence is set here) as soon as there is room, and resolves to what becomes of it. There must be
   * room within `patience` milliseconds, and an acknowledgement `timeout` after that, or it is taken back. `descriptor`
   * stays the caller's, who keeps it open until then.
   */
  async handOff(handoff: Buffer, descriptor: number, patience: number, timeout: number): Promise<Outcome> {
    const until = performance.now() + patience;
    for (;;) {
      const left = until - performance.now();
      if (this.isClosed || left <= 0) return "refused";
      if (!this.takes) {
        await this.changed(left);
        continue;
      }
      const errno = this.send(handoff, descriptor);
      if (errno === 0) break;
      // Of a channel at its end the watch hears too.
      if (GONE.includes(errno)) return "refused";
      await this.changed(Math.min(left, SEND_AGAIN));
    }
    const sequence = handoff.readUInt32LE(SEQUENCE);
    return new Promise((resolve) => {
      const late = setTimeout(() => this.revoke(), timeout);
      this.outstanding.set(sequence, (outcome) => {
        clearTimeout(late);
        resolve(outcome);
      });
    });
  }

  /** Returns 0, or the errno: then it was not sent. */
  private send(handoff: Buffer, descriptor: number): number {
    handoff.writeUInt32LE(this.nextSequence, SEQUENCE);
    const errno = native.sendMessage(this.descriptor, handoff, [descriptor]);
    if (errno === 0) this.nextSequence = (this.nextSequence + 1) >>> 0;
    return errno;
  }

  /** What is outstanding is the instance's: it reads the end without a REVOKE, and whoever sent it is going. */
  close(): void {
    this.finish("acknowledged");
  }

  private onBatch(count: number): number {
    if (this.state === "closed") return 0;
    const { batch } = this.watch;
    let wrong = false;
    for (let i = 0; i < count; i++) if (!this.apply(i)) wrong = true;
    if (wrong) this.revoke();
    if (batch.end[0] === ReceiveEnd.CLOSED) this.atEnd();
    else if (batch.end[0] === ReceiveEnd.FAILED) this.giveUp();
    else if (this.state === "draining" && this.outstanding.size === 0) this.finish("taken back");
    this.wake();
    return 0;
  }

  /** False for what breaks the protocol. Acknowledgements count all the same: they were given. */
  private apply(i: number): boolean {
    const { buffer, stride, lengths, arrivals, descriptors, credentials } = this.watch.batch;
    if (descriptors[i]! >= 0) native.close(descriptors[i]!);
    if (arrivals[i] !== Arrival.NONE || message.decode(buffer, i * stride, lengths[i]!) !== undefined) return false;
    switch (message.type) {
      case MessageType.READY:
        return this.greeted(credentials[3 * i + 1]!);
      case MessageType.ACK:
        return this.state !== "greeting" && this.acknowledged(message.sequence);
      case MessageType.REFUSE:
        return this.state !== "greeting" && this.refused(message.sequence, message.reason);
      case MessageType.DRAIN:
        if (this.state === "ready") this.state = "draining";
        return this.state !== "greeting";
      default:
        return false;
    }
  }

  private greeted(uid: number): boolean {
    if (message.lowestVersion > PROTOCOL_VERSION || message.highestVersion < PROTOCOL_VERSION) return false;
    if (this.state === "greeting") {
      if (uid !== 0 && uid !== this.ownerUid && uid !== this.permittedUid) return false;
      this.askNoMore();
      this.state = "ready";
    }
    this.window = Math.min(MAX_WINDOW, message.window);
    this.restsUntil = 0;
    return true;
  }

  /** Credentials are known now; from here on they would only cost. */
  private askNoMore(): void {
    try {
      native.askCredentials(this.descriptor, false);
    } catch {
      // Then they do.
    }
  }

  private acknowledged(sequence: number): boolean {
    if (distance(sequence, this.nextSequence) <= 0) return false;
    for (const each of [...this.outstanding.keys()]) {
      if (distance(each, sequence) >= 0) this.settle(each, "acknowledged");
    }
    return true;
  }

  private refused(sequence: number, reason: number): boolean {
    if (!this.outstanding.has(sequence)) return false;
    this.settle(sequence, "refused");
    if (reason === RefuseReason.DRAINING) this.state = this.state === "ready" ? "draining" : this.state;
    else if (reason !== RefuseReason.NOT_TCP) this.restsUntil = performance.now() + REST;
    return true;
  }

  private settle(sequence: number, outcome: Outcome): void {
    const settled = this.outstanding.get(sequence)!;
    this.outstanding.delete(sequence);
    settled(outcome);
  }

  /** Takes back what is not acknowledged: from now on an ACK fails at its sender, and those that did not are read first. */
  private revoke(): void {
    if (this.state === "closed" || this.state === "revoking") return;
    this.state = "revoking";
    this.wake();
    try {
      native.shutdown(this.descriptor, SHUT_RD);
    } catch (error) {
      // The instance is gone; what it had sent is still read.
      if ((error as SystemCallError).code !== "ENOTCONN") this.giveUp();
    }
  }

  /** What the instance has acknowledged cannot be known: by an end without REVOKE all is its own. */
  private giveUp(): void {
    this.finish("acknowledged");
  }

  /** Everything that the instance had said is read. */
  private atEnd(): void {
    if (this.state !== "revoking" || this.outstanding.size === 0) return this.finish("taken back");
    const first = this.outstanding.keys().next().value!;
    const length = encodeRevoke(scratch, 0, (first - 1) >>> 0);
    const errno = native.sendMessage(this.descriptor, scratch.subarray(0, length));
    // Nothing is given away before the instance can know, or is gone.
    if (errno === 0 || GONE.includes(errno)) this.finish("taken back");
    else setTimeout(() => this.state === "revoking" && this.atEnd(), SEND_AGAIN).unref();
  }

  private finish(outcome: Outcome): void {
    if (this.state === "closed") return;
    this.state = "closed";
    this.watch.close();
    native.close(this.descriptor);
    for (const sequence of [...this.outstanding.keys()]) this.settle(sequence, outcome);
    this.wake();
  }
}

/** Offset of the sequence in a message's header. */
const SEQUENCE = 4;
const { ECONNRESET, ENOTCONN, EPIPE } = constants.errno;
/** Of a send: the instance is. */
const GONE: readonly number[] = [ECONNRESET, ENOTCONN, EPIPE];
const scratch = new Uint8Array(64);
/** Decoded one after another; nothing keeps it. */
const message = new Message();
