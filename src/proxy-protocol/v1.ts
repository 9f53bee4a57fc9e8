/**
 * Version 1 of the PROXY protocol (proxy-protocol.txt §2.1), one line of text:
 *
 *     PROXY TCP4 192.0.2.1 198.51.100.7 56324 443\r\n
 *     PROXY TCP6 2001:db8::1 2001:db8::2 56324 443\r\n
 *     PROXY UNKNOWN …\r\n
 */
import { ADDRESS_BYTES } from "../addresses.js";
import { V1_LONGEST, V1_SHORTEST, V1_SIGNATURE } from "./layout.js";
import { HeaderStatus, type InvalidHeaderReason } from "./outcome.js";
import { packIPv4, packIPv6, packPort } from "./text.js";

const CR = 0x0d;
const LF = 0x0a;
const SPACE = 0x20;
const PROTOCOL = V1_SIGNATURE.length;
const TCP4 = Uint8Array.of(0x54, 0x43, 0x50, 0x34, 0x20);
const TCP6 = Uint8Array.of(0x54, 0x43, 0x50, 0x36, 0x20);
const UNKNOWN = Uint8Array.of(0x55, 0x4e, 0x4b, 0x4e, 0x4f, 0x57, 0x4e);

/** Reads headers of version 1. Allocates nothing. */
export class V1Reader {
  needed = 0;
  reason: InvalidHeaderReason = "proxy_line_end";
  length = 0;
  /** DONE: the header tells addresses (TCP4, TCP6), which are in `source` and `destination`. */
  isTold = false;

  readonly #source: Uint8Array;
  readonly #destination: Uint8Array;

  constructor(source: Uint8Array, destination: Uint8Array) {
    this.#source = source;
    this.#destination = destination;
  }

  /** The caller has seen that what there is begins as V1_SIGNATURE does. */
  read(bytes: Uint8Array, start: number, end: number): HeaderStatus {
    const available = end - start;
    const last = Math.min(end, start + V1_LONGEST);
    let at = start;
    while (at < last && bytes[at] !== CR && bytes[at] !== LF) at++;
    if (at === last) {
      if (available >= V1_LONGEST) return this.#invalid("proxy_too_long");
      return this.#partial(Math.max(V1_SHORTEST, available + 2));
    }
    if (bytes[at] === LF) return this.#invalid("proxy_line_end");
    if (at + 1 === start + V1_LONGEST) return this.#invalid("proxy_too_long");
    if (at + 1 === end) return this.#partial(Math.max(V1_SHORTEST, available + 1));
    if (bytes[at + 1] !== LF) return this.#invalid("proxy_line_end");
    this.length = at + 2 - start;
    return this.#readLine(bytes, start + PROTOCOL, at);
  }

  /** `bytes[at..end)` is the line behind "PROXY ", without its end. */
  #readLine(bytes: Uint8Array, at: number, end: number): HeaderStatus {
    this.isTold = false;
    // What else is in the line of a protocol that is not known is ignored (§2.1).
    if (begins(bytes, at, end, UNKNOWN) && (at + UNKNOWN.length === end || bytes[at + UNKNOWN.length] === SPACE)) {
      return HeaderStatus.DONE;
    }
    const isIPv4 = begins(bytes, at, end, TCP4);
    if (!isIPv4 && !begins(bytes, at, end, TCP6)) return this.#invalid("proxy_protocol");
    const pack = isIPv4 ? packIPv4 : packIPv6;

    const source = at + TCP4.length;
    const destination = behindSpace(bytes, source, end);
    const sourcePort = behindSpace(bytes, destination, end);
    const destinationPort = behindSpace(bytes, sourcePort, end);
    this.#source.fill(0, 0, ADDRESS_BYTES);
    this.#destination.fill(0, 0, ADDRESS_BYTES);
    if (
      !pack(bytes, source, destination - 1, this.#source) ||
      !pack(bytes, destination, sourcePort - 1, this.#destination)
    ) {
      return this.#invalid("proxy_address");
    }
    if (
      !packPort(bytes, sourcePort, destinationPort - 1, this.#source) ||
      !packPort(bytes, destinationPort, end, this.#destination)
    ) {
      return this.#invalid("proxy_port");
    }
    this.isTold = true;
    return HeaderStatus.DONE;
  }

  #partial(needed: number): HeaderStatus {
    this.needed = needed;
    return HeaderStatus.PARTIAL;
  }

  #invalid(reason: InvalidHeaderReason): HeaderStatus {
    this.reason = reason;
    return HeaderStatus.INVALID;
  }
}

function begins(bytes: Uint8Array, at: number, end: number, text: Uint8Array): boolean {
  if (end - at < text.length) return false;
  for (let i = 0; i < text.length; i++) if (bytes[at + i] !== text[i]) return false;
  return true;
}

/** The place behind the next space; `end + 1` if there is none, so that the field before it ends at `end`. */
function behindSpace(bytes: Uint8Array, at: number, end: number): number {
  let space = at;
  while (space < end && bytes[space] !== SPACE) space++;
  return space + 1;
}
