/**
 * Version 2 of the PROXY protocol (proxy-protocol.txt §2.2):
 *
 *      0  signature             12 bytes
 *     12  version and command   u8, 0x20 LOCAL, 0x21 PROXY
 *     13  family and transport  u8
 *     14  length                u16, of all that follows
 *     16  source address, destination address, source port, destination port
 *         TLVs: type u8, length u16, value
 */
import { ADDRESS_BYTES } from "../addresses.js";
import { crc32c } from "./crc32c.js";
import { ADDRESS_LENGTHS, Command, Family, LONGEST_HEADER, Tlv, Transport, V2_FIXED } from "./layout.js";
import { HeaderStatus, type InvalidHeaderReason } from "./outcome.js";
import { setIPv6 } from "./packed.js";

const VERSION = 0x20;
const IPV4 = 4;
/** Where the address is in its packed form. */
const ADDRESS = 4;
const TLV_HEADER = 3;
const CHECKSUM_LENGTH = 4;

/** Reads headers of version 2. Allocates nothing. */
export class V2Reader {
  needed = 0;
  reason: InvalidHeaderReason = "proxy_version";
  length = 0;
  /** DONE: the header tells addresses of TCP, which are in `source` and `destination`. */
  isTold = false;
  /** DONE: the connection is the proxy's own (LOCAL), a health check for instance. */
  isLocal = false;

  readonly #source: Uint8Array;
  readonly #destination: Uint8Array;

  constructor(source: Uint8Array, destination: Uint8Array) {
    this.#source = source;
    this.#destination = destination;
  }

  /** The caller has seen that what there is begins as V2_SIGNATURE does. */
  read(bytes: Uint8Array, start: number, end: number): HeaderStatus {
    const available = end - start;
    const versionAndCommand = start + 12;
    if (available > 12 && (bytes[versionAndCommand]! & 0xf0) !== VERSION) return this.#invalid("proxy_version");
    const command = bytes[versionAndCommand]! & 0x0f;
    if (available > 12 && command > Command.PROXY) return this.#invalid("proxy_command");
    if (available < V2_FIXED) return this.#partial(V2_FIXED);
    const length = V2_FIXED + ((bytes[start + 14]! << 8) | bytes[start + 15]!);
    if (length > LONGEST_HEADER) return this.#invalid("proxy_too_long");
    if (available < length) return this.#partial(length);
    this.length = length;
    this.isTold = false;
    this.isLocal = command === Command.LOCAL;
    // Whatever a LOCAL header carries is to be ignored (§2.2).
    return this.isLocal ? HeaderStatus.DONE : this.#readProxied(bytes, start, start + length);
  }

  #readProxied(bytes: Uint8Array, start: number, end: number): HeaderStatus {
    const family = bytes[start + 13]! >>> 4;
    const transport = bytes[start + 13]! & 0x0f;
    if (family > Family.UNIX || transport > Transport.DGRAM) return this.#invalid("proxy_family");
    const addresses = start + V2_FIXED;
    const tlvs = addresses + ADDRESS_LENGTHS[family]!;
    if (tlvs > end) return this.#invalid("proxy_address_length");
    if (transport === Transport.STREAM && (family === Family.INET || family === Family.INET6)) {
      const width = family === Family.INET ? 4 : 16;
      take(bytes, addresses, width, addresses + 2 * width, this.#source);
      take(bytes, addresses + width, width, addresses + 2 * width + 2, this.#destination);
      this.isTold = true;
    }
    return this.#checkTlvs(bytes, start, tlvs, end);
  }

  #checkTlvs(bytes: Uint8Array, start: number, from: number, end: number): HeaderStatus {
    for (let at = from; at < end; ) {
      if (end - at < TLV_HEADER) return this.#invalid("proxy_tlv");
      const length = (bytes[at + 1]! << 8) | bytes[at + 2]!;
      const value = at + TLV_HEADER;
      if (length > end - value) return this.#invalid("proxy_tlv");
      if (bytes[at] === Tlv.CRC32C) {
        if (length !== CHECKSUM_LENGTH) return this.#invalid("proxy_tlv");
        const stated =
          ((bytes[value]! << 24) | (bytes[value + 1]! << 16) | (bytes[value + 2]! << 8) | bytes[value + 3]!) >>> 0;
        if (crc32c(bytes, start, end, value) !== stated) return this.#invalid("proxy_checksum");
      }
      at = value + length;
    }
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

function take(bytes: Uint8Array, address: number, width: number, port: number, out: Uint8Array): void {
  for (let i = 0; i < ADDRESS_BYTES; i++) out[i] = 0;
  out[2] = bytes[port]!;
  out[3] = bytes[port + 1]!;
  for (let i = 0; i < width; i++) out[ADDRESS + i] = bytes[address + i]!;
  if (width === 4) out[0] = IPV4;
  else setIPv6(out, 0);
}
