/**
 * The hello that clients of the 1990s to 2000s send: TLS offered in SSLv2's format. RFC 5246 appendix E.2. It has no
 * extensions, so no server name. SSL 2.0 itself (RFC 6176 prohibits it) is not TLS.
 *
 *     0  msg_length            u16, its top bit set; counts what follows
 *     2  msg_type              u8, 1
 *     3  version               u16, 3.x
 *     5  cipher_spec_length    u16, a multiple of 3, not 0
 *     7  session_id_length     u16, 0 (16 in SSL 3.0)
 *     9  challenge_length      u16, 16..32
 *    11  cipher_specs, session_id, challenge
 */

import { type InvalidReason, Status } from "./outcome.js";

const MSG_TYPE_CLIENT_HELLO = 1;
const MAJOR_VERSION = 3;
const LENGTH_FIELD = 2;
const FIXED_FIELDS = 11;

/** Checks an SSLv2-compatible hello. Allocates nothing. */
export class Sslv2Reader {
  /** PARTIAL: total bytes, from `start`, before which reading again is of no use. */
  needed = 0;
  /** INVALID: why. */
  reason: InvalidReason = "sslv2_length";
  /** DONE: bytes of the hello. */
  length = 0;
  /** DONE: the version that the client offers. */
  version = 0;

  readonly #maxLength: number;

  constructor(maxLength: number) {
    this.#maxLength = maxLength;
  }

  /** The caller has seen that the top bit of bytes[start] is set. */
  read(bytes: Uint8Array, start: number, end: number): Status {
    const available = end - start;
    if (available > 2 && bytes[start + 2] !== MSG_TYPE_CLIENT_HELLO) return Status.NOT_TLS;
    if (available > 3 && bytes[start + 3] !== MAJOR_VERSION) return Status.NOT_TLS;
    // The first four bytes tell SSLv2 from other protocols, some of which have short greetings.
    if (available < 4) return this.#partial(4);

    const total = LENGTH_FIELD + (((bytes[start] & 0x7f) << 8) | bytes[start + 1]);
    if (total > this.#maxLength) return this.#invalid("too_long");
    if (total < FIXED_FIELDS) return this.#invalid("sslv2_length");
    if (available < total) return this.#partial(total);

    const cipherSpecs = (bytes[start + 5] << 8) | bytes[start + 6];
    const sessionId = (bytes[start + 7] << 8) | bytes[start + 8];
    const challenge = (bytes[start + 9] << 8) | bytes[start + 10];
    if (cipherSpecs === 0 || cipherSpecs % 3 !== 0) return this.#invalid("sslv2_length");
    if (sessionId !== 0 && sessionId !== 16) return this.#invalid("sslv2_length");
    if (challenge < 16 || challenge > 32) return this.#invalid("sslv2_length");
    if (FIXED_FIELDS + cipherSpecs + sessionId + challenge !== total) return this.#invalid("sslv2_length");

    this.length = total;
    this.version = (bytes[start + 3] << 8) | bytes[start + 4];
    return Status.DONE;
  }

  #partial(needed: number): Status {
    this.needed = needed;
    return Status.PARTIAL;
  }

  #invalid(reason: InvalidReason): Status {
    this.reason = reason;
    return Status.INVALID;
  }
}
