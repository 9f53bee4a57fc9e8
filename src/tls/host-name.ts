/**
 * The bytes of a host_name -> the one form in which a name is looked up, logged and passed on.
 *
 * RFC 6066 §3 wants a DNS name in ASCII (A-labels) without the trailing dot. The world adds: upper case, a trailing
 * dot, underscores (service names), and addresses.
 */

import { isIpv4, isIpv6 } from "./ip-literal.js";
import type { InvalidReason } from "./outcome.js";

/** RFC 1035 §2.3.4. */
export const MAX_NAME_LENGTH = 255;
export const MAX_LABEL_LENGTH = 63;

const DOT = 0x2e;

/** For each byte: itself in lower case if a name may hold it, else 0. A dot is not among them. */
const LABEL_BYTES = new Uint8Array(256);
for (const byte of Buffer.from("abcdefghijklmnopqrstuvwxyz0123456789-_")) LABEL_BYTES[byte] = byte;
for (let upper = 0x41; upper <= 0x5a; upper++) LABEL_BYTES[upper] = upper + 0x20;

/** Reads host names into one scratch buffer. Allocates nothing after construction. */
export class HostName {
  /** Lower case, without the trailing dot; valid until the next read. */
  readonly bytes = new Uint8Array(256);
  /** Of `bytes`; 0 after an IP address. */
  length = 0;
  ipLiteral = false;

  clear(): void {
    this.length = 0;
    this.ipLiteral = false;
  }

  /** The name in source[start..end), which is not empty. Returns why it can't be one. */
  read(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    this.clear();
    if (end - start > MAX_NAME_LENGTH) return "server_name_length";
    const stop = source[end - 1] === DOT ? end - 1 : end;
    const bytes = this.bytes;
    let length = 0;
    let label = 0;
    let mayBeIpv4 = true;
    for (let i = start; i < stop; i++) {
      const byte = source[i];
      if (byte === DOT) {
        if (label === 0) return "server_name_label";
        label = 0;
        bytes[length++] = DOT;
        continue;
      }
      const lower = LABEL_BYTES[byte];
      if (lower === 0) return this.#readIpv6(source, start, end);
      if (++label > MAX_LABEL_LENGTH) return "server_name_label";
      if (lower > 0x39) mayBeIpv4 = false;
      bytes[length++] = lower;
    }
    if (label === 0) return "server_name_label";
    if (mayBeIpv4 && isIpv4(bytes, 0, length)) this.ipLiteral = true;
    else this.length = length;
    return undefined;
  }

  /** An IPv6 address is the only thing with other characters that is not refused. */
  #readIpv6(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    if (!isIpv6(source, start, end)) return "server_name_characters";
    this.ipLiteral = true;
    return undefined;
  }
}
