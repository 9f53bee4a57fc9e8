/**
 * Messages of the handoff protocol to bytes and back. Pure; PROTOCOL.md is the reference.
 *
 * The encoders write into a buffer that the caller owns and return where the message ends; nothing is allocated.
 * 64-bit values are pairs of words, low one first: they never become JavaScript numbers.
 */
import {
  FieldType,
  HEADER_LENGTH,
  MAX_MESSAGE_LENGTH,
  MAX_WINDOW,
  MessageType,
  PROTOCOL_VERSION,
  RefuseReason,
} from "./layout.js";

// V8 reads an imported constant from its module's cell at each use, with a check; a constant of this module it folds.
const VERSION = PROTOCOL_VERSION;
const { READY, HANDOFF, ACK, REFUSE, REVOKE, DRAIN } = MessageType;
const { CONNECTION_ID, ACCEPTED_AT, HELLO_DEADLINE, FLAGS, SERVER_NAME, ALPN, OPEN } = FieldType;
const { CLIENT_ADDRESS, SERVER_ADDRESS, CONSUMED } = FieldType;
const HEADER = HEADER_LENGTH;

function header(target: Uint8Array, offset: number, type: MessageType, length: number, sequence: number): number {
  target[offset] = VERSION;
  target[offset + 1] = type;
  put16(target, offset + 2, length);
  put32(target, offset + 4, sequence);
  return offset + HEADER;
}

function put16(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value;
  target[offset + 1] = value >>> 8;
}

function put32(target: Uint8Array, offset: number, value: number): void {
  target[offset] = value;
  target[offset + 1] = value >>> 8;
  target[offset + 2] = value >>> 16;
  target[offset + 3] = value >>> 24;
}

function field(target: Uint8Array, offset: number, type: FieldType, length: number): number {
  put16(target, offset, type);
  put16(target, offset + 2, length);
  return offset + 4;
}

function bytesField(
  target: Uint8Array,
  offset: number,
  type: FieldType,
  source: Uint8Array,
  start: number,
  length: number,
): number {
  const at = field(target, offset, type, length);
  for (let i = 0; i < length; i++) target[at + i] = source[start + i]!;
  return at + length;
}

function wordField(target: Uint8Array, offset: number, type: FieldType, value: number): number {
  const at = field(target, offset, type, 4);
  put32(target, at, value);
  return at + 4;
}

function longField(target: Uint8Array, offset: number, type: FieldType, low: number, high: number): number {
  const at = field(target, offset, type, 8);
  put32(target, at, low);
  put32(target, at + 4, high);
  return at + 8;
}

/** Port u16, then the address in network order; nothing for a packed address of no family. */
function addressField(target: Uint8Array, offset: number, type: FieldType, packed: Uint8Array, start: number): number {
  const family = packed[start];
  if (family !== 4 && family !== 6) return offset;
  const width = family === 4 ? 4 : 16;
  const at = field(target, offset, type, 2 + width);
  target[at] = packed[start + 3]!;
  target[at + 1] = packed[start + 2]!;
  for (let i = 0; i < width; i++) target[at + 2 + i] = packed[start + 4 + i]!;
  return at + 2 + width;
}

/**
 * The value of CLIENT_ADDRESS or SERVER_ADDRESS in bytes[start..start + length), packed (addresses.ts), to out[to..to + 20).
 * Length 0, of a field that is absent: family 0.
 */
export function unpackAddress(bytes: Uint8Array, start: number, length: number, out: Uint8Array, to: number): void {
  for (let i = 0; i < 20; i++) out[to + i] = 0;
  if (length === 0) return;
  out[to] = length === 6 ? 4 : 6;
  out[to + 2] = bytes[start + 1]!;
  out[to + 3] = bytes[start]!;
  for (let i = 2; i < length; i++) out[to + 2 + i] = bytes[start + i]!;
}

export function encodeReady(
  target: Uint8Array,
  offset: number,
  ready: { window: number; weight?: number; open?: number },
): number {
  let at = offset + HEADER;
  at = field(target, at, FieldType.VERSIONS, 2);
  target[at] = VERSION;
  target[at + 1] = VERSION;
  at = field(target, at + 2, FieldType.WINDOW, 2);
  put16(target, at, ready.window);
  at += 2;
  if (ready.weight !== undefined) {
    at = field(target, at, FieldType.WEIGHT, 2);
    put16(target, at, ready.weight);
    at += 2;
  }
  if (ready.open !== undefined) at = wordField(target, at, OPEN, ready.open);
  header(target, offset, READY, at - offset, 0);
  return at;
}

/** What a HANDOFF tells about its connection. Byte ranges with length 0 are left out. */
export interface HandoffFacts {
  sequence: number;
  connectionIdLow: number;
  connectionIdHigh: number;
  acceptedAtLow: number;
  acceptedAtHigh: number;
  /** Bits of `Flag`. */
  flags: number;
  /** Until when an incomplete hello may be completed; left out if both words are 0. */
  helloDeadlineLow: number;
  helloDeadlineHigh: number;
  name: Uint8Array;
  nameStart: number;
  nameLength: number;
  alpn: Uint8Array;
  alpnStart: number;
  alpnLength: number;
  /** Bytes that the door has read: 0 but for those of a PROXY header. Without them the addresses are left out too. */
  consumed: number;
  /** What the header told, packed (addresses.ts), from client[clientStart] and server[serverStart]. Family 0: nothing. */
  client: Uint8Array;
  clientStart: number;
  server: Uint8Array;
  serverStart: number;
}

export function encodeHandoff(target: Uint8Array, offset: number, facts: HandoffFacts): number {
  let at = offset + HEADER;
  at = longField(target, at, CONNECTION_ID, facts.connectionIdLow, facts.connectionIdHigh);
  at = longField(target, at, ACCEPTED_AT, facts.acceptedAtLow, facts.acceptedAtHigh);
  at = wordField(target, at, FLAGS, facts.flags);
  if (facts.nameLength > 0) {
    at = bytesField(target, at, SERVER_NAME, facts.name, facts.nameStart, facts.nameLength);
  }
  if (facts.alpnLength > 0) {
    at = bytesField(target, at, ALPN, facts.alpn, facts.alpnStart, facts.alpnLength);
  }
  if ((facts.helloDeadlineLow | facts.helloDeadlineHigh) !== 0) {
    at = longField(target, at, HELLO_DEADLINE, facts.helloDeadlineLow, facts.helloDeadlineHigh);
  }
  if (facts.consumed !== 0) {
    at = wordField(target, at, CONSUMED, facts.consumed);
    at = addressField(target, at, CLIENT_ADDRESS, facts.client, facts.clientStart);
    at = addressField(target, at, SERVER_ADDRESS, facts.server, facts.serverStart);
  }
  header(target, offset, HANDOFF, at - offset, facts.sequence);
  return at;
}

/** `open` is how many connections the instance has open; negative leaves the field out. */
export function encodeAck(target: Uint8Array, offset: number, sequence: number, open: number): number {
  let at = offset + HEADER;
  if (open >= 0) at = wordField(target, at, OPEN, open);
  header(target, offset, ACK, at - offset, sequence);
  return at;
}

export function encodeRefuse(target: Uint8Array, offset: number, sequence: number, reason: RefuseReason): number {
  const at = field(target, offset + HEADER, FieldType.REASON, 1);
  target[at] = reason;
  header(target, offset, REFUSE, at + 1 - offset, sequence);
  return at + 1;
}

/** `sequence` is the last acknowledged one that the door has read. */
export function encodeRevoke(target: Uint8Array, offset: number, sequence: number): number {
  return header(target, offset, REVOKE, HEADER, sequence);
}

export function encodeDrain(target: Uint8Array, offset: number): number {
  return header(target, offset, DRAIN, HEADER, 0);
}

/** The bytes of the longest HANDOFF: what a sender must have room for. */
export const MAX_HANDOFF_LENGTH: number = HEADER_LENGTH + 3 * 12 + 2 * 8 + 2 * (4 + 255) + 2 * (4 + 18);

/**
 * A decoded message, reused from one decode to the next: valid until then. Absent numbers are -1 and absent ranges
 * have length 0; ranges point into the decoded buffer.
 */
export class Message {
  type: number = 0;
  sequence: number = 0;
  lowestVersion: number = -1;
  highestVersion: number = -1;
  window: number = -1;
  weight: number = -1;
  open: number = -1;
  reason: number = -1;
  flags: number = 0;
  connectionIdLow: number = 0;
  connectionIdHigh: number = 0;
  acceptedAtLow: number = 0;
  acceptedAtHigh: number = 0;
  helloDeadlineLow: number = 0;
  helloDeadlineHigh: number = 0;
  nameStart: number = 0;
  nameLength: number = 0;
  alpnStart: number = 0;
  alpnLength: number = 0;
  clientAddressStart: number = 0;
  clientAddressLength: number = 0;
  serverAddressStart: number = 0;
  serverAddressLength: number = 0;
  /** 0 if absent. */
  consumed: number = 0;
  /** One bit a known field type that the message has. */
  private present: number = 0;

  /**
   * Reads the message in bytes[start..start+length). Returns undefined, or what is wrong with it, in words that fit
   * behind "protocol violation: ". Whether the message is allowed now is for the caller to say.
   */
  decode(bytes: Uint8Array, start: number, length: number): string | undefined {
    if (length > MAX_MESSAGE_LENGTH) return `a message of ${length} bytes; at most ${MAX_MESSAGE_LENGTH} are allowed`;
    if (length < HEADER) return `a message of ${length} bytes, shorter than its header of ${HEADER}`;
    if (bytes[start] !== VERSION) {
      return `version ${bytes[start]}; version ${VERSION} was agreed`;
    }
    const stated = get16(bytes, start + 2);
    if (stated !== length) return `a message that states ${stated} bytes and has ${length}`;
    this.type = bytes[start + 1]!;
    this.sequence = get32(bytes, start + 4);
    this.lowestVersion = this.highestVersion = this.window = this.weight = this.open = this.reason = -1;
    this.flags = this.connectionIdLow = this.connectionIdHigh = this.acceptedAtLow = this.acceptedAtHigh = 0;
    this.helloDeadlineLow = this.helloDeadlineHigh = 0;
    this.nameLength = this.alpnLength = this.clientAddressLength = this.serverAddressLength = this.present = 0;
    this.consumed = 0;
    const end = start + length;
    let at = start + HEADER;
    while (at < end) {
      if (end - at < 4) return "a field that overruns its message";
      const type = get16(bytes, at);
      const size = get16(bytes, at + 2);
      at += 4;
      if (size > end - at) return `field ${type}, which overruns its message`;
      const wrong = this.readField(bytes, type, at, size);
      if (wrong !== undefined) return wrong;
      at += size;
    }
    return this.checkNeeded();
  }

  private readField(bytes: Uint8Array, type: number, at: number, size: number): string | undefined {
    if (type === 0 || type > SERVER_ADDRESS) return undefined;
    if ((this.present & (1 << type)) !== 0) return `field ${type} twice`;
    this.present |= 1 << type;
    switch (type) {
      case FieldType.VERSIONS:
        if (size !== 2) break;
        this.lowestVersion = bytes[at]!;
        this.highestVersion = bytes[at + 1]!;
        return undefined;
      case FieldType.WINDOW:
        if (size !== 2) break;
        this.window = get16(bytes, at);
        if (this.window < 1 || this.window > MAX_WINDOW) return `window ${this.window}; 1 to ${MAX_WINDOW} are allowed`;
        return undefined;
      case FieldType.WEIGHT:
        if (size !== 2) break;
        this.weight = get16(bytes, at);
        return this.weight === 0 ? "weight 0; 1 to 65535 are allowed" : undefined;
      case CONNECTION_ID:
        if (size !== 8) break;
        this.connectionIdLow = get32(bytes, at);
        this.connectionIdHigh = get32(bytes, at + 4);
        return undefined;
      case ACCEPTED_AT:
        if (size !== 8) break;
        this.acceptedAtLow = get32(bytes, at);
        this.acceptedAtHigh = get32(bytes, at + 4);
        return undefined;
      case FieldType.HELLO_DEADLINE:
        if (size !== 8) break;
        this.helloDeadlineLow = get32(bytes, at);
        this.helloDeadlineHigh = get32(bytes, at + 4);
        return undefined;
      case FLAGS:
        if (size !== 4) break;
        this.flags = get32(bytes, at);
        return undefined;
      case SERVER_NAME:
        if (size < 1 || size > 255) break;
        this.nameStart = at;
        this.nameLength = size;
        return undefined;
      case ALPN:
        if (size < 1 || size > 255) break;
        this.alpnStart = at;
        this.alpnLength = size;
        return undefined;
      case CLIENT_ADDRESS:
        if (size !== 6 && size !== 18) break;
        this.clientAddressStart = at;
        this.clientAddressLength = size;
        return undefined;
      case SERVER_ADDRESS:
        if (size !== 6 && size !== 18) break;
        this.serverAddressStart = at;
        this.serverAddressLength = size;
        return undefined;
      case CONSUMED:
        if (size !== 4) break;
        this.consumed = get32(bytes, at);
        return undefined;
      case OPEN:
        if (size !== 4) break;
        this.open = get32(bytes, at);
        return undefined;
      case FieldType.REASON:
        if (size !== 1) break;
        this.reason = bytes[at]!;
        if (this.reason < RefuseReason.NO_DESCRIPTOR || this.reason > RefuseReason.DRAINING) {
          return `reason ${this.reason}; 1 to 4 are known`;
        }
        return undefined;
    }
    return `field ${type} of ${size} bytes`;
  }

  private checkNeeded(): string | undefined {
    switch (this.type) {
      case READY:
        if (this.lowestVersion < 0) return "READY without VERSIONS";
        if (this.lowestVersion > this.highestVersion) return "READY with VERSIONS in the wrong order";
        return this.window < 0 ? "READY without WINDOW" : undefined;
      case HANDOFF:
        if ((this.present & (1 << CONNECTION_ID)) === 0) return "HANDOFF without CONNECTION_ID";
        if ((this.present & (1 << ACCEPTED_AT)) === 0) return "HANDOFF without ACCEPTED_AT";
        return (this.present & (1 << FLAGS)) === 0 ? "HANDOFF without FLAGS" : undefined;
      case REFUSE:
        return this.reason < 0 ? "REFUSE without REASON" : undefined;
      case ACK:
      case REVOKE:
      case DRAIN:
        return undefined;
      default:
        return `a message of unknown type ${this.type}`;
    }
  }
}

function get16(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8);
}

function get32(bytes: Uint8Array, at: number): number {
  return (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0;
}

/** How far `sequence` is ahead of `base`, in serial arithmetic (RFC 1982): -2^31 .. 2^31-1. */
export function distance(base: number, sequence: number): number {
  return (sequence - base) | 0;
}
