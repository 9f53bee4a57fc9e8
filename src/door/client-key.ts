/** What counts as one client where something is limited for each. Pure. */

/** One client: an IPv4 address, or an IPv6 /64, which is what one customer is given (RFC 6177). */
export function clientKey(address: string): string {
  if (!address.includes(":")) return address;
  const [head, tail] = address.split("%")[0]!.split("::") as [string, string | undefined];
  const before = head === "" ? [] : head.split(":");
  const after = tail === undefined || tail === "" ? [] : tail.split(":");
  const zeros = tail === undefined ? 0 : 8 - before.length - after.length;
  return [...before, ...Array<string>(Math.max(0, zeros)).fill("0"), ...after].slice(0, 4).join(":");
}
