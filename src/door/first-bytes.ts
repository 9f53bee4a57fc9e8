/**
 * Where connections go that do not begin with TLS, by what they begin with instead. Pure, and allocates nothing.
 *
 * Rules are tried in their order. One that what has come so far may still come to match holds up those behind it.
 */

/** "http": a request of HTTP/1.x, or the preface of HTTP/2. */
export type Beginning = "http" | Uint8Array;

export interface FirstBytesRule {
  readonly starts: Beginning;
  /** `starts` as an operator writes it. */
  readonly text: string;
  /** Index of the backend. */
  readonly backend: number;
}

/** Results of `find` that are no backend. */
export const NO_RULE = -1;
export const UNDECIDED = -2;

/** The longest method that is taken for one: RFC 9110 §9.1 sets no limit; UPDATEREDIRECTREF is the longest registered. */
const LONGEST_METHOD = 24;
const SPACE = 0x20;
const CONNECT = Uint8Array.from(Buffer.from("CONNECT "));

const Match = { NO: 0, SO_FAR: 1, YES: 2 } as const;
type Match = (typeof Match)[keyof typeof Match];

export class FirstBytes {
  /** After `find`: the rule that matched is `http`. */
  isHttp = false;
  private readonly rules: readonly FirstBytesRule[];

  constructor(rules: readonly FirstBytesRule[]) {
    this.rules = rules;
  }

  /** The backend for what begins with bytes[start..end); `isEnded`: no more will come. */
  find(bytes: Uint8Array, start: number, end: number, isEnded: boolean): number {
    this.isHttp = false;
    for (const { starts, backend } of this.rules) {
      const match = starts === "http" ? matchRequest(bytes, start, end) : matchText(starts, bytes, start, end);
      if (match === Match.NO || (match === Match.SO_FAR && isEnded)) continue;
      if (match === Match.SO_FAR) return UNDECIDED;
      this.isHttp = starts === "http";
      return backend;
    }
    return NO_RULE;
  }
}

function matchText(text: Uint8Array, bytes: Uint8Array, start: number, end: number): Match {
  const length = Math.min(text.length, end - start);
  for (let i = 0; i < length; i++) if (bytes[start + i] !== text[i]) return Match.NO;
  return length === text.length ? Match.YES : Match.SO_FAR;
}

/**
 * A method, a space, and how a request-target begins (RFC 9112 §3.2): "/", "*", or "http" in the absolute form, and anything
 * after CONNECT. So "PROXY TCP4 …", "EHLO name" or "USER name" are none; HTTP/2's preface, "PRI * HTTP/2.0", is one.
 */
function matchRequest(bytes: Uint8Array, start: number, end: number): Match {
  let at = start;
  while (at < end && isOfMethod(bytes[at]!)) {
    if (++at - start > LONGEST_METHOD) return Match.NO;
  }
  if (at === end) return Match.SO_FAR;
  if (bytes[at] !== SPACE || at === start) return Match.NO;
  if (++at === end) return Match.SO_FAR;
  switch (bytes[at]) {
    case 0x2f: // "/"
    case 0x2a: // "*"
    case 0x68: // "h"
    case 0x48: // "H"
      return Match.YES;
    default:
      return at - start === CONNECT.length ? matchText(CONNECT, bytes, start, end) : Match.NO;
  }
}

/** Capital letters and "-" of a token (RFC 9110 §5.6.2): all methods that are registered. */
function isOfMethod(byte: number): boolean {
  return (byte >= 0x41 && byte <= 0x5a) || byte === 0x2d;
}
