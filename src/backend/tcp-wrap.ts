/**
 * Node's own class of TCP handles, reached without process.binding (which warns): a socket that begins to connect has
 * made one, before it has resolved the name or opened a descriptor.
 */
import { Socket } from "node:net";
import type { Address } from "../addresses.js";

/** The part of a TCP handle that giving one to a server takes. */
export interface TcpHandle {
  /** Takes the descriptor over if it returns 0; else it returns libuv's error, and the descriptor is the caller's. */
  open(descriptor: number): number;
  /** Fills `out`; returns 0, or libuv's error. Sockets over it (net, tls, http2) get their remote address here. */
  getpeername(out: Partial<Address>): number;
}

/** TCPConstants.SOCKET: a connection, not a listening socket. */
export const SOCKET = 0;

export const TcpWrap: { new (kind: number): TcpHandle; readonly prototype: TcpHandle } = find();

function find(): { new (kind: number): TcpHandle } {
  const socket = new Socket();
  socket.on("error", () => {});
  // The look-up never answers, so nothing is ever sent.
  socket.connect({ host: "nowhere.invalid", port: 1, lookup: () => {} });
  const handle = (socket as unknown as { _handle: object })._handle;
  socket.destroy();
  return handle.constructor as { new (kind: number): TcpHandle };
}
