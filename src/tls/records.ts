/** TLS records -> the first handshake message. RFC 8446 §5.1, §4. */

import { type InvalidReason, Status } from "./outcome.js";

export const CONTENT_TYPE_HANDSHAKE = 22;
export const RECORD_HEADER_LENGTH = 5;
export const MAX_RECORD_LENGTH = 16384;

const HANDSHAKE_TYPE_CLIENT_HELLO = 1;
const HANDSHAKE_HEADER_LENGTH = 4;
const MAJOR_VERSION = 3;

/**
 * Finds the ClientHello in a run of records. Allocates nothing after construction.
 *
 * A hello in one record is left where it is; one that is spread over several is put together in a scratch buffer, and
 * only once it is complete, so that a client who sends one byte at a time does not make us copy it each time.
 */
export class HandshakeReader {
  /** PARTIAL: the fewest bytes, counted from `start`, that can hold what is missing. */
  needed = 0;
  /** INVALID: why. */
  reason: InvalidReason = "length_overruns_parent";
  /** DONE: the message's body is source[bodyStart..bodyEnd): in the caller's bytes or in the scratch buffer. */
  source: Uint8Array;
  bodyStart = 0;
  bodyEnd = 0;
  /** DONE: bytes of the records that hold the message, headers included. */
  length = 0;

  readonly #maxLength: number;
  readonly #scratch: Uint8Array;

  /** `maxLength`: bytes of records, headers included, that one hello may take. */
  constructor(maxLength: number) {
    this.#maxLength = maxLength;
    this.#scratch = new Uint8Array(maxLength);
    this.source = this.#scratch;
  }

  /** The caller has seen that bytes[start] is a handshake record's. */
  read(bytes: Uint8Array, start: number, end: number): Status {
    let record = start;
    let gathered = 0;
    // Type and length of the message; until they are known, they are all that is wanted.
    let header = 0;
    let wanted = HANDSHAKE_HEADER_LENGTH;

    for (;;) {
      const least = record - start + RECORD_HEADER_LENGTH + wanted - gathered;
      if (least > this.#maxLength) return this.#invalid("too_long");

      if (record < end && bytes[record] !== CONTENT_TYPE_HANDSHAKE) return this.#invalid("not_a_handshake");
      if (record + 1 < end && bytes[record + 1] !== MAJOR_VERSION) {
        if (record === start) return Status.NOT_TLS;
        return this.#invalid("record_version");
      }
      if (record + RECORD_HEADER_LENGTH > end) return this.#partial(least);

      const length = (bytes[record + 3] << 8) | bytes[record + 4];
      if (length === 0) return this.#invalid("zero_length_record");
      if (length > MAX_RECORD_LENGTH) return this.#invalid("record_length");
      const content = record + RECORD_HEADER_LENGTH;
      const recordEnd = content + length;

      if (gathered < HANDSHAKE_HEADER_LENGTH) {
        const headerEnd = content + HANDSHAKE_HEADER_LENGTH - gathered;
        const stop = Math.min(headerEnd, recordEnd, end);
        for (let i = content; i < stop; i++) header = (header << 8) | bytes[i];
        if (gathered === 0 && stop > content && bytes[content] !== HANDSHAKE_TYPE_CLIENT_HELLO) {
          return this.#invalid("not_a_client_hello");
        }
        if (stop === headerEnd) wanted = HANDSHAKE_HEADER_LENGTH + (header & 0xffffff);
        else if (headerEnd <= recordEnd) return this.#partial(least);
      }

      // From here on the record counts as if all of it had come.
      gathered += length;
      // A record that holds more than the header has told it, so `wanted` is the message's here.
      if (gathered > wanted) return this.#invalid("handshake_after_hello");
      if (gathered === wanted) {
        const total = recordEnd - start;
        if (total > this.#maxLength) return this.#invalid("too_long");
        if (recordEnd > end) return this.#partial(total);
        this.length = total;
        if (record === start) this.#useInPlace(bytes, content, recordEnd);
        else this.#reassemble(bytes, start, recordEnd);
        return Status.DONE;
      }
      record = recordEnd;
    }
  }

  #useInPlace(bytes: Uint8Array, content: number, recordEnd: number): void {
    this.source = bytes;
    this.bodyStart = content + HANDSHAKE_HEADER_LENGTH;
    this.bodyEnd = recordEnd;
  }

  /** The records are known to be sound and to hold exactly the message. */
  #reassemble(bytes: Uint8Array, start: number, end: number): void {
    const scratch = this.#scratch;
    let length = 0;
    for (let record = start; record < end; ) {
      const content = record + RECORD_HEADER_LENGTH;
      record = content + ((bytes[record + 3] << 8) | bytes[record + 4]);
      // By hand: set(subarray()) would allocate a view for each record.
      for (let i = content; i < record; i++) scratch[length++] = bytes[i];
    }
    this.source = scratch;
    this.bodyStart = HANDSHAKE_HEADER_LENGTH;
    this.bodyEnd = length;
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
