/** The sockets that the service manager passed: what they are, and what they lack. sd_listen_fds(3) */
import { HandoffError } from "../../errors.js";
import { type PassedDescriptor, passedDescriptors } from "../../handoff/activation.js";
import { native } from "../../native/addon.js";
import type { ListenerSettings } from "../configuration/index.js";
import { formatAddress, type Listeners, type PassedListener } from "../listeners.js";

/** FileDescriptorName= of the control endpoint's socket. */
const CONTROL_NAME = "control";

/**
 * Options of a passed socket (backlog, deferAccept, freebind, keepAlive, v6Only) are its unit's, not the configuration's.
 * Closing one leaves the socket listening, because the service manager has it too.
 */
export class PassedSockets {
  /** Listening TCP sockets, for `Listeners`. */
  readonly listeners: readonly PassedListener[];
  /** The listening unix socket of the control endpoint. */
  readonly control: { readonly descriptor: number; readonly path: string } | undefined;
  /** FileDescriptorName= of each. */
  private readonly names: ReadonlyMap<number, string>;
  private readonly unservedPaths: readonly string[];

  /**
   * Throws ERR_LISTEN if a descriptor is neither a listening TCP socket nor a listening unix stream socket. The
   * descriptors are the caller's.
   */
  constructor(passed: readonly PassedDescriptor[] = passedDescriptors(process.env, process.pid)) {
    const listeners: PassedListener[] = [];
    const unservedPaths: string[] = [];
    for (const { descriptor, name } of passed) {
      const path = unixPath(descriptor, name);
      if (path === undefined) {
        checkTcp(descriptor, name);
        listeners.push({ descriptor, source: "systemd" });
      } else if (name === CONTROL_NAME && this.control === undefined) {
        native.setNonBlocking(descriptor, true);
        this.control = { descriptor, path };
      } else {
        unservedPaths.push(unservedPath(name, path));
      }
    }
    this.listeners = listeners;
    this.names = new Map(passed.map(({ descriptor, name }) => [descriptor, name]));
    this.unservedPaths = unservedPaths;
  }

  /** Sockets that nobody serves while `listeners` are in use, and ones that differ from what is configured. */
  warnings(settings: readonly ListenerSettings[], listeners: Pick<Listeners, "all" | "unused">): string[] {
    const configured = settings.map(({ name }) => name).join(", ");
    const lacking = listeners.all.flatMap(({ descriptor, source }, index) =>
      source === "systemd" ? this.lacks(descriptor, settings[index]!) : [],
    );
    const unserved = listeners.unused.flatMap(({ descriptor, source }) => {
      if (source !== "systemd") return [];
      const address = formatAddress(native.localAddress(descriptor));
      return [
        `nobody accepts on ${address}, which the service manager passed as ${this.name(descriptor)}: its clients will wait in vain; add it to "listeners" (there: ${configured}; each takes one socket) or take it out of the .socket unit and restart that`,
      ];
    });
    return [...unserved, ...this.unservedPaths, ...lacking];
  }

  private lacks(descriptor: number, { name, options }: ListenerSettings): string[] {
    const { family, address, port, v6Only } = native.tcpSocket(descriptor)!;
    const isWildcard = name.startsWith("*:");
    const socket = `${name}: the socket passed as ${this.name(descriptor)}`;
    if (address === "::" && v6Only && options.v6Only !== true) {
      return [`${socket} takes no IPv4 clients: BindIPv6Only=both in the .socket unit`];
    }
    return isWildcard && family === "IPv4" && options.address === "::"
      ? [`${socket} takes no IPv6 clients: ListenStream=${port} in the .socket unit takes both`]
      : [];
  }

  /** In an upgrade the names stay behind. */
  private name(descriptor: number): string {
    const name = this.names.get(descriptor);
    return name === undefined ? "a socket" : `"${name}"`;
  }
}

/** The path of a listening unix stream socket; undefined if it is none of a unix socket. */
function unixPath(descriptor: number, name: string): string | undefined {
  const socket = native.unixSocket(descriptor);
  if (socket === undefined) {
    if (name === CONTROL_NAME) throw wrong(descriptor, name, "no unix socket");
    return undefined;
  }
  if (socket.type === "stream" && socket.listening) return socket.path;
  throw wrong(descriptor, name, `a ${socket.listening ? "listening " : ""}unix ${socket.type} socket`);
}

function checkTcp(descriptor: number, name: string): void {
  const socket = native.tcpSocket(descriptor);
  if (socket === undefined) throw wrong(descriptor, name, "no TCP socket");
  if (socket.listening) return;
  throw wrong(descriptor, name, "a TCP socket that does not listen (Accept=yes in the .socket unit?)");
}

function wrong(descriptor: number, name: string, found: string): HandoffError {
  const needed =
    name === CONTROL_NAME
      ? "ListenStream=/path in the .socket unit that has FileDescriptorName=control"
      : "ListenStream=443 in the .socket unit";
  return new HandoffError(
    "ERR_LISTEN",
    `the passed descriptor ${descriptor} (${name}) is ${found}; a listening stream socket is needed: ${needed}`,
  );
}

function unservedPath(name: string, path: string): string {
  return `nobody accepts on ${path}, which the service manager passed as "${name}": a unix socket is the control endpoint's, there is one, and its unit has FileDescriptorName=${CONTROL_NAME}`;
}
