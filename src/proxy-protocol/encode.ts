/**
 * Writes PROXY headers (proxy-protocol.txt §2.1, §2.2) into a buffer that the caller owns; returns where the header ends.
 * Nothing is allocated.
 */
import { ADDRESS_LENGTHS, Command, Family, Tlv, Transport, V1_LONGEST, V2_FIXED, V2_SIGNATURE } from "./layout.js";
import { putIPv6 } from "./packed.js";

const VERSION = 0x20;
const IPV4 = 4;
const IPV6 = 6;
/** Where the address is in its packed form. */
const ADDRESS = 4;
const SPACE = 0x20;

/** Most bytes of a value: more would not fit a domain name, a protocol's name, or an id (§2.2.7). */
const LONGEST_AUTHORITY = 255;
const LONGEST_ALPN = 255;
const LONGEST_UNIQUE_ID = 128;

/** What a header tells. Byte ranges with length 0 are left out, and version 1 has none of them. */
export interface ProxyFacts {
  /** The client, packed (addresses.ts), from source[sourceStart]. Family 0: not known, and nothing is told. */
  source: Uint8Array;
  sourceStart: number;
  /** The address that it connected to, likewise. */
  destination: Uint8Array;
  destinationStart: number;
  authority: Uint8Array;
  authorityStart: number;
  authorityLength: number;
  alpn: Uint8Array;
  alpnStart: number;
  alpnLength: number;
  uniqueId: Uint8Array;
  uniqueIdStart: number;
  uniqueIdLength: number;
}

/** The bytes of the longest header that the encoders write. */
export const MAX_PROXY_HEADER_LENGTH: number = Math.max(
  V1_LONGEST,
  V2_FIXED + ADDRESS_LENGTHS[Family.INET6]! + 3 * 3 + LONGEST_AUTHORITY + LONGEST_ALPN + LONGEST_UNIQUE_ID,
);

/** Version 1. With addresses of two families both are written as IPv6 (RFC 4291 §2.5.5.2). */
export function encodeProxyV1(target: Uint8Array, offset: number, facts: ProxyFacts): number {
  const { source, sourceStart, destination, destinationStart } = facts;
  const family = familyOf(facts);
  if (family === Family.UNSPEC) return ascii(target, offset, "PROXY UNKNOWN\r\n");
  const isIPv4 = family === Family.INET;
  let at = ascii(target, offset, isIPv4 ? "PROXY TCP4 " : "PROXY TCP6 ");
  at = isIPv4 ? dotted(target, at, source, sourceStart) : groups(target, at, source, sourceStart);
  target[at++] = SPACE;
  at = isIPv4 ? dotted(target, at, destination, destinationStart) : groups(target, at, destination, destinationStart);
  target[at++] = SPACE;
  at = decimal(target, at, portOf(source, sourceStart));
  target[at++] = SPACE;
  at = decimal(target, at, portOf(destination, destinationStart));
  return ascii(target, at, "\r\n");
}

/** Version 2, PROXY over TCP. Throws RangeError for a value that is longer than it may be: 255 bytes, an id 128. */
export function encodeProxyV2(target: Uint8Array, offset: number, facts: ProxyFacts): number {
  checkLengths(facts);
  target.set(V2_SIGNATURE, offset);
  const family = familyOf(facts);
  target[offset + 12] = VERSION | Command.PROXY;
  target[offset + 13] = family === Family.UNSPEC ? 0 : (family << 4) | Transport.STREAM;
  let at = offset + V2_FIXED;
  if (family !== Family.UNSPEC) {
    const { source, sourceStart, destination, destinationStart } = facts;
    at = address(target, at, family, source, sourceStart);
    at = address(target, at, family, destination, destinationStart);
    at = port(target, at, source, sourceStart);
    at = port(target, at, destination, destinationStart);
  }
  at = tlv(target, at, Tlv.ALPN, facts.alpn, facts.alpnStart, facts.alpnLength);
  at = tlv(target, at, Tlv.AUTHORITY, facts.authority, facts.authorityStart, facts.authorityLength);
  at = tlv(target, at, Tlv.UNIQUE_ID, facts.uniqueId, facts.uniqueIdStart, facts.uniqueIdLength);
  const length = at - offset - V2_FIXED;
  target[offset + 14] = length >>> 8;
  target[offset + 15] = length;
  return at;
}

/** Version 2, LOCAL: for connections of the sender's own. */
export function encodeProxyLocal(target: Uint8Array, offset: number): number {
  target.set(V2_SIGNATURE, offset);
  target.fill(0, offset + 12, offset + V2_FIXED);
  target[offset + 12] = VERSION | Command.LOCAL;
  return offset + V2_FIXED;
}

function checkLengths({ authorityLength, alpnLength, uniqueIdLength }: ProxyFacts): void {
  if (authorityLength > LONGEST_AUTHORITY) throw tooLong("authority", authorityLength, LONGEST_AUTHORITY);
  if (alpnLength > LONGEST_ALPN) throw tooLong("alpn", alpnLength, LONGEST_ALPN);
  if (uniqueIdLength > LONGEST_UNIQUE_ID) throw tooLong("uniqueId", uniqueIdLength, LONGEST_UNIQUE_ID);
}

function tooLong(what: string, length: number, most: number): RangeError {
  return new RangeError(`${what} of ${length} bytes; at most ${most} are allowed`);
}

/** One that holds both addresses; UNSPEC if one is not known. */
function familyOf({ source, sourceStart, destination, destinationStart }: ProxyFacts): number {
  const a = source[sourceStart]!;
  const b = destination[destinationStart]!;
  if ((a !== IPV4 && a !== IPV6) || (b !== IPV4 && b !== IPV6)) return Family.UNSPEC;
  return a === IPV4 && b === IPV4 ? Family.INET : Family.INET6;
}

function portOf(packed: Uint8Array, at: number): number {
  return (packed[at + 2]! << 8) | packed[at + 3]!;
}

function port(target: Uint8Array, offset: number, packed: Uint8Array, at: number): number {
  target[offset] = packed[at + 2]!;
  target[offset + 1] = packed[at + 3]!;
  return offset + 2;
}

function address(target: Uint8Array, offset: number, family: number, packed: Uint8Array, at: number): number {
  if (family === Family.INET6) {
    putIPv6(target, offset, packed, at);
    return offset + 16;
  }
  for (let i = 0; i < 4; i++) target[offset + i] = packed[at + ADDRESS + i]!;
  return offset + 4;
}

function tlv(
  target: Uint8Array,
  offset: number,
  type: number,
  source: Uint8Array,
  start: number,
  length: number,
): number {
  if (length === 0) return offset;
  target[offset] = type;
  target[offset + 1] = length >>> 8;
  target[offset + 2] = length;
  for (let i = 0; i < length; i++) target[offset + 3 + i] = source[start + i]!;
  return offset + 3 + length;
}

function ascii(target: Uint8Array, offset: number, text: string): number {
  for (let i = 0; i < text.length; i++) target[offset + i] = text.charCodeAt(i);
  return offset + text.length;
}

function decimal(target: Uint8Array, offset: number, value: number): number {
  let at = offset;
  for (let power = 10_000; power >= 1; power /= 10) {
    if (value >= power || power === 1) target[at++] = 0x30 + (Math.floor(value / power) % 10);
  }
  return at;
}

function dotted(target: Uint8Array, offset: number, packed: Uint8Array, at: number): number {
  let to = offset;
  for (let i = 0; i < 4; i++) {
    if (i > 0) target[to++] = 0x2e;
    to = decimal(target, to, packed[at + ADDRESS + i]!);
  }
  return to;
}

const mapped = new Uint8Array(16);

/** All eight groups, which every reader takes; "::" is not needed. */
function groups(target: Uint8Array, offset: number, packed: Uint8Array, at: number): number {
  putIPv6(mapped, 0, packed, at);
  let to = offset;
  for (let i = 0; i < 8; i++) {
    if (i > 0) target[to++] = 0x3a;
    to = hexadecimal(target, to, (mapped[2 * i]! << 8) | mapped[2 * i + 1]!);
  }
  return to;
}

function hexadecimal(target: Uint8Array, offset: number, value: number): number {
  let at = offset;
  for (let shift = 12; shift >= 0; shift -= 4) {
    if (value >>> shift === 0 && shift > 0) continue;
    const digit = (value >>> shift) & 0x0f;
    target[at++] = digit < 10 ? 0x30 + digit : 0x57 + digit;
  }
  return at;
}
