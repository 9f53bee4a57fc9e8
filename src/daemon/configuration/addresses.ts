/** Addresses of listeners: `192.0.2.1:443`, `[::]:443`, `[fe80::1%eth0]:443`, `*:443`. */
import { isIPv4, isIPv6, SocketAddress } from "node:net";

export const ADDRESS_FORM =
  '"[::]:443" (IPv6), "0.0.0.0:443" (IPv4) or "*:443" (all addresses of both), with a port of 0 to 65535 (0: any free one)';

export const LOOPBACK_FORM = '"127.0.0.1" or "[::1]" with a port of 0 to 65535, such as 127.0.0.1:9443';

export interface ListenAddress {
  /** Numeric, without brackets; "*" for all addresses of both families. */
  readonly address: string;
  readonly port: number;
}

/** The parts, or undefined if `text` is no address with a port. Names are none: a listener is never resolved. */
export function parseListenAddress(text: string): ListenAddress | undefined {
  const match = /^(?:\[([^\]]+)\]|([^:[\]]+)):(\d{1,5})$/.exec(text);
  if (match === null) return undefined;
  const [, bracketed, plain, digits] = match;
  const port = Number(digits);
  if (port > 65535) return undefined;
  if (bracketed !== undefined) return isIPv6(bracketed) ? { address: bracketed, port } : undefined;
  return plain === "*" || isIPv4(plain!) ? { address: plain!, port } : undefined;
}

/** As an operator would write it. */
export function formatListenAddress({ address, port }: ListenAddress): string {
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

/** Only this machine reaches it: 127.0.0.0/8 (RFC 1122 §3.2.1.3) or ::1 (RFC 4291 §2.5.3). */
export function isLoopback({ address }: ListenAddress): boolean {
  return isIPv4(address) ? address.startsWith("127.") : isIPv6(address) && canonical(address) === "::1";
}

export interface BindAddress extends ListenAddress {
  readonly v6Only: boolean;
}

/** Whether the kernel refuses to listen on both: the same address, or one that stands for the other as well (ip(7), ipv6(7)). */
export function overlap(a: BindAddress, b: BindAddress): boolean {
  return a.port === b.port && a.port !== 0 && (covers(a, b) || covers(b, a));
}

function covers(a: BindAddress, b: BindAddress): boolean {
  if (a.address === "*") return true;
  const [addressOfA, addressOfB] = [canonical(a.address), canonical(b.address)];
  if (addressOfA === addressOfB) return true;
  if (addressOfA === "0.0.0.0") return isIPv4(addressOfB);
  return addressOfA === "::" && (isIPv6(addressOfB) || !a.v6Only);
}

/** One text for each address: IPv6 has many. */
function canonical(address: string): string {
  if (!isIPv6(address)) return address;
  const [, number, scope] = /^([^%]*)(.*)$/.exec(address)!;
  return `${new SocketAddress({ address: number!, family: "ipv6" }).address}${scope}`;
}
