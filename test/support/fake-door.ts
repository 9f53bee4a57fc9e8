/**
 * A scripted door: a channel to an instance that sends exactly what the test says, rules or no rules. Uses the addon
 * and real sockets.
 */
import { HEADER_LENGTH, MAX_MESSAGE_LENGTH, MessageType } from "../../src/handoff/layout.js";
import { encodeHandoff, encodeRevoke, type HandoffFacts, Message } from "../../src/handoff/message.js";
import { type MessageWatch, native, ReceiveEnd } from "../../src/native/addon.js";
import { until } from "./wait.js";

export interface Received {
  readonly type: number;
  readonly sequence: number;
  readonly open: number;
  readonly window: number;
  readonly weight: number;
  readonly reason: number;
}

const SHUT_RD = 0;

export interface Told {
  sequence?: number;
  name?: string;
  alpn?: string;
  flags?: number;
  connectionId?: bigint;
  acceptedAt?: bigint;
  /** Bytes of a PROXY header; without them the addresses, which are packed (addresses.ts), are not sent. */
  consumed?: number;
  client?: Uint8Array;
  server?: Uint8Array;
}

const NO_ADDRESS = new Uint8Array(20);

/** The bytes of a HANDOFF. */
export function handoffBytes({ sequence = 1, name = "", alpn = "", ...told }: Told = {}): Uint8Array {
  const id = told.connectionId ?? 1n;
  const at = told.acceptedAt ?? 0n;
  const facts: HandoffFacts = {
    sequence,
    connectionIdLow: Number(id & 0xffffffffn),
    connectionIdHigh: Number(id >> 32n),
    acceptedAtLow: Number(at & 0xffffffffn),
    acceptedAtHigh: Number(at >> 32n),
    flags: told.flags ?? 0,
    helloDeadlineLow: 0,
    helloDeadlineHigh: 0,
    name: Buffer.from(name, "latin1"),
    nameStart: 0,
    nameLength: name.length,
    alpn: Buffer.from(alpn, "latin1"),
    alpnStart: 0,
    alpnLength: alpn.length,
    consumed: told.consumed ?? 0,
    client: told.client ?? NO_ADDRESS,
    clientStart: 0,
    server: told.server ?? NO_ADDRESS,
    serverStart: 0,
  };
  const bytes = new Uint8Array(MAX_MESSAGE_LENGTH);
  return bytes.slice(0, encodeHandoff(bytes, 0, facts));
}

/** Adds a field to a message. */
export function withField(bytes: Uint8Array, type: number, value: Uint8Array): Uint8Array {
  const longer = Buffer.alloc(bytes.length + 4 + value.length);
  longer.set(bytes);
  longer.writeUInt16LE(type, bytes.length);
  longer.writeUInt16LE(value.length, bytes.length + 2);
  longer.set(value, bytes.length + 4);
  longer.writeUInt16LE(longer.length, 2);
  return longer;
}

export class FakeDoor {
  readonly received: Received[] = [];
  /** The instance closed the channel, and everything before that is in `received`. */
  ended = false;
  nextSequence: number;
  private watch: MessageWatch | undefined;
  private readonly descriptor: number;
  private isClosed = false;

  /** `reads: false` leaves everything in the queue, as a stopped door does. */
  constructor(path: string, options: { sequence?: number; reads?: boolean } = {}) {
    this.nextSequence = options.sequence ?? 1;
    this.descriptor = native.connectUnix(path, "seqpacket", { credentials: true, refuseDescriptors: true });
    if (options.reads !== false) this.startReading();
  }

  startReading(): void {
    this.watch = native.watchMessages(
      this.descriptor,
      (count) => this.onBatch(count),
      () => {},
    );
  }

  /** Connects and waits for READY. */
  static async open(path: string, options: { sequence?: number } = {}): Promise<FakeDoor> {
    const door = new FakeDoor(path, options);
    await door.next(MessageType.READY);
    return door;
  }

  private onBatch(count: number): number {
    const { batch } = this.watch!;
    const message = new Message();
    for (let i = 0; i < count; i++) {
      const wrong = message.decode(batch.buffer, i * batch.stride, batch.lengths[i]!);
      if (wrong !== undefined) throw new Error(`the instance sent ${wrong}`);
      const { type, sequence, open, window, weight, reason } = message;
      this.received.push({ type, sequence, open, window, weight, reason });
    }
    if (batch.end[0] === ReceiveEnd.CLOSED) this.ended = true;
    return 0;
  }

  /** Sends a raw message; returns 0 or the errno. The descriptors stay the caller's. */
  send(bytes: Uint8Array, descriptors: readonly number[] = []): number {
    return native.sendMessage(this.descriptor, bytes, descriptors);
  }

  /** Hands a descriptor over under the next sequence, which is returned. It stays the caller's. */
  handOver(descriptor: number, told: Told = {}): number {
    const sequence = told.sequence ?? this.nextSequence;
    this.nextSequence = (sequence + 1) >>> 0;
    const errno = this.send(handoffBytes({ ...told, sequence }), [descriptor]);
    if (errno !== 0) throw new Error(`handing over failed with errno ${errno}`);
    return sequence;
  }

  /** From now on the instance's ACK fails with EPIPE. */
  stopReading(): void {
    native.shutdown(this.descriptor, SHUT_RD);
  }

  revoke(sequence: number): void {
    const bytes = new Uint8Array(HEADER_LENGTH);
    encodeRevoke(bytes, 0, sequence);
    const errno = this.send(bytes);
    if (errno !== 0) throw new Error(`REVOKE failed with errno ${errno}`);
  }

  /** The first message of a type, from the `from`-th message on, that `matches` accepts. */
  next(type: number, matches: (message: Received) => boolean = () => true, from = 0): Promise<Received> {
    return until(`message ${type} from the instance`, () =>
      this.received.slice(from).find((message) => message.type === type && matches(message)),
    );
  }

  acknowledged(sequence: number): Promise<Received> {
    return this.next(MessageType.ACK, (ack) => ((ack.sequence - sequence) | 0) >= 0);
  }

  refused(sequence: number): Promise<Received> {
    return this.next(MessageType.REFUSE, (refusal) => refusal.sequence === sequence);
  }

  end(): Promise<true> {
    return until("the instance's closing the channel", () => this.ended || undefined);
  }

  close(): void {
    if (this.isClosed) return;
    this.isClosed = true;
    this.watch?.close();
    native.close(this.descriptor);
  }
}
