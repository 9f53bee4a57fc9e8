/** The reader of the hot path: bytes as peeked from a socket -> what routing needs to know. RFC 8446 §4.1.2. */

import { ExtensionsReader } from "./extensions.js";
import { type InvalidReason, Status } from "./outcome.js";
import { CONTENT_TYPE_HANDSHAKE, HandshakeReader } from "./records.js";
import { Sslv2Reader } from "./sslv2.js";

/** Bytes of records, headers included, that a hello may take unless the caller says otherwise. */
export const DEFAULT_MAX_LENGTH = 16384;

const LOWEST_MAX_LENGTH = 64;
/** A hello whose every vector is full has 132 kB. */
const HIGHEST_MAX_LENGTH = 262144;

const MAJOR_VERSION = 3;

export interface ClientHelloOptions {
  /** Bytes of records, headers included, that a hello may take: 64..262144. Default 16384. */
  readonly maxLength?: number;
}

/**
 * Reads ClientHellos, one after the other, without allocating. One per thread.
 *
 *     switch (reader.read(bytes, start, end)) {
 *       case Status.PARTIAL:   // wait until there are reader.needed bytes, then read from `start` again
 *       case Status.NOT_TLS:   // another protocol
 *       case Status.INVALID:   // reader.reason; alertFor(reader.reason)
 *       case Status.DONE:      // reader.name[0..reader.nameLength), …
 *     }
 *
 * It keeps no state from one read to the next: a partial hello is read again from its start. Results are valid until the
 * next read; those that point into `source` also need the caller's bytes to stay as they were.
 */
export class ClientHelloReader {
  /**
   * PARTIAL: the fewest bytes, counted from `start`, at which the hello can be complete (or its first headers can
   * tell that it is none). Always more than were given; never more than the hello has; never more than maxLength.
   */
  needed = 0;
  /** INVALID: why. */
  reason: InvalidReason = "length_overruns_parent";

  /** DONE: the server name is name[0..nameLength): letters in lower case, digits, `-`, `_`, `.`; no trailing dot. */
  readonly name: Uint8Array;
  /** DONE: 0 if there is no server name: none was sent, or an IP address. At most 255. */
  nameLength = 0;
  /** DONE: an IP address was sent as the server name. */
  ipLiteral = false;

  /** DONE: what the offsets below point into: the caller's bytes, or a buffer of the reader's. */
  source: Uint8Array;
  /** DONE: how many protocols the client's ALPN list has; 0 if it sent none. */
  alpnCount = 0;
  /** DONE, if alpnCount > 0: the first protocol is source[alpnOffset..alpnOffset + alpnLength). */
  alpnOffset = 0;
  /** DONE: bytes of the first protocol, 1..255; 0 if there is none. */
  alpnLength = 0;
  /**
   * DONE: where the list is in source, each protocol with a length byte before it; both 0 if there is none. To visit
   * all without allocation:
   *
   *     for (let at = alpnStart; at < alpnEnd; at += 1 + source[at])
   *       // source[at + 1..at + 1 + source[at])
   */
  alpnStart = 0;
  alpnEnd = 0;

  /** DONE: supported_versions is source[versionsStart..versionsEnd), two bytes each; both 0 if it was not sent. */
  versionsStart = 0;
  versionsEnd = 0;
  /** DONE: the version in the hello's own field, 0x0303 for TLS 1.2 and 1.3. */
  legacyVersion = 0;
  /** DONE: the highest 3.x version offered (0x0304 is TLS 1.3), drafts and GREASE apart; 0 if there is none. */
  maxVersion = 0;

  /** DONE: there is an encrypted_client_hello extension, real or GREASE: the name is the outer one (RFC 9849). */
  ech = false;
  /** DONE: an SSLv2-compatible hello, which has no extensions. */
  sslv2 = false;
  /** DONE: bytes, from `start`, of the records that hold the hello. What follows (early data) was not looked at. */
  length = 0;

  readonly #handshake: HandshakeReader;
  readonly #sslv2: Sslv2Reader;
  readonly #extensions = new ExtensionsReader();

  constructor(options: ClientHelloOptions = {}) {
    const maxLength = options.maxLength ?? DEFAULT_MAX_LENGTH;
    if (!Number.isInteger(maxLength) || maxLength < LOWEST_MAX_LENGTH || maxLength > HIGHEST_MAX_LENGTH) {
      throw new RangeError(
        `maxLength is ${maxLength}; it must be a whole number of bytes from ${LOWEST_MAX_LENGTH} to ${HIGHEST_MAX_LENGTH}`,
      );
    }
    this.#handshake = new HandshakeReader(maxLength);
    this.#sslv2 = new Sslv2Reader(maxLength);
    this.name = this.#extensions.hostName.bytes;
    this.source = this.name;
  }

  /** Reads the hello that begins at bytes[start]; looks at nothing outside bytes[start..end). Never throws. */
  read(bytes: Uint8Array, start: number, end: number): Status {
    this.#clear();
    if (start >= end) return this.#partial(1);
    const first = bytes[start];
    if (first === CONTENT_TYPE_HANDSHAKE) return this.#readTls(bytes, start, end);
    if (first >= 0x80) return this.#readSslv2(bytes, start, end);
    return Status.NOT_TLS;
  }

  #readTls(bytes: Uint8Array, start: number, end: number): Status {
    const handshake = this.#handshake;
    const status = handshake.read(bytes, start, end);
    if (status === Status.PARTIAL) return this.#partial(handshake.needed);
    if (status === Status.INVALID) return this.#invalid(handshake.reason);
    if (status === Status.NOT_TLS) return status;

    const fault = this.#readBody(handshake.source, handshake.bodyStart, handshake.bodyEnd);
    if (fault !== undefined) return this.#invalid(fault);
    this.length = handshake.length;
    this.source = handshake.source;
    this.#takeExtensions();
    return Status.DONE;
  }

  /** struct ClientHello, field by field. */
  #readBody(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    // legacy_version, random, and the length of legacy_session_id
    let at = start + 2 + 32;
    if (at >= end) return "length_overruns_parent";
    if (source[start] !== MAJOR_VERSION) return "legacy_version";
    this.legacyVersion = (source[start] << 8) | source[start + 1];

    const sessionId = source[at];
    if (sessionId > 32) return "session_id_length";
    at += 1 + sessionId;

    if (at + 2 > end) return "length_overruns_parent";
    const cipherSuites = (source[at] << 8) | source[at + 1];
    if (cipherSuites === 0 || cipherSuites % 2 !== 0) return "cipher_suites_length";
    at += 2 + cipherSuites;

    if (at >= end) return "length_overruns_parent";
    const compressionMethods = source[at];
    if (compressionMethods === 0) return "compression_methods_length";
    at += 1 + compressionMethods;

    // Clients older than TLS 1.2 end here.
    if (at === end) {
      this.#extensions.clear();
      return undefined;
    }
    if (at + 2 > end) return "length_overruns_parent";
    const extensionsEnd = at + 2 + ((source[at] << 8) | source[at + 1]);
    if (extensionsEnd > end) return "length_overruns_parent";
    if (extensionsEnd < end) return "trailing_bytes";
    return this.#extensions.read(source, at + 2, end);
  }

  #takeExtensions(): void {
    const extensions = this.#extensions;
    this.nameLength = extensions.hostName.length;
    this.ipLiteral = extensions.hostName.ipLiteral;
    this.ech = extensions.ech;
    if (extensions.alpnCount > 0) {
      this.alpnCount = extensions.alpnCount;
      this.alpnStart = extensions.alpnStart;
      this.alpnEnd = extensions.alpnEnd;
      this.alpnOffset = this.alpnStart + 1;
      this.alpnLength = this.source[this.alpnStart];
    }
    this.versionsStart = extensions.versionsStart;
    this.versionsEnd = extensions.versionsEnd;
    this.maxVersion = this.#highestVersion();
  }

  /** RFC 8446 §4.2.1: where supported_versions is sent, legacy_version does not count. */
  #highestVersion(): number {
    if (this.versionsStart === this.versionsEnd) return this.legacyVersion;
    let highest = 0;
    for (let at = this.versionsStart; at < this.versionsEnd; at += 2) {
      const version = (this.source[at] << 8) | this.source[at + 1];
      // GREASE (RFC 8701) has other major numbers: 0x0a0a, 0x1a1a …; so have drafts of TLS 1.3: 0x7f1c.
      if (this.source[at] === MAJOR_VERSION && version > highest) highest = version;
    }
    return highest;
  }

  #readSslv2(bytes: Uint8Array, start: number, end: number): Status {
    const sslv2 = this.#sslv2;
    const status = sslv2.read(bytes, start, end);
    if (status === Status.PARTIAL) return this.#partial(sslv2.needed);
    if (status === Status.INVALID) return this.#invalid(sslv2.reason);
    if (status === Status.NOT_TLS) return status;
    this.sslv2 = true;
    this.length = sslv2.length;
    this.legacyVersion = this.maxVersion = sslv2.version;
    return Status.DONE;
  }

  #clear(): void {
    this.needed = 0;
    this.nameLength = 0;
    this.ipLiteral = false;
    this.alpnCount = this.alpnOffset = this.alpnLength = this.alpnStart = this.alpnEnd = 0;
    this.versionsStart = this.versionsEnd = 0;
    this.legacyVersion = this.maxVersion = 0;
    this.ech = false;
    this.sslv2 = false;
    this.length = 0;
  }

  #partial(needed: number): Status {
    this.needed = needed;
    return Status.PARTIAL;
  }

  #invalid(reason: InvalidReason): Status {
    this.reason = reason;
    this.legacyVersion = 0;
    return Status.INVALID;
  }
}
