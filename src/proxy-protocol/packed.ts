/** Steps between addresses as the PROXY protocol has them and the packed form of addresses.ts. */

const IPV4 = 4;
const IPV6 = 6;
/** Behind family, 0 and port. */
const ADDRESS = 4;

/**
 * The 16 bytes of the packed address at out[at] are an IPv6 address: gives it its family, which is IPv4 for one of
 * ::ffff:0:0/96 (RFC 4291 §2.5.5.2), as for the peers of sockets that take both.
 */
export function setIPv6(out: Uint8Array, at: number): void {
  const start = at + ADDRESS;
  if (!isMapped(out, start)) {
    out[at] = IPV6;
    return;
  }
  out[at] = IPV4;
  for (let i = 0; i < 4; i++) out[start + i] = out[start + 12 + i]!;
  for (let i = 4; i < 16; i++) out[start + i] = 0;
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

/** Writes the packed address of either family at from[at] as the 16 bytes of an IPv6 address. */
export function putIPv6(target: Uint8Array, to: number, from: Uint8Array, at: number): void {
  if (from[at] === IPV6) {
    for (let i = 0; i < 16; i++) target[to + i] = from[at + ADDRESS + i]!;
    return;
  }
  for (let i = 0; i < 10; i++) target[to + i] = 0;
  target[to + 10] = 0xff;
  target[to + 11] = 0xff;
  for (let i = 0; i < 4; i++) target[to + 12 + i] = from[at + ADDRESS + i]!;
}
