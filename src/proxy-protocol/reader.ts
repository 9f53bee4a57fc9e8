/** The reader of the data plane: what a connection begins with -> the header that a proxy put before it, if one did. */
import { ADDRESS_BYTES } from "../addresses.js";
import { V1_SHORTEST, V1_SIGNATURE, V2_FIXED, V2_SIGNATURE } from "./layout.js";
import { HeaderStatus, type InvalidHeaderReason } from "./outcome.js";
import { V1Reader } from "./v1.js";
import { V2Reader } from "./v2.js";

/**
 * Reads PROXY headers of both versions, one after the other, without allocating. One per thread.
 *
 *     switch (reader.read(bytes, start, end)) {
 *       case HeaderStatus.PARTIAL:  // wait until there are reader.needed bytes, then read from `start` again
 *       case HeaderStatus.NONE:     // no PROXY header
 *       case HeaderStatus.INVALID:  // reader.reason
 *       case HeaderStatus.DONE:     // reader.length, reader.isTold, reader.source, reader.destination
 *     }
 *
 * It keeps no state from one read to the next. Results are valid until the next read.
 */
export class ProxyHeaderReader {
  /** PARTIAL: the fewest bytes, counted from `start`, with which reading again can be of use. Always more than were given. */
  needed = 0;
  /** INVALID: why. */
  reason: InvalidHeaderReason = "proxy_version";
  /** DONE: bytes of the header; what the client itself sent follows. */
  length = 0;
  /** DONE: 1 or 2. */
  version = 0;
  /**
   * DONE: the header tells the client's address and the one that it connected to. Otherwise it says nothing of them
   * (LOCAL, UNKNOWN, and whatever is not TCP over IPv4 or IPv6), and the connection's own addresses hold.
   */
  isTold = false;
  /** DONE: the connection is the proxy's own, such as a health check (version 2's LOCAL). */
  isLocal = false;
  /** DONE, if isTold: the addresses, packed (addresses.ts). IPv4-mapped ones are IPv4. */
  readonly source: Uint8Array = new Uint8Array(ADDRESS_BYTES);
  readonly destination: Uint8Array = new Uint8Array(ADDRESS_BYTES);

  readonly #v1: V1Reader = new V1Reader(this.source, this.destination);
  readonly #v2: V2Reader = new V2Reader(this.source, this.destination);

  read(bytes: Uint8Array, start: number, end: number): HeaderStatus {
    if (begins(bytes, start, end, V1_SIGNATURE)) {
      if (end - start < V1_SIGNATURE.length) return this.#partial(end === start ? 1 : V1_SHORTEST);
      return this.#taken(this.#v1, this.#v1.read(bytes, start, end), 1, false);
    }
    if (begins(bytes, start, end, V2_SIGNATURE)) {
      if (end - start < V2_SIGNATURE.length) return this.#partial(V2_FIXED);
      return this.#taken(this.#v2, this.#v2.read(bytes, start, end), 2, this.#v2.isLocal);
    }
    return HeaderStatus.NONE;
  }

  #taken(from: V1Reader | V2Reader, status: HeaderStatus, version: number, isLocal: boolean): HeaderStatus {
    this.needed = from.needed;
    this.reason = from.reason;
    this.length = from.length;
    this.isTold = from.isTold;
    this.version = version;
    this.isLocal = isLocal;
    return status;
  }

  #partial(needed: number): HeaderStatus {
    this.needed = needed;
    return HeaderStatus.PARTIAL;
  }
}

/** What there is of bytes[start..end) is what the signature begins with. */
function begins(bytes: Uint8Array, start: number, end: number, signature: Uint8Array): boolean {
  const length = Math.min(signature.length, end - start);
  for (let i = 0; i < length; i++) if (bytes[start + i] !== signature[i]) return false;
  return true;
}
