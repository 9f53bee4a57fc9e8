/**
 * An address as the data plane has it ("packed"): 20 bytes, as `Loop.peekAddresses` (native/addon.ts) says, to the form
 * that people read and back. Family (4 or 6; 0: not known), 0, port in network order, 4 or 16 bytes of address, zeros.
 */
import { isIPv6 } from "node:net";

export const ADDRESS_BYTES = 20;
const IPV4 = 4;
const IPV6 = 6;
/** Where the address itself begins, behind family, 0 and port. */
const ADDRESS = 4;

export interface Address {
  readonly family: "IPv4" | "IPv6";
  readonly address: string;
  readonly port: number;
}

/** The address in bytes[at..at + 20), undefined if it is not known. */
export function readAddress(bytes: Uint8Array, at: number): Address | undefined {
  const port = (bytes[at + 2]! << 8) | bytes[at + 3]!;
  switch (bytes[at]) {
    case IPV4:
      return { family: "IPv4", address: bytes.subarray(at + ADDRESS, at + ADDRESS + 4).join("."), port };
    case IPV6:
      return { family: "IPv6", address: formatIPv6(bytes, at + ADDRESS), port };
    default:
      return undefined;
  }
}

/** Text as RFC 5952 §4 wants it: the longest run of two or more zero groups is "::", the first of equally long ones. */
function formatIPv6(bytes: Uint8Array, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => ((bytes[at + 2 * i]! << 8) | bytes[at + 2 * i + 1]!).toString(16));
  let start = 0;
  let length = 0;
  for (let i = 0; i < 8; i++) {
    let end = i;
    while (end < 8 && groups[end] === "0") end++;
    if (end - i > length) [start, length] = [i, end - i];
  }
  if (length < 2) return groups.join(":");
  return `${groups.slice(0, start).join(":")}::${groups.slice(start + length).join(":")}`;
}

/** Writes an address (numeric; a zone is left out) into bytes[at..at + 20). */
export function writeAddress(address: Address, bytes: Uint8Array, at: number): void {
  bytes.fill(0, at, at + ADDRESS_BYTES);
  bytes[at] = address.family === "IPv4" ? IPV4 : IPV6;
  bytes[at + 2] = address.port >>> 8;
  bytes[at + 3] = address.port;
  if (address.family === "IPv4") {
    bytes.set(address.address.split(".").map(Number), at + ADDRESS);
    return;
  }
  const numeric = address.address.split("%")[0]!;
  if (!isIPv6(numeric)) throw new TypeError(`${address.address} is no IPv6 address`);
  const [head, tail] = numeric.split("::") as [string, string | undefined];
  const before = groupsOf(head);
  const after = groupsOf(tail ?? "");
  const zeros = 8 - before.length - after.length;
  [...before, ...Array<number>(zeros).fill(0), ...after].forEach((group, i) => {
    bytes[at + ADDRESS + 2 * i] = group >>> 8;
    bytes[at + ADDRESS + 2 * i + 1] = group;
  });
}

/** "1:ffff:192.0.2.1" to numbers: an IPv4 address at the end (RFC 4291 §2.2) is two groups. */
function groupsOf(text: string): number[] {
  if (text === "") return [];
  return text.split(":").flatMap((group) => {
    if (!group.includes(".")) return [Number.parseInt(group, 16)];
    const [a, b, c, d] = group.split(".").map(Number) as [number, number, number, number];
    return [(a << 8) | b, (c << 8) | d];
  });
}
