/**
 * The kit's side of one channel: a door that sends what a rule wants, and writes down what the receiver says, and what
 * of that a door would call a violation.
 */

import { MAX_MESSAGE_LENGTH, MessageType, RefuseReason } from "../handoff/layout.js";
import { distance, encodeRevoke, Message } from "../handoff/message.js";
import { Arrival, type MessageWatch, native, ReceiveEnd } from "../native/addon.js";
import type { Connection } from "./connection.js";
import { Broken } from "./rule.js";
import { eventually } from "./wait.js";

/** What a receiver has said. */
export interface Said {
  readonly type: number;
  readonly sequence: number;
  readonly lowestVersion: number;
  readonly highestVersion: number;
  readonly window: number;
  readonly weight: number;
  readonly reason: number;
  /** Why it is no message of the protocol; the other members mean nothing then. */
  readonly wrong: string | undefined;
  readonly pid: number;
  readonly uid: number;
}

/** A HANDOFF that was sent, and what became of it. */
export interface Handed {
  readonly sequence: number;
  readonly connection: Connection | undefined;
  /** Undefined until the receiver has said something. */
  answer: "acknowledged" | "refused" | undefined;
  /** One of `RefuseReason` of a refused one. */
  reason: number;
  /** Milliseconds between sending and the answer. */
  took: number;
  readonly settled: Promise<void>;
}

/** What a door would call a violation, by the rule that it breaks. */
export interface Violation {
  readonly rule: string;
  readonly got: string;
}

const SHUT_RD = 0;
const reasons: Readonly<Record<number, string>> = {
  [RefuseReason.NO_DESCRIPTOR]: "no descriptor",
  [RefuseReason.NOT_TCP]: "not TCP",
  [RefuseReason.OVERLOADED]: "overloaded",
  [RefuseReason.DRAINING]: "draining",
};
const typeNames: Readonly<Record<number, string>> = Object.fromEntries(
  Object.entries(MessageType).map(([name, type]) => [type, name]),
);

export class Channel {
  readonly said: Said[] = [];
  /** The receiver closed it, and everything that it had said is read. */
  ended: boolean = false;
  /** The last HANDOFF that was sent. */
  last: Handed | undefined;
  /** The sequence of the next HANDOFF. */
  next: number = 1;
  private readonly descriptor: number;
  private readonly timeout: number;
  private readonly watch: MessageWatch;
  private readonly outstanding: Map<number, { handed: Handed; sentAt: number; settle: () => void }> = new Map();
  private readonly owned: Set<Connection> = new Set();
  private readonly violate: (violation: Violation) => void;
  private lastSent: number | undefined;
  private isClosed: boolean = false;

  /** Connects. Throws a SystemCallError. `timeout`: milliseconds that a receiver may take for anything. */
  constructor(path: string, timeout: number, violate: (violation: Violation) => void) {
    this.timeout = timeout;
    this.violate = violate;
    this.descriptor = native.connectUnix(path, "seqpacket", { credentials: true, refuseDescriptors: false });
    this.watch = native.watchMessages(
      this.descriptor,
      (count) => this.onBatch(count),
      () => {},
    );
  }

  /** The first READY, right or wrong; undefined before it came. */
  get peer(): Said | undefined {
    return this.said.find(({ type }) => type === MessageType.READY);
  }

  /** The window of the last READY, within what is allowed. */
  get window(): number {
    const last = this.said.findLast(({ type }) => type === MessageType.READY);
    return last === undefined ? 0 : Math.max(1, Math.min(128, last.window));
  }

  get unsettled(): number {
    return this.outstanding.size;
  }

  isAcknowledged(connection: Connection): boolean {
    return this.owned.has(connection);
  }

  has(type: MessageType): boolean {
    return this.said.some((each) => each.type === type);
  }

  /** Hands a connection over under the next sequence. The door's copy is closed when the ACK comes. */
  hand(connection: Connection, message: (sequence: number) => Uint8Array): Handed {
    return this.handWith([connection.descriptor], message, connection);
  }

  /** Sends a HANDOFF with any descriptors, which stay the caller's. */
  handWith(descriptors: readonly number[], message: (sequence: number) => Uint8Array, connection?: Connection): Handed {
    const sequence = this.next;
    const sentAt = performance.now();
    const errno = this.send(message(sequence), descriptors);
    if (errno !== 0) throw new Broken(`HANDOFF ${sequence} to find room`, `errno ${errno} (${this.summary})`);
    this.next = (sequence + 1) >>> 0;
    this.lastSent = sequence;
    let settle!: () => void;
    const settled = new Promise<void>((resolve) => {
      settle = resolve;
    });
    const handed: Handed = { sequence, connection, answer: undefined, reason: 0, took: 0, settled };
    this.last = handed;
    this.outstanding.set(sequence, { handed, sentAt, settle });
    return handed;
  }

  /** Returns 0 or the errno. */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): number {
    return native.sendMessage(this.descriptor, bytes, descriptors);
  }

  /** From now on the receiver's ACK fails with EPIPE. */
  stopReading(): void {
    native.shutdown(this.descriptor, SHUT_RD);
  }

  /** The door reads no more, and says nothing of it: what the receiver says is queued. */
  ignore(): void {
    this.watch.select(0);
  }

  /** REVOKE of everything after the last ACK that was read. */
  revoke(): void {
    const first = this.outstanding.keys().next().value ?? this.next;
    const bytes = new Uint8Array(64);
    const errno = this.send(bytes.subarray(0, encodeRevoke(bytes, 0, (first - 1) >>> 0)));
    if (errno !== 0) throw new Broken("REVOKE to find room", `errno ${errno}`);
  }

  /** Waits for `look`; throws `Broken` with everything that the receiver has said. */
  async wait<T>(expected: string, look: () => T | undefined | false): Promise<T> {
    const value = await eventually(look, this.timeout);
    if (value === undefined) throw new Broken(`${expected} within ${this.timeout / 1000} s`, this.summary);
    return value;
  }

  async ready(): Promise<Said> {
    return this.wait("READY", () => this.peer);
  }

  async acknowledged(...all: readonly Handed[]): Promise<void> {
    for (const handed of all) {
      await this.wait(`an ACK of ${handed.sequence}`, () => handed.answer !== undefined);
      if (handed.answer !== "acknowledged") throw new Broken(`an ACK of ${handed.sequence}`, this.summary);
    }
  }

  async refused(handed: Handed, reason: number): Promise<void> {
    const expected = `a REFUSE of ${handed.sequence}, ${reasons[reason]}`;
    await this.wait(expected, () => handed.answer !== undefined);
    if (handed.answer !== "refused" || handed.reason !== reason) throw new Broken(expected, this.summary);
  }

  async end(): Promise<void> {
    await this.wait("the receiver to close the channel", () => this.ended);
  }

  /** Everything that the receiver has said, in order. */
  get summary(): string {
    const all = [...this.said.map(describe), ...(this.ended ? ["end of the channel"] : [])];
    const shown = all.length > 12 ? [...all.slice(0, 4), `(${all.length - 10} more)`, ...all.slice(-6)] : all;
    return shown.length === 0 ? "nothing" : shown.join(", ");
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.watch.close();
    native.close(this.descriptor);
  }

  private onBatch(count: number): number {
    const { buffer, stride, lengths, arrivals, descriptors, credentials, end } = this.watch.batch;
    for (let i = 0; i < count; i++) {
      if (descriptors[i]! >= 0) native.close(descriptors[i]!);
      const tooLong = lengths[i]! > stride && `a message of ${lengths[i]} bytes; at most ${MAX_MESSAGE_LENGTH}`;
      const wrong = tooLong || message.decode(buffer, i * stride, lengths[i]!);
      // Decoding stops at the first fault; what it is meant to be is still of interest.
      const type = lengths[i]! >= 2 ? buffer[i * stride + 1]! : 0;
      const { sequence, lowestVersion, highestVersion, window, weight, reason } = message;
      const who = { pid: credentials[3 * i]!, uid: credentials[3 * i + 1]! };
      const said = { type, sequence, lowestVersion, highestVersion, window, weight, reason, wrong, ...who };
      this.said.push(said);
      if (arrivals[i] !== Arrival.NONE) {
        this.violate({ rule: "no-descriptor-back", got: `${describe(said)} with a descriptor` });
      }
      this.apply(said);
    }
    if (end[0] === ReceiveEnd.CLOSED || end[0] === ReceiveEnd.FAILED) this.ended = true;
    return 0;
  }

  private apply(said: Said): void {
    if (said.wrong !== undefined) {
      // Of READY two rules tell more.
      if (said.type !== MessageType.READY) this.violate({ rule: "well-formed", got: said.wrong });
      return;
    }
    switch (said.type) {
      case MessageType.ACK:
        return this.acknowledge(said.sequence);
      case MessageType.REFUSE:
        return this.refuse(said);
      case MessageType.READY:
      case MessageType.DRAIN:
        if (said.sequence !== 0) this.violate({ rule: "well-formed", got: `${describe(said)} with a sequence` });
        return;
      default:
        this.violate({ rule: "well-formed", got: `${describe(said)}, which only doors send` });
    }
  }

  private acknowledge(sequence: number): void {
    if (this.lastSent === undefined || distance(this.lastSent, sequence) > 0) {
      const sent = this.lastSent === undefined ? "nothing was" : `${this.lastSent} was the last`;
      this.violate({ rule: "ack-not-beyond", got: `ACK ${sequence} when ${sent} handed over` });
      return;
    }
    for (const each of [...this.outstanding.keys()]) {
      if (distance(each, sequence) < 0) break;
      this.outstanding.get(each)!.handed.connection?.letGo();
      this.settle(each, "acknowledged", 0);
    }
  }

  private refuse({ sequence, reason }: Said): void {
    if (this.outstanding.has(sequence)) this.settle(sequence, "refused", reason);
    else this.violate({ rule: "refuse-before-ack", got: `REFUSE ${sequence}, which was not outstanding` });
  }

  private settle(sequence: number, answer: "acknowledged" | "refused", reason: number): void {
    const { handed, sentAt, settle } = this.outstanding.get(sequence)!;
    this.outstanding.delete(sequence);
    if (answer === "acknowledged" && handed.connection !== undefined) this.owned.add(handed.connection);
    Object.assign(handed, { answer, reason, took: performance.now() - sentAt });
    settle();
  }
}

/** "ACK 7", "REFUSE 8 (overloaded)". */
export function describe({ type, sequence, reason, wrong }: Said): string {
  if (wrong !== undefined) return `no message of the protocol (${wrong})`;
  const name = typeNames[type] ?? `type ${type}`;
  if (type === MessageType.REFUSE) return `${name} ${sequence} (${reasons[reason]})`;
  return type === MessageType.READY || type === MessageType.DRAIN ? name : `${name} ${sequence}`;
}

/** Decoded one after another; nothing keeps it. */
const message = new Message();
