/**
 * Whether bytes are an IP address in text. RFC 6066 §3 forbids addresses as server names, yet clients send them; they
 * count as "no name". Nothing is ever converted or dialled: this only recognises.
 */

const DOT = 0x2e;
const COLON = 0x3a;

/** Four decimal numbers of 0..255, leading zeros allowed. */
export function isIpv4(bytes: Uint8Array, start: number, end: number): boolean {
  let numbers = 0;
  let digits = 0;
  let value = 0;
  for (let i = start; i <= end; i++) {
    const byte = i < end ? bytes[i] : DOT;
    if (byte === DOT) {
      if (digits === 0 || value > 255) return false;
      numbers++;
      digits = 0;
      value = 0;
    } else {
      if (byte < 0x30 || byte > 0x39 || digits === 3) return false;
      digits++;
      value = value * 10 + (byte - 0x30);
    }
  }
  return numbers === 4;
}

/** RFC 4291 §2.2, bare or in the brackets of a URL. Zone ids are not accepted: they mean nothing to a peer. */
export function isIpv6(bytes: Uint8Array, start: number, end: number): boolean {
  if (end - start > 2 && bytes[start] === 0x5b && bytes[end - 1] === 0x5d) return isBareIpv6(bytes, start + 1, end - 1);
  return isBareIpv6(bytes, start, end);
}

function isBareIpv6(bytes: Uint8Array, start: number, end: number): boolean {
  let groups = 0;
  let compressed = false;
  let i = start;
  if (end - start >= 2 && bytes[start] === COLON && bytes[start + 1] === COLON) {
    compressed = true;
    i += 2;
  }
  while (i < end) {
    const groupStart = i;
    while (i < end && isHexDigit(bytes[i])) i++;
    if (i < end && bytes[i] === DOT) {
      if (!isIpv4(bytes, groupStart, end)) return false;
      groups += 2;
      i = end;
      break;
    }
    if (i === groupStart || i - groupStart > 4) return false;
    groups++;
    if (i === end) break;
    if (bytes[i] !== COLON) return false;
    i++;
    if (i === end) return false;
    if (bytes[i] === COLON) {
      if (compressed) return false;
      compressed = true;
      i++;
    }
  }
  // "::" stands for at least one group.
  return compressed ? groups <= 7 : groups === 8;
}

function isHexDigit(byte: number): boolean {
  return (byte >= 0x30 && byte <= 0x39) || (byte >= 0x41 && byte <= 0x46) || (byte >= 0x61 && byte <= 0x66);
}
