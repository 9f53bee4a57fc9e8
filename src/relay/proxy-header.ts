/** The PROXY header that a target is sent first: who the client is, as the door told it or its socket does. */
import { ADDRESS_BYTES } from "../addresses.js";
import { type Message, unpackAddress } from "../handoff/message.js";
import { native } from "../native/addon.js";
import { encodeProxyV1, encodeProxyV2, MAX_PROXY_HEADER_LENGTH, type ProxyFacts } from "../proxy-protocol/index.js";

const ADDRESS = ADDRESS_BYTES;
/** Digits of 2^64. */
const LONGEST_ID = 20;
const NOTHING = new Uint8Array(0);
const utf8 = new TextEncoder();

/** Peer and own address of a socket. */
const own = new Uint8Array(2 * ADDRESS);
/** What a PROXY header told the door. */
const told = new Uint8Array(2 * ADDRESS);
const uniqueId = new Uint8Array(LONGEST_ID);
/** Filled for each header and encoded at once. */
const facts: ProxyFacts = {
  source: own,
  sourceStart: 0,
  destination: own,
  destinationStart: ADDRESS,
  authority: NOTHING,
  authorityStart: 0,
  authorityLength: 0,
  alpn: NOTHING,
  alpnStart: 0,
  alpnLength: 0,
  uniqueId,
  uniqueIdStart: 0,
  uniqueIdLength: 0,
};

/** Written by `proxyHeader`; its bytes are valid until it is called again. */
export const header: Uint8Array = new Uint8Array(MAX_PROXY_HEADER_LENGTH);

/**
 * Writes the header of a connection to `header` and returns its length. `message` is its HANDOFF, decoded from `bytes`.
 * Version 2 has the server name, the first ALPN protocol, and the connection's id, which the door's access log has too. The addresses of a socket that is dead are not known: UNKNOWN, or UNSPEC.
 */
export function proxyHeader(version: "v1" | "v2", client: number, message: Message, bytes: Uint8Array): number {
  if (native.packedAddresses(client, own) !== 0) own.fill(0);
  unpackAddress(bytes, message.clientAddressStart, message.clientAddressLength, told, 0);
  unpackAddress(bytes, message.serverAddressStart, message.serverAddressLength, told, ADDRESS);
  facts.source = told[0] === 0 ? own : told;
  facts.destination = told[ADDRESS] === 0 ? own : told;
  if (version === "v1") return encodeProxyV1(header, 0, facts);
  facts.authority = facts.alpn = bytes;
  facts.authorityStart = message.nameStart;
  facts.authorityLength = message.nameLength;
  facts.alpnStart = message.alpnStart;
  facts.alpnLength = message.alpnLength;
  const id = (BigInt(message.connectionIdHigh) << 32n) | BigInt(message.connectionIdLow);
  facts.uniqueIdLength = utf8.encodeInto(id.toString(), uniqueId).written;
  return encodeProxyV2(header, 0, facts);
}
