/** The library's two ways of receiving connections: a Node server, or the bare sockets. */
import { once } from "node:events";
import { createServer, Server, type ServerOpts, type Socket } from "node:net";
import { HandoffError } from "../errors.js";
import { DatagramReceiver, type DatagramReceiverOptions } from "../handoff/datagram-receiver.js";
import { Receiver, type ReceiverOptions } from "../handoff/receiver.js";
import { begin } from "./begin.js";
import { type HandoffInfo, handoffInfo } from "./info.js";
import { ServerSink } from "./server-sink.js";

interface Common {
  /**
   * Whether the process has enough to do: asked for each connection before it is owned. While it returns true,
   * connections are refused, and the door sends them to other instances, or holds them; it is told as soon as there is
   * room again. Must be quick: after a refusal it is asked 50 times a second. What it throws is the process's uncaught
   * exception, and the connection is taken. Beside `server.maxConnections`, which refuses likewise.
   */
  readonly overloaded?: () => boolean;
}

export interface AttachOptions extends ReceiverOptions, Common {
  /** How connections are handed over: with acknowledgements (the default), or in datagrams. */
  readonly protocol?: "handoff";
}

/**
 * Connections come in datagrams, as sni-router's `pass` and a door's backend with `protocol: datagram` send them: the
 * bytes that were read already come first. Nothing can be refused: while there is no room (`overloaded`,
 * `server.maxConnections`) nothing is taken, and the senders wait. handoff/DATAGRAM.md is the reference.
 */
export interface DatagramAttachOptions extends DatagramReceiverOptions, Common {
  readonly protocol: "datagram";
}

/** How the sockets are made: as the options of `net.createServer` of the same names. */
export interface ReceiveOptions extends AttachOptions, ServerOpts {}
export interface DatagramReceiveOptions extends DatagramAttachOptions, ServerOpts {}

/**
 * Has a server (net, http, https, http2, tls) receive the connections that a front door hands over. They behave as if
 * the server had accepted them: `remoteAddress`, `getConnections()`, `close()` waiting for them, timeouts, keep-alive.
 *
 * A server that does not listen is made to listen on the door's sockets instead of a port ('listening' is emitted;
 * `server.close()` drains and ends the receiver too). A server that listens already gets the connections beside its
 * own; call this after its 'listening' event then. A server may have several receivers. Connections over
 * `server.maxConnections` are refused before they are owned, and the door sends them elsewhere.
 *
 * Rejects with a HandoffError: ERR_OPTION, ERR_PATH_IN_USE (a living process has the path; its pid is in the message),
 * ERR_PATH_UNUSABLE (missing folder, no permission, not a socket); or a SystemCallError.
 */
export async function attach(server: Server, options: DatagramAttachOptions): Promise<DatagramReceiver>;
export async function attach(server: Server, options: AttachOptions): Promise<Receiver>;
export async function attach(
  server: Server,
  options: AttachOptions | DatagramAttachOptions,
): Promise<Receiver | DatagramReceiver> {
  if (!(server instanceof Server)) {
    throw new HandoffError("ERR_OPTION", "the server is none of net, http, https, http2 or tls");
  }
  const { overloaded } = options;
  if (overloaded !== undefined && typeof overloaded !== "function") {
    throw new HandoffError("ERR_OPTION", `overloaded is ${typeof overloaded}; a function is needed`);
  }
  const sink = new ServerSink(server, overloaded);
  const receiver = createReceiver(options, sink);
  const isListening = server.listening;
  begin(server, receiver, sink, {
    address: { address: receiver.path, family: "unix", port: 0 },
    listen: (handle) => server.listen(handle),
  });
  if (isListening) return receiver;
  await once(server, "listening");
  return receiver;
}

/** What only the protocol with acknowledgements has. */
const NOT_OF_DATAGRAMS = ["window", "weight", "idleTimeout"] as const;

function createReceiver(options: AttachOptions | DatagramAttachOptions, sink: ServerSink): Receiver | DatagramReceiver {
  const { protocol } = options;
  if (protocol === undefined || protocol === "handoff") return new Receiver(options, sink);
  if (protocol !== "datagram") {
    throw new HandoffError("ERR_OPTION", `protocol is ${String(protocol)}; "handoff" and "datagram" are known`);
  }
  for (const name of NOT_OF_DATAGRAMS) {
    if (!(name in options)) continue;
    throw new HandoffError("ERR_OPTION", `${name} has no meaning with protocol "datagram", which acknowledges nothing`);
  }
  return new DatagramReceiver(options, sink);
}

/**
 * Receives the bare sockets: `onSocket` gets each one with what the door told about it, in a turn of its own. The
 * socket is the callee's to read, and to close.
 *
 * Rejects as `attach` does.
 */
export async function receive(
  options: DatagramReceiveOptions,
  onSocket: (socket: Socket, info: HandoffInfo) => void,
): Promise<DatagramReceiver>;
export async function receive(
  options: ReceiveOptions,
  onSocket: (socket: Socket, info: HandoffInfo) => void,
): Promise<Receiver>;
export async function receive(
  options: ReceiveOptions | DatagramReceiveOptions,
  onSocket: (socket: Socket, info: HandoffInfo) => void,
): Promise<Receiver | DatagramReceiver> {
  const server = createServer(options, (socket) => onSocket(socket, handoffInfo(socket)!));
  return attach(server, options as AttachOptions);
}
