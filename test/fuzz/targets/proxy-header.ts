/** Raw bytes as the beginning of a connection from a load balancer: PROXY headers of both versions. */
import { isIP } from "node:net";
import { readAddress } from "../../../src/addresses.js";
import {
  encodeProxyV1,
  encodeProxyV2,
  INVALID_HEADER_REASONS,
  LONGEST_HEADER,
  MAX_PROXY_HEADER_LENGTH,
  type ParsedProxyHeader,
  ProxyHeaderReader,
  parseProxyHeader,
} from "../../../src/proxy-protocol/index.js";
import { HeaderStatus } from "../../../src/proxy-protocol/outcome.js";
import { factsOf, header, v2 } from "../../proxy-protocol/support.js";
import { vectors } from "../../proxy-protocol/vectors.js";
import { guard } from "../../tls/guard.js";
import { check, followed, hashOf, same, surrounded } from "../check.js";
import { textSeeds } from "../seeds.js";

const shared = new ProxyHeaderReader();

/** By the one reader that all inputs have. */
function read(bytes: Uint8Array, start: number, end: number): ParsedProxyHeader {
  const status = shared.read(bytes, start, end);
  if (status === HeaderStatus.PARTIAL) return { status: "partial", needed: shared.needed };
  if (status === HeaderStatus.NONE) return { status: "none" };
  if (status === HeaderStatus.INVALID) return { status: "invalid", reason: shared.reason };
  const { version, length, isLocal: local, isTold, source, destination } = shared;
  return {
    status: "done",
    version: version as 1 | 2,
    length,
    local,
    source: isTold ? readAddress(source, 0) : undefined,
    destination: isTold ? readAddress(destination, 0) : undefined,
  };
}

export function fuzz(data: Uint8Array): void {
  const whole = parseProxyHeader(data);
  same(read(data, 0, data.length), whole, "a reader remembers");
  for (const filler of [0x0a, 0x20]) {
    const { bytes, start, end } = surrounded(data, filler);
    same(read(bytes, start, end), whole, `bytes of ${filler} around it change what is read`);
    if (whole.status !== "partial") same(parseProxyHeader(followed(data, filler)), whole, "bytes behind it change it");
  }
  const hash = hashOf(data);
  if (hash % 8 === 0) {
    const guarded = guard(data);
    same(read(guarded.bytes, guarded.start, guarded.end), whole, "a read outside of the bytes");
  }
  const cut = hash % (data.length + 1);
  const part = parseProxyHeader(data.subarray(0, cut));
  if (part.status !== "partial") same(part, whole, `${cut} bytes of it were decided otherwise`);
  else {
    check(part.needed > cut && part.needed <= LONGEST_HEADER, "more is needed, and not too much", part);
    if (whole.status === "done") check(part.needed <= whole.length, `${cut} bytes ask for no more than it has`, part);
  }
  if (whole.status === "invalid") check(INVALID_HEADER_REASONS.includes(whole.reason), "a declared reason", whole);
  if (whole.status === "done") checkDone(data, whole);
}

function checkDone(data: Uint8Array, parsed: Extract<ParsedProxyHeader, { status: "done" }>): void {
  const { version, length, local, source, destination } = parsed;
  check(length <= data.length && length <= (version === 1 ? 107 : LONGEST_HEADER), "a header within the bytes", parsed);
  same(source === undefined, destination === undefined, "both addresses or none");
  if (source === undefined || destination === undefined) return;
  check(!local, "LOCAL tells no addresses", parsed);
  for (const { family, address } of [source, destination]) same(`IPv${isIP(address)}`, family, `${address}`);
  const target = new Uint8Array(MAX_PROXY_HEADER_LENGTH);
  for (const [encode, expected] of [
    [encodeProxyV1, 1],
    [encodeProxyV2, 2],
  ] as const) {
    const end = encode(target, 0, factsOf({ source, destination }));
    const again = parseProxyHeader(target.subarray(0, end));
    same(again, { status: "done", version: expected, length: end, local: false, source, destination }, "written again");
  }
}

const both = {
  source: { family: "IPv6", address: "2001:db8::1", port: 1 },
  destination: { family: "IPv4", address: "192.0.2.1", port: 443 },
} as const;

export const seeds = (): Uint8Array[] => [
  ...vectors.map(({ bytes }) => bytes),
  header(1, both),
  header(2, { ...both, authority: "app.example.com", alpn: "h2", uniqueId: "42" }),
  v2(0x21, 0x31, Buffer.alloc(230)),
  v2(0x20, 0x00, Buffer.alloc(3)),
  ...textSeeds("PROXY UNKNOWN ffff::1 x\r\n", "PROXY TCP6 ::ffff:192.0.2.1 1::2:0:0 0 65535\r\n"),
];

export const words = [
  "PROXY TCP4 ",
  "PROXY TCP6 ",
  "PROXY UNKNOWN",
  "\r\n",
  " 65535",
  "::ffff:",
  "\r\n\r\n\0\r\nQUIT\n",
];
