/**
 * What counts as one client where something is limited for each: an IPv4 address, or an IPv6 /64, which is what one
 * customer is given (RFC 6177). Hashed with a secret, so that nobody can choose addresses that share a place with another
 * client's. Pure.
 */

/** Where the address begins in its packed form, behind family, 0 and port (`Loop.peekAddresses`). */
const ADDRESS = 4;
const IPV6 = 6;

let v0 = 0;
let v1 = 0;
let v2 = 0;
let v3 = 0;

/**
 * 32 bits for the client whose packed address begins at bytes[at], and for what is counted of it: `salt`. HalfSipHash-1-3
 * (Aumasson and Bernstein's SipHash over words of 32 bits, as in Linux's lib/siphash.c) with the key (k0, k1).
 */
export function clientKey(bytes: Uint8Array, at: number, salt: number, k0: number, k1: number): number {
  v0 = k0;
  v1 = k1;
  v2 = 0x6c796765 ^ k0;
  v3 = 0x74656462 ^ k1;
  absorb(salt);
  absorb(word(bytes, at + ADDRESS));
  // Of an IPv4 address the rest is 0.
  if (bytes[at] === IPV6) absorb(word(bytes, at + ADDRESS + 4));
  // The last word has the length, here the family: it tells the two forms apart as well.
  absorb(bytes[at]! << 24);
  v2 ^= 0xff;
  round();
  round();
  round();
  return (v1 ^ v3) >>> 0;
}

function word(bytes: Uint8Array, at: number): number {
  return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
}

function absorb(value: number): void {
  v3 ^= value;
  round();
  v0 ^= value;
}

function round(): void {
  v0 = (v0 + v1) | 0;
  v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
  v0 = (v0 << 16) | (v0 >>> 16);
  v2 = (v2 + v3) | 0;
  v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
  v0 = (v0 + v3) | 0;
  v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
  v2 = (v2 + v1) | 0;
  v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
  v2 = (v2 << 16) | (v2 >>> 16);
}
