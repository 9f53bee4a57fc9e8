/** The head of an HTTP/1.x request, as peeked from a socket -> its host and path. RFC 9112. */

import { Authority } from "./authority.js";
import { CLASSES, TARGET, TOKEN, VALUE } from "./characters.js";
import { type HeadFault, HeadStatus } from "./outcome.js";

const CR = 0x0d;
const LF = 0x0a;
const SP = 0x20;
const HTAB = 0x09;
const COLON = 0x3a;
const SLASH = 0x2f;
const STAR = 0x2a;
const QUESTION = 0x3f;
const HASH = 0x23;
const ZERO = 0x30;
const NINE = 0x39;

const ascii = (text: string): Uint8Array => new Uint8Array(Buffer.from(text, "latin1"));
const CONNECT = ascii("CONNECT");
const OPTIONS = ascii("OPTIONS");
const PRI = ascii("PRI");
const VERSION = ascii("HTTP/");
const HOST = ascii("host");
const HTTP_SCHEME = ascii("http://");
const HTTPS_SCHEME = ascii("https://");

// As constants of this file: see routing/hash.ts for what imports cost.
const { DONE, PARTIAL, HTTP2, INVALID } = HeadStatus;
const CLASS = CLASSES;
const IN_TOKEN = TOKEN;
const IN_TARGET = TARGET;
const IN_VALUE = VALUE;

/**
 * Reads request heads, one after the other, without allocating. One per thread.
 *
 *     switch (reader.read(bytes, start, end)) {
 *       case HeadStatus.PARTIAL:   // wait for more bytes, then read from `start` again
 *       case HeadStatus.HTTP2:     // the preface of HTTP/2: no host to be seen
 *       case HeadStatus.INVALID:   // reader.reason; 400 Bad Request
 *       case HeadStatus.DONE:      // reader.name[0..reader.nameLength), reader.pathStart, …
 *     }
 *
 * It is strict where receivers are known to disagree, since whoever gets the connection reads the same bytes again: line
 * ends, folded fields, blanks before colons, a second Host. It keeps no state from one read to the next. Results are
 * valid until the next read; offsets point into the caller's bytes.
 */
export class RequestHeadReader {
  /** Most bytes of a head. */
  maxLength: number;
  /** INVALID: why. */
  reason: HeadFault = "http_method";
  /**
   * DONE: the host is name[0..nameLength): letters in lower case, digits, `-`, `_`, `.`; no port, no trailing dot. That of
   * the request-target if it has one, whatever Host says (RFC 9112 §3.2.2).
   */
  readonly name: Uint8Array;
  /** DONE: 0 if there is no name: HTTP/1.0 without Host, an empty Host, or an IP address. At most 255. */
  nameLength = 0;
  /** DONE: the host is an IP address. */
  ipLiteral = false;
  /** DONE: path and query are bytes[pathStart..pathEnd), as sent; both 0 if the request-target has none ("*", CONNECT). */
  pathStart = 0;
  /** An absolute-form without a path has an empty one here, or one that begins with "?". */
  pathEnd = 0;
  /** DONE: bytes of the head, from `start`, with the empty line that ends it. */
  length = 0;

  readonly #authority = new Authority();
  #at = 0;
  #stop = 0;
  #minor = 0;
  #methodStart = 0;
  #methodEnd = 0;
  #targetStart = 0;
  #targetEnd = 0;
  /** The authority of the request-target; both 0 if it has none. */
  #authorityStart = 0;
  #authorityEnd = 0;
  #hasHost = false;
  #hasEnded = false;

  constructor(maxLength: number) {
    this.maxLength = maxLength;
    this.name = this.#authority.host.bytes;
  }

  /** Reads the head that begins at bytes[start]; looks at nothing outside bytes[start..end). Never throws. */
  read(bytes: Uint8Array, start: number, end: number): HeadStatus {
    this.clear();
    this.#at = start;
    this.#stop = Math.min(end, start + this.maxLength);
    let status = this.#readEmptyLine(bytes);
    if (status === DONE) status = this.#readRequestLine(bytes);
    while (status === DONE && !this.#hasEnded) status = this.#readFieldLine(bytes);
    if (status === DONE) status = this.#conclude(bytes);
    if (status === PARTIAL && end - start >= this.maxLength) return this.#invalid("http_too_long");
    if (status === DONE) this.length = this.#at - start;
    return status;
  }

  /** RFC 9112 §2.2: an empty line before the request line is to be ignored. */
  #readEmptyLine(bytes: Uint8Array): HeadStatus {
    return this.#at < this.#stop && bytes[this.#at] === CR ? this.#readLineEnd(bytes) : DONE;
  }

  /** method SP request-target SP HTTP-version CRLF (RFC 9112 §3). */
  #readRequestLine(bytes: Uint8Array): HeadStatus {
    this.#methodStart = this.#at;
    this.#skip(bytes, IN_TOKEN);
    this.#methodEnd = this.#at;
    if (this.#at === this.#stop) return PARTIAL;
    if (bytes[this.#at] !== SP || this.#methodEnd === this.#methodStart) return this.#invalid("http_method");

    this.#targetStart = ++this.#at;
    this.#skip(bytes, IN_TARGET);
    this.#targetEnd = this.#at;
    if (this.#at === this.#stop) return PARTIAL;
    const after = bytes[this.#at]!;
    if (this.#targetEnd === this.#targetStart) return this.#invalid("http_target");
    // The request line of HTTP/0.9 ends here.
    if (after === CR || after === LF) return this.#invalid("http_version");
    if (after !== SP) return this.#invalid("http_characters");
    this.#at++;
    return this.#readVersion(bytes);
  }

  #readVersion(bytes: Uint8Array): HeadStatus {
    const start = this.#at;
    const length = VERSION.length;
    for (let i = 0; i < length + 3; i++) {
      if (start + i === this.#stop) return PARTIAL;
      const byte = bytes[start + i]!;
      const isRight =
        i < length ? byte === VERSION[i] : i === length + 1 ? byte === 0x2e : byte >= ZERO && byte <= NINE;
      if (!isRight) return this.#invalid("http_version");
    }
    this.#at = start + length + 3;
    const major = bytes[start + length]! - ZERO;
    this.#minor = bytes[start + length + 2]! - ZERO;
    if (this.#at < this.#stop) {
      const after = bytes[this.#at]!;
      if (after !== CR && after !== LF) return this.#invalid("http_version");
    }
    const status = this.#readLineEnd(bytes);
    if (status !== DONE) return status;
    if (major === 1) return this.#readTarget(bytes);
    // RFC 9113 §3.4: "PRI * HTTP/2.0"
    const isPreface = major === 2 && this.#isMethod(bytes, PRI) && this.#isAsterisk(bytes);
    return isPreface ? HTTP2 : this.#invalid("http_version");
  }

  /** The four forms of RFC 9112 §3.2. */
  #readTarget(bytes: Uint8Array): HeadStatus {
    const start = this.#targetStart;
    const end = this.#targetEnd;
    if (this.#isMethod(bytes, CONNECT)) {
      this.#authorityStart = start;
      this.#authorityEnd = end;
      return this.#authority.read(bytes, start, end) && this.#authority.hasPort ? DONE : this.#invalid("http_target");
    }
    if (bytes[start] === SLASH) {
      this.pathStart = start;
      this.pathEnd = end;
      return DONE;
    }
    if (this.#isAsterisk(bytes)) return this.#isMethod(bytes, OPTIONS) ? DONE : this.#invalid("http_target");
    return this.#readAbsoluteForm(bytes, start, end);
  }

  #readAbsoluteForm(bytes: Uint8Array, start: number, end: number): HeadStatus {
    const scheme = this.#isAt(bytes, start, end, HTTP_SCHEME)
      ? HTTP_SCHEME
      : this.#isAt(bytes, start, end, HTTPS_SCHEME)
        ? HTTPS_SCHEME
        : undefined;
    if (scheme === undefined) return this.#invalid("http_target");
    let at = start + scheme.length;
    this.#authorityStart = at;
    while (at < end && bytes[at] !== SLASH && bytes[at] !== QUESTION && bytes[at] !== HASH) at++;
    this.#authorityEnd = at;
    this.pathStart = at;
    this.pathEnd = end;
    // User information is no part of it (RFC 9110 §4.2.4); neither may the host be empty (§4.2.1).
    return this.#authority.read(bytes, this.#authorityStart, at) ? DONE : this.#invalid("http_host");
  }

  /** field-name ":" OWS field-value OWS CRLF (RFC 9112 §5), or the empty line. */
  #readFieldLine(bytes: Uint8Array): HeadStatus {
    const start = this.#at;
    if (start === this.#stop) return PARTIAL;
    const first = bytes[start]!;
    if (first === CR) {
      this.#hasEnded = true;
      return this.#readLineEnd(bytes);
    }
    if (first === SP || first === HTAB) return this.#invalid("http_folded");
    this.#skip(bytes, IN_TOKEN);
    if (this.#at === this.#stop) return PARTIAL;
    const nameEnd = this.#at;
    const after = bytes[nameEnd]!;
    if (after !== COLON || nameEnd === start) {
      const isText = after === CR || after === LF || (CLASS[after]! & IN_VALUE) !== 0;
      return this.#invalid(isText ? "http_field" : "http_characters");
    }
    this.#at++;
    let valueStart = this.#at;
    this.#skip(bytes, IN_VALUE);
    let valueEnd = this.#at;
    const status = this.#readLineEnd(bytes);
    if (status !== DONE || !this.#isAt(bytes, start, nameEnd, HOST) || nameEnd - start !== HOST.length) return status;
    while (valueStart < valueEnd && isBlank(bytes[valueStart]!)) valueStart++;
    while (valueStart < valueEnd && isBlank(bytes[valueEnd - 1]!)) valueEnd--;
    return this.#readHost(bytes, valueStart, valueEnd);
  }

  #readHost(bytes: Uint8Array, start: number, end: number): HeadStatus {
    if (this.#hasHost) return this.#invalid("http_host_twice");
    this.#hasHost = true;
    // RFC 9112 §3.2: empty where the target has no authority.
    if (start === end) {
      this.#authority.clear();
      return DONE;
    }
    return this.#authority.read(bytes, start, end) ? DONE : this.#invalid("http_host");
  }

  #conclude(bytes: Uint8Array): HeadStatus {
    if (!this.#hasHost) {
      // A later minor version is read as the highest that is known (RFC 9110 §2.5).
      if (this.#minor > 0) return this.#invalid("http_host_missing");
      this.#authority.clear();
    }
    if (this.#authorityEnd > 0) this.#authority.read(bytes, this.#authorityStart, this.#authorityEnd);
    this.nameLength = this.#authority.host.length;
    this.ipLiteral = this.#authority.host.ipLiteral;
    return DONE;
  }

  #readLineEnd(bytes: Uint8Array): HeadStatus {
    if (this.#at === this.#stop) return PARTIAL;
    const first = bytes[this.#at]!;
    if (first !== CR) return this.#invalid(first === LF ? "http_line_ending" : "http_characters");
    if (this.#at + 1 === this.#stop) return PARTIAL;
    if (bytes[this.#at + 1] !== LF) return this.#invalid("http_line_ending");
    this.#at += 2;
    return DONE;
  }

  /** Passes over bytes of a class. */
  #skip(bytes: Uint8Array, inClass: number): void {
    const stop = this.#stop;
    let at = this.#at;
    while (at < stop && (CLASS[bytes[at]!]! & inClass) !== 0) at++;
    this.#at = at;
  }

  /** Methods have case (RFC 9110 §9.1). */
  #isMethod(bytes: Uint8Array, method: Uint8Array): boolean {
    if (this.#methodEnd - this.#methodStart !== method.length) return false;
    for (let i = 0; i < method.length; i++) if (bytes[this.#methodStart + i] !== method[i]) return false;
    return true;
  }

  #isAsterisk(bytes: Uint8Array): boolean {
    return this.#targetEnd - this.#targetStart === 1 && bytes[this.#targetStart] === STAR;
  }

  /** Whether bytes[start..end) begin with `text`, which is in lower case, in any case. */
  #isAt(bytes: Uint8Array, start: number, end: number, text: Uint8Array): boolean {
    if (end - start < text.length) return false;
    for (let i = 0; i < text.length; i++) {
      const byte = bytes[start + i]!;
      if ((byte >= 0x41 && byte <= 0x5a ? byte + 0x20 : byte) !== text[i]) return false;
    }
    return true;
  }

  /** As if nothing had been read. */
  clear(): void {
    this.#authority.clear();
    this.nameLength = 0;
    this.ipLiteral = false;
    this.pathStart = this.pathEnd = 0;
    this.length = 0;
    this.#authorityStart = this.#authorityEnd = 0;
    this.#hasHost = false;
    this.#hasEnded = false;
  }

  #invalid(reason: HeadFault): HeadStatus {
    this.reason = reason;
    this.pathStart = this.pathEnd = 0;
    return INVALID;
  }
}

function isBlank(byte: number): boolean {
  return byte === SP || byte === HTAB;
}
