/** The listening TCP sockets: bound before anything else, so that what is in use is known at once. */
import { HandoffError, type SystemCallError } from "../errors.js";
import { native, type TcpAddress } from "../native/addon.js";
import type { ListenerSettings } from "./configuration/index.js";

export class Listeners {
  /** Owned here; workers borrow them. */
  readonly descriptors: number[] = [];
  /** `address:port` as bound, the port chosen by the kernel included. */
  readonly names: string[] = [];

  /** Throws a HandoffError that says which address cannot be had and what to do; then nothing stays open. */
  constructor(settings: readonly ListenerSettings[]) {
    try {
      for (const { name, options } of settings) {
        this.descriptors.push(listen(name, options));
        this.names.push(formatAddress(native.localAddress(this.descriptors.at(-1)!)));
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** New clients are refused by the kernel from now on. */
  close(): void {
    for (const descriptor of this.descriptors.splice(0)) native.close(descriptor);
  }
}

function listen(name: string, options: ListenerSettings["options"]): number {
  try {
    return native.listenTcp(options);
  } catch (error) {
    const { code, message } = error as SystemCallError;
    const advice: Record<string, string> = {
      EADDRINUSE: "another process listens there: stop it, or choose another address",
      EADDRNOTAVAIL: "no interface of this host has that address; `freebind: true` binds it all the same",
      EACCES:
        "ports below 1024 need privilege: run as root, grant CAP_NET_BIND_SERVICE, or lower net.ipv4.ip_unprivileged_port_start",
    };
    throw new HandoffError(
      "ERR_LISTEN",
      `cannot listen on ${name}: ${message}${advice[code] === undefined ? "" : `; ${advice[code]}`}`,
      { cause: error },
    );
  }
}

export function formatAddress({ family, address, port }: TcpAddress): string {
  return family === "IPv6" ? `[${address}]:${port}` : `${address}:${port}`;
}
