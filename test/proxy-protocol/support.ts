/** Headers and what they tell, for the tests of src/proxy-protocol. */
import { ADDRESS_BYTES, type Address, writeAddress } from "../../src/addresses.js";
import {
  encodeProxyV1,
  encodeProxyV2,
  MAX_PROXY_HEADER_LENGTH,
  type ProxyFacts,
} from "../../src/proxy-protocol/index.js";

export interface Header {
  readonly source?: Address;
  readonly destination?: Address;
  readonly authority?: string;
  readonly alpn?: string;
  readonly uniqueId?: string;
}

function packed(address: Address | undefined): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  if (address !== undefined) writeAddress(address, bytes, 0);
  return bytes;
}

export function factsOf({ source, destination, authority = "", alpn = "", uniqueId = "" }: Header): ProxyFacts {
  const texts = Buffer.from(authority + alpn + uniqueId, "latin1");
  return {
    source: packed(source),
    sourceStart: 0,
    destination: packed(destination),
    destinationStart: 0,
    authority: texts,
    authorityStart: 0,
    authorityLength: authority.length,
    alpn: texts,
    alpnStart: authority.length,
    alpnLength: alpn.length,
    uniqueId: texts,
    uniqueIdStart: authority.length + alpn.length,
    uniqueIdLength: uniqueId.length,
  };
}

/** The header's bytes, written at an offset into a buffer that is full of something else. */
export function header(version: 1 | 2, told: Header): Buffer {
  const target = Buffer.alloc(MAX_PROXY_HEADER_LENGTH + 7, 0xaa);
  const encode = version === 1 ? encodeProxyV1 : encodeProxyV2;
  return target.subarray(7, encode(target, 7, factsOf(told)));
}

/** A header of version 2 made by hand. */
export function v2(
  versionAndCommand: number,
  familyAndTransport: number,
  body: Uint8Array,
  length = body.length,
): Buffer {
  const fixed = Buffer.from("0d0a0d0a000d0a515549540a00000000", "hex");
  fixed[12] = versionAndCommand;
  fixed[13] = familyAndTransport;
  fixed.writeUInt16BE(length, 14);
  return Buffer.concat([fixed, body]);
}
