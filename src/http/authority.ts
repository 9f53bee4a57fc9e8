/**
 * uri-host [ ":" port ] (RFC 9110 §4.2, §7.2) -> the host in the one form in which names are compared: that of a server
 * name. What DNS cannot carry (percent-encodings, sub-delims of RFC 3986's reg-name) is refused.
 */
import { HostName } from "../tls/host-name.js";
import { CLASSES, DIGIT } from "./characters.js";

const COLON = 0x3a;
const BRACKET = 0x5b;
const CLOSING_BRACKET = 0x5d;
const MOST_PORT = 65_535;

/** Reads authorities into one scratch buffer. Allocates nothing after construction. */
export class Authority {
  /** The name is host.bytes[0..host.length): lower case, without the trailing dot; length 0 after an IP address. */
  readonly host: HostName = new HostName();
  /** There was a port, which may be empty. */
  hasPort = false;

  clear(): void {
    this.host.clear();
    this.hasPort = false;
  }

  /** The authority in source[start..end). False if it is none; an empty one is not, either. */
  read(source: Uint8Array, start: number, end: number): boolean {
    this.clear();
    const isBracketed = start < end && source[start] === BRACKET;
    const colon = isBracketed ? this.#afterBracket(source, start, end) : this.#colon(source, start, end);
    if (colon === start || (colon < end && source[colon] !== COLON)) return false;
    if (this.host.read(source, start, colon) !== undefined) return false;
    this.hasPort = colon < end;
    return this.#isPort(source, colon + 1, end);
  }

  #colon(source: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && source[at] !== COLON) at++;
    return at;
  }

  #afterBracket(source: Uint8Array, start: number, end: number): number {
    let at = start;
    while (at < end && source[at] !== CLOSING_BRACKET) at++;
    return Math.min(at + 1, end);
  }

  /** port = *DIGIT (RFC 3986 §3.2.3). */
  #isPort(source: Uint8Array, start: number, end: number): boolean {
    let port = 0;
    for (let i = start; i < end; i++) {
      if ((CLASSES[source[i]!]! & DIGIT) === 0) return false;
      port = port * 10 + (source[i]! - 0x30);
      if (port > MOST_PORT) return false;
    }
    return true;
  }
}
