/** Which of the sockets that the service manager passed is which of the configured listeners: sd_listen_fds(3). */
import { SocketAddress } from "node:net";
import { HandoffError } from "../../errors.js";
import { type PassedDescriptor, passedDescriptors } from "../../handoff/activation.js";
import { native, type TcpAddress } from "../../native/addon.js";
import type { ListenerSettings } from "../configuration/index.js";
import { formatAddress } from "../listeners.js";

/** FileDescriptorName= of the control endpoint's socket. */
const CONTROL_NAME = "control";

export interface PassedSockets {
  /** For each configured listener, in their order: the passed descriptor, or -1 if it has to be bound. */
  readonly listeners: readonly number[];
  /** The listening unix socket of the control endpoint. */
  readonly control: { readonly descriptor: number; readonly path: string } | undefined;
  /** Sockets that nobody serves, and ones that differ from what is configured. */
  readonly warnings: readonly string[];
}

/**
 * Compares bound addresses with configured ones. The descriptors stay the process's: closing one leaves the socket
 * listening, because the service manager has it too. Those in use are non-blocking afterwards. May be called again with
 * another configuration.
 *
 * Options of a passed socket (backlog, deferAccept, freebind, keepAlive, v6Only) are its unit's, not the configuration's.
 *
 * Throws ERR_LISTEN if a descriptor is neither a listening TCP socket nor a listening unix stream socket.
 */
export function matchPassedSockets(
  settings: readonly ListenerSettings[],
  passed: readonly PassedDescriptor[] = passedDescriptors(process.env, process.pid),
): PassedSockets {
  const listeners = settings.map(() => -1);
  const warnings: string[] = [];
  let control: PassedSockets["control"];
  for (const { descriptor, name } of passed) {
    const path = controlPath(descriptor, name);
    if (path !== undefined) {
      if (name === CONTROL_NAME && control === undefined) control = { descriptor, path };
      else warnings.push(unservedUnix(name, path));
      continue;
    }
    const socket = listeningTcp(descriptor, name);
    const index = settings.findIndex((each, i) => listeners[i] === -1 && isSame(each, socket));
    if (index === -1) {
      warnings.push(unserved(name, socket, settings));
      continue;
    }
    listeners[index] = descriptor;
    warnings.push(...missingFamily(name, socket, settings[index]!));
  }
  for (const descriptor of [...listeners, control?.descriptor ?? -1]) {
    if (descriptor !== -1) native.setNonBlocking(descriptor, true);
  }
  return { listeners, control, warnings };
}

type ListeningSocket = NonNullable<ReturnType<typeof native.tcpSocket>>;

/** The path of a listening unix stream socket; undefined if it is an internet socket. */
function controlPath(descriptor: number, name: string): string | undefined {
  const socket = native.unixSocket(descriptor);
  if (socket === undefined) {
    if (name === CONTROL_NAME) throw wrong(descriptor, name, "no unix socket");
    return undefined;
  }
  if (socket.type === "stream" && socket.listening) return socket.path;
  throw wrong(descriptor, name, `a ${socket.listening ? "listening " : ""}unix ${socket.type} socket`);
}

function listeningTcp(descriptor: number, name: string): ListeningSocket {
  const socket = native.tcpSocket(descriptor);
  if (socket === undefined) throw wrong(descriptor, name, "no TCP socket");
  if (socket.listening) return socket;
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

function isSame({ name, options }: ListenerSettings, socket: TcpAddress): boolean {
  if (options.port !== socket.port) return false;
  if (canonical(options.address) === canonical(socket.address)) return true;
  // "*:443" is whatever the host has: there may be a reason to let systemd have IPv4 only.
  return name.startsWith("*:") && (socket.address === "0.0.0.0" || socket.address === "::");
}

/** One way of writing for each address: as inet_ntop(3) does, with an IPv4-mapped one as IPv4. */
function canonical(address: string): string {
  const [host, zone] = address.split("%") as [string, string?];
  if (!host.includes(":")) return host;
  const written = new SocketAddress({ address: host, family: "ipv6" }).address;
  return `${written.replace(/^::ffff:(?=\d+\.)/, "")}${zone === undefined ? "" : `%${zone}`}`;
}

function unserved(name: string, socket: ListeningSocket, settings: readonly ListenerSettings[]): string {
  const configured = settings.map((each) => each.name).join(", ");
  return (
    `nobody accepts on ${formatAddress(socket)}, which the service manager passed as "${name}": its clients will wait in vain; ` +
    `add it to "listeners" (there: ${configured}; each takes one socket) or take it out of the .socket unit and restart that`
  );
}

function unservedUnix(name: string, path: string): string {
  return (
    `nobody accepts on ${path}, which the service manager passed as "${name}": a unix socket is the control endpoint's, ` +
    `there is one, and its unit has FileDescriptorName=${CONTROL_NAME}`
  );
}

function missingFamily(
  name: string,
  socket: ListeningSocket,
  { name: configured, options }: ListenerSettings,
): string[] {
  const isWildcard = configured.startsWith("*:");
  if (
    socket.family === "IPv6" &&
    socket.address === "::" &&
    socket.v6Only &&
    (isWildcard || options.v6Only === false)
  ) {
    return [
      `${configured}: the socket passed as "${name}" takes no IPv4 clients: BindIPv6Only=both in the .socket unit`,
    ];
  }
  return isWildcard && socket.family === "IPv4" && options.address === "::"
    ? [
        `${configured}: the socket passed as "${name}" takes no IPv6 clients: ListenStream=${socket.port} in the .socket unit takes both`,
      ]
    : [];
}
