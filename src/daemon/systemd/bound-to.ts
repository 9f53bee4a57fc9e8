/** Whether a listening socket is where a listener is configured to be. */
import { SocketAddress } from "node:net";
import { native } from "../../native/addon.js";
import type { ListenerSettings } from "../configuration/index.js";

export function isBoundTo(descriptor: number, { name, options }: ListenerSettings): boolean {
  const { address, port } = native.localAddress(descriptor);
  if (options.port !== port) return false;
  if (canonical(options.address) === canonical(address)) return true;
  // "*:443" is all that the host has: whoever made the socket may have had reasons for IPv4 only.
  return name.startsWith("*:") && (address === "0.0.0.0" || address === "::");
}

/** Whether it is what the door would make for the listener: also who can come by it. */
export function isMadeFor(descriptor: number, { options }: ListenerSettings): boolean {
  const { address, port, v6Only } = native.tcpSocket(descriptor)!;
  if (options.port !== port || canonical(options.address) !== canonical(address)) return false;
  // Of another address than all of them the kernel has a say of its own (inet6_bind).
  return address !== "::" || v6Only === (options.v6Only ?? false);
}

/** One way of writing for each address: as inet_ntop(3) does, an IPv4-mapped one as IPv4. */
function canonical(address: string): string {
  const [host, zone] = address.split("%") as [string, string?];
  if (!host.includes(":")) return host;
  const written = new SocketAddress({ address: host, family: "ipv6" }).address;
  return `${written.replace(/^::ffff:(?=\d+\.)/, "")}${zone === undefined ? "" : `%${zone}`}`;
}
