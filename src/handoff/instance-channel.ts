/**
 * The instance's side of one channel as a pure state machine: which messages are allowed, what is not settled yet, and
 * who owns what when the channel ends. No sockets here: receiver-channel.ts does what this says. PROTOCOL.md is the
 * reference.
 */
import { MessageType, type RefuseReason } from "./layout.js";
import { distance, type Message } from "./message.js";

/** What becomes of a HANDOFF. The values above 0 are the reasons of `RefuseReason`. */
export const Verdict = {
  /** Acknowledge it, then serve it. */
  TAKE: 0,
  /** Acknowledge it, then close it: the connection is dead, and every instance would refuse it. */
  BURY: -1,
} as const;
export type Verdict = (typeof Verdict)[keyof typeof Verdict] | RefuseReason;

/** A HANDOFF that is neither acknowledged nor refused yet. */
export interface Unsettled {
  readonly sequence: number;
  /** -1 if none came. Closed by whoever takes the entry out of the channel. */
  readonly descriptor: number;
  /** The message's bytes as a latin1 string, for later. */
  readonly text: string;
  verdict: Verdict;
}

/** `REVOKED` ends the channel; a string is a violation of the protocol, which ends it too. */
export type Step = typeof TAKEN_IN | typeof REVOKED | string;
export const TAKEN_IN = 0;
export const REVOKED = 1;

export class InstanceChannel {
  /** HANDOFFs in the order of their sequence. */
  private unsettled: Unsettled[] = [];
  private readonly window: number;
  private lastReceived: number | undefined;
  private lastAcknowledged: number | undefined;
  /** An ACK or REFUSE failed because the door reads no more: whose the unsettled ones are is known at the end. */
  private broken_: boolean = false;

  /** `window` is the largest that READY offers on this channel. */
  constructor(window: number) {
    this.window = window;
  }

  /** The last sequence whose ACK was sent, for reports of a new open count. */
  get acknowledged(): number | undefined {
    return this.lastAcknowledged;
  }

  /** Nothing more can be sent: read to the end. */
  get broken(): boolean {
    return this.broken_;
  }

  /** How many are unsettled. */
  get size(): number {
    return this.unsettled.length;
  }

  /** How many of the unsettled ones will be served. */
  get taking(): number {
    let count = 0;
    for (const handoff of this.unsettled) if (handoff.verdict === Verdict.TAKE) count++;
    return count;
  }

  /**
   * A message came, decoded; `verdict`, `descriptor` and `text` matter for a HANDOFF. On TAKEN_IN the channel keeps the
   * descriptor; else the caller closes it.
   */
  receive(message: Message, verdict: Verdict, descriptor: number, text: string): Step {
    switch (message.type) {
      case MessageType.HANDOFF:
        return this.takeIn(message.sequence, verdict, descriptor, text);
      case MessageType.REVOKE:
        return this.revoke(message.sequence);
      default:
        return `a message of type ${message.type}, which only instances send`;
    }
  }

  private takeIn(sequence: number, verdict: Verdict, descriptor: number, text: string): Step {
    if (this.lastReceived !== undefined && distance(this.lastReceived, sequence) !== 1) {
      return `HANDOFF ${sequence} after ${this.lastReceived}; one higher is next`;
    }
    if (this.unsettled.length >= this.window) {
      return `HANDOFF ${sequence} exceeds the window of ${this.window}`;
    }
    this.lastReceived = sequence;
    this.unsettled.push({ sequence, descriptor, text, verdict });
    return TAKEN_IN;
  }

  private revoke(sequence: number): Step {
    // The door's sequence may be ahead of the last ACK (what was refused counts as settled there), never behind it.
    if (this.lastAcknowledged !== undefined && distance(sequence, this.lastAcknowledged) > 0) {
      return `REVOKE after ${sequence}, but ${this.lastAcknowledged} was acknowledged`;
    }
    return REVOKED;
  }

  /** The first one whose REFUSE is due: all of them go before the next ACK. */
  get nextRefusal(): Unsettled | undefined {
    for (const handoff of this.unsettled) if (handoff.verdict > 0) return handoff;
    return undefined;
  }

  /** Its REFUSE was sent; the caller closes the descriptor. */
  refused(handoff: Unsettled): void {
    this.unsettled.splice(this.unsettled.indexOf(handoff), 1);
  }

  /** What the next ACK says, or undefined if there is nothing to acknowledge. */
  get acknowledgeable(): number | undefined {
    for (let i = this.unsettled.length - 1; i >= 0; i--) {
      const handoff = this.unsettled[i]!;
      if (handoff.verdict <= 0) return handoff.sequence;
    }
    return undefined;
  }

  /** The ACK of `acknowledgeable` was sent: returns what is owned from now on. All refusals were sent before. */
  acknowledge(): readonly Unsettled[] {
    this.lastAcknowledged = this.acknowledgeable ?? this.lastAcknowledged;
    return this.takeAll();
  }

  /** Sending failed with EPIPE or ECONNRESET: nothing is decided before the channel's end is read. */
  sendFailed(): void {
    this.broken_ = true;
  }

  /** No more connections can be served: what is not acknowledged yet is refused with this reason. */
  refuseRest(reason: RefuseReason): void {
    for (const handoff of this.unsettled) if (handoff.verdict === Verdict.TAKE) handoff.verdict = reason;
  }

  /**
   * Empties the channel: at the end of file without a REVOKE they are the instance's; after a REVOKE or a violation
   * the caller closes them.
   */
  takeAll(): readonly Unsettled[] {
    const all = this.unsettled;
    this.unsettled = [];
    return all;
  }
}
