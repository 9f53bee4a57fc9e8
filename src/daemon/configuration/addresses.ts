/** Addresses of listeners: `192.0.2.1:443`, `[::]:443`, `[fe80::1%eth0]:443`, `*:443`. */
import { isIPv4, isIPv6 } from "node:net";

export const ADDRESS_FORM =
  '"[::]:443" (IPv6), "0.0.0.0:443" (IPv4) or "*:443" (all addresses of both), with a port of 0 to 65535 (0: any free one)';

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
