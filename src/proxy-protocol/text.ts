/**
 * Addresses and ports as the PROXY protocol's version 1 writes them (proxy-protocol.txt §2.1), from bytes to the packed
 * form of addresses.ts. Each function reads bytes[at..end), writes into out[0..20), and returns false for anything else
 * than the one form that is allowed. Nothing is allocated.
 */
import { setIPv6 } from "./packed.js";

const DIGIT_0 = 0x30;
const DIGIT_9 = 0x39;
const DOT = 0x2e;
const COLON = 0x3a;
const IPV4 = 4;
/** Behind family, 0 and port. */
const ADDRESS = 4;

/** 0 to 65535 in decimal, without leading zeros. */
export function packPort(bytes: Uint8Array, at: number, end: number, out: Uint8Array): boolean {
  const port = decimal(bytes, at, end, 0xffff);
  if (port < 0) return false;
  out[2] = port >>> 8;
  out[3] = port;
  return true;
}

/** Four numbers of 0 to 255, without leading zeros. */
export function packIPv4(bytes: Uint8Array, at: number, end: number, out: Uint8Array): boolean {
  out[0] = IPV4;
  return readDotted(bytes, at, end, out, ADDRESS);
}

/**
 * RFC 4291 §2.2: groups of up to four hexadecimal digits, at most one "::", and an IPv4 address as the last two groups
 * if need be. An IPv4-mapped address becomes the IPv4 address that it is.
 */
export function packIPv6(bytes: Uint8Array, at: number, end: number, out: Uint8Array): boolean {
  let group = 0;
  /** Number of groups before the "::"; -1 without one. */
  let gap = -1;
  let place = at;
  if (place + 1 < end && bytes[place] === COLON && bytes[place + 1] === COLON) {
    gap = 0;
    place += 2;
  }
  while (place < end) {
    if (group === 8) return false;
    let stop = place;
    while (stop < end && bytes[stop] !== COLON) stop++;
    if (stop === end && isDotted(bytes, place, end)) {
      if (group > 6 || !readDotted(bytes, place, end, out, ADDRESS + 2 * group)) return false;
      group += 2;
      place = end;
      break;
    }
    const value = hexadecimal(bytes, place, stop);
    if (value < 0) return false;
    out[ADDRESS + 2 * group] = value >>> 8;
    out[ADDRESS + 2 * group + 1] = value;
    group++;
    place = stop;
    if (place === end) break;
    // Behind a colon there is another group, or the one "::".
    place++;
    if (place < end && bytes[place] === COLON) {
      if (gap >= 0) return false;
      gap = group;
      place++;
    } else if (place === end) {
      return false;
    }
  }
  if (gap < 0 ? group !== 8 : group > 7) return false;
  if (gap >= 0) moveBehindGap(out, gap, group);
  setIPv6(out, 0);
  return true;
}

/** Of the groups that were read, those from `gap` on are the last ones of the address. */
function moveBehindGap(out: Uint8Array, gap: number, groups: number): void {
  const moved = 2 * (groups - gap);
  const from = ADDRESS + 2 * gap;
  const to = ADDRESS + 16 - moved;
  out.copyWithin(to, from, from + moved);
  out.fill(0, from, to);
}

function readDotted(bytes: Uint8Array, at: number, end: number, out: Uint8Array, to: number): boolean {
  let place = at;
  for (let i = 0; i < 4; i++) {
    let stop = place;
    while (stop < end && bytes[stop] !== DOT) stop++;
    if (i < 3 ? stop === end : stop !== end) return false;
    const value = decimal(bytes, place, stop, 255);
    if (value < 0) return false;
    out[to + i] = value;
    place = stop + 1;
  }
  return true;
}

function isDotted(bytes: Uint8Array, at: number, end: number): boolean {
  for (let i = at; i < end; i++) if (bytes[i] === DOT) return true;
  return false;
}

/** -1 if it is no number from 0 to `most`, or is written with a leading zero. */
function decimal(bytes: Uint8Array, at: number, end: number, most: number): number {
  const digits = end - at;
  if (digits < 1 || digits > 5 || (digits > 1 && bytes[at] === DIGIT_0)) return -1;
  let value = 0;
  for (let i = at; i < end; i++) {
    const digit = bytes[i]!;
    if (digit < DIGIT_0 || digit > DIGIT_9) return -1;
    value = 10 * value + digit - DIGIT_0;
  }
  return value > most ? -1 : value;
}

/** One to four digits of either case; -1 for anything else. */
function hexadecimal(bytes: Uint8Array, at: number, end: number): number {
  const digits = end - at;
  if (digits < 1 || digits > 4) return -1;
  let value = 0;
  for (let i = at; i < end; i++) {
    const byte = bytes[i]!;
    const letter = byte | 0x20;
    if (byte >= DIGIT_0 && byte <= DIGIT_9) value = (value << 4) | (byte - DIGIT_0);
    else if (letter >= 0x61 && letter <= 0x66) value = (value << 4) | (letter - 0x57);
    else return -1;
  }
  return value;
}
