/** The extensions block of a ClientHello. RFC 8446 §4.2. */

import { HostName } from "./host-name.js";
import type { InvalidReason } from "./outcome.js";

/** ExtensionType values that the front door looks into. IANA "TLS ExtensionType Values". */
export const ExtensionType = {
  server_name: 0,
  application_layer_protocol_negotiation: 16,
  supported_versions: 43,
  encrypted_client_hello: 0xfe0d,
} as const;

const NAME_TYPE_HOST_NAME = 0;
/** Words of marks that are noted, so that the extensions need not be gone through again to clear them. */
const FEW = 16;

/** Looks for the extensions that routing needs; the others are skipped. Allocates nothing after construction. */
export class ExtensionsReader {
  readonly hostName = new HostName();
  ech = false;
  /** ProtocolNames, each with its length byte before it: source[alpnStart..alpnEnd). Both 0 if absent. */
  alpnStart = 0;
  alpnEnd = 0;
  alpnCount = 0;
  /** Version numbers of supported_versions, two bytes each: source[versionsStart..versionsEnd). Both 0 if absent. */
  versionsStart = 0;
  versionsEnd = 0;

  /** One bit for each extension type from 64 up, all 0 between reads: a hello can carry 4,000 of them. */
  readonly #seen = new Uint32Array(65536 / 32);
  /** Which words of `seen` are not 0, if they are few: a hello has two or three such extensions, one of them for GREASE. */
  readonly #marked = new Uint16Array(FEW);

  clear(): void {
    this.hostName.clear();
    this.ech = false;
    this.alpnStart = this.alpnEnd = this.alpnCount = 0;
    this.versionsStart = this.versionsEnd = 0;
  }

  /** The extensions in source[start..end), without the length before them. Returns why they are malformed. */
  read(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    this.clear();
    const seen = this.#seen;
    // Types below 64, which nearly all are of, as bits of two numbers.
    let below32 = 0;
    let below64 = 0;
    let marked = 0;
    let fault: InvalidReason | undefined;
    let at = start;
    while (at < end) {
      const data = at + 4;
      if (data > end) {
        fault = "length_overruns_parent";
        break;
      }
      const type = (source[at] << 8) | source[at + 1];
      const bit = 1 << (type & 31);
      const before = type < 32 ? below32 : type < 64 ? below64 : seen[type >> 5];
      if ((before & bit) !== 0) {
        fault = "duplicate_extension";
        break;
      }
      const dataEnd = data + ((source[at + 2] << 8) | source[at + 3]);
      if (dataEnd > end) {
        fault = "length_overruns_parent";
        break;
      }
      if (type < 32) below32 |= bit;
      else if (type < 64) below64 |= bit;
      else {
        if (marked < FEW) this.#marked[marked] = type >> 5;
        marked++;
        seen[type >> 5] |= bit;
      }
      at = dataEnd;
      fault = this.#readExtension(type, source, data, dataEnd);
      if (fault !== undefined) break;
    }
    if (marked > FEW) this.#forget(source, start, at);
    else while (marked > 0) seen[this.#marked[--marked]] = 0;
    return fault;
  }

  /** Clears the bits of the extensions in source[start..end), each of which was read whole. */
  #forget(source: Uint8Array, start: number, end: number): void {
    const seen = this.#seen;
    for (let at = start; at < end; at += 4 + ((source[at + 2] << 8) | source[at + 3])) {
      seen[((source[at] << 8) | source[at + 1]) >> 5] = 0;
    }
  }

  #readExtension(type: number, source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    switch (type) {
      case ExtensionType.server_name:
        return this.#readServerName(source, start, end);
      case ExtensionType.application_layer_protocol_negotiation:
        return this.#readAlpn(source, start, end);
      case ExtensionType.supported_versions:
        return this.#readSupportedVersions(source, start, end);
      case ExtensionType.encrypted_client_hello:
        this.ech = true;
        return undefined;
      default:
        return undefined;
    }
  }

  /**
   * ServerNameList, RFC 6066 §3. Only host_name is defined; a name of another type is skipped by the 16-bit length that
   * the RFC promises for every type to come.
   */
  #readServerName(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    if (start === end) return "empty_server_name";
    const fault = checkList16(source, start, end, "empty_server_name");
    if (fault !== undefined) return fault;
    let found = false;
    for (let at = start + 2; at < end; ) {
      const name = at + 3;
      if (name > end) return "length_overruns_parent";
      const nameEnd = name + ((source[at + 1] << 8) | source[at + 2]);
      if (nameEnd > end) return "length_overruns_parent";
      if (source[at] === NAME_TYPE_HOST_NAME) {
        if (found) return "duplicate_server_name";
        found = true;
        if (name === nameEnd) return "empty_server_name";
        const nameFault = this.hostName.read(source, name, nameEnd);
        if (nameFault !== undefined) return nameFault;
      }
      at = nameEnd;
    }
    return undefined;
  }

  /** ProtocolNameList, RFC 7301 §3.1. */
  #readAlpn(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    if (start === end) return "empty_alpn";
    const fault = checkList16(source, start, end, "empty_alpn");
    if (fault !== undefined) return fault;
    let count = 0;
    for (let at = start + 2; at < end; count++) {
      const length = source[at];
      if (length === 0) return "empty_alpn";
      at += 1 + length;
      if (at > end) return "length_overruns_parent";
    }
    this.alpnStart = start + 2;
    this.alpnEnd = end;
    this.alpnCount = count;
    return undefined;
  }

  /** versions<2..254>, RFC 8446 §4.2.1. */
  #readSupportedVersions(source: Uint8Array, start: number, end: number): InvalidReason | undefined {
    if (start === end) return "supported_versions_length";
    const versions = start + 1;
    const length = source[start];
    if (length > end - versions) return "length_overruns_parent";
    if (length < end - versions) return "trailing_bytes";
    if (length === 0 || length % 2 !== 0) return "supported_versions_length";
    this.versionsStart = versions;
    this.versionsEnd = end;
    return undefined;
  }
}

/** A list with a 16-bit length that must fill source[start..end) exactly and not be empty. */
function checkList16(source: Uint8Array, start: number, end: number, empty: InvalidReason): InvalidReason | undefined {
  if (end - start < 2) return "length_overruns_parent";
  const listEnd = start + 2 + ((source[start] << 8) | source[start + 1]);
  if (listEnd > end) return "length_overruns_parent";
  if (listEnd < end) return "trailing_bytes";
  return listEnd === start + 2 ? empty : undefined;
}
