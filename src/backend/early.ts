/** Bytes that the sender of a datagram has read from the connection: they come first, and tell what is known about it. */
import type { Socket } from "node:net";
import { MOST_EARLY_BYTES } from "../handoff/datagram-receiver.js";
import { ClientHelloReader } from "../tls/client-hello.js";
import { Status } from "../tls/outcome.js";
import type { HandoffInfo } from "./info.js";

/** On the TCP handle: bytes that come before those of the connection itself. */
export const earlyKey: unique symbol = Symbol("early");

interface Carrier {
  _handle?: { [earlyKey]?: Buffer } | null;
}

/**
 * A `connection` listener that is called before the server's own: what is unshifted is read first by every kind of
 * server, since `http`, `http2` and `tls` look into the socket's buffer before they take over its handle.
 */
export function unshiftEarly(socket: Socket): void {
  const handle = (socket as unknown as Carrier)._handle;
  const early = handle?.[earlyKey];
  if (early === undefined) return;
  delete handle![earlyKey];
  if (early.length > 0) socket.unshift(early);
}

const reader = new ClientHelloReader({ maxLength: MOST_EARLY_BYTES });

/** A datagram tells nothing beside the bytes; what `handoffInfo` answers is what the hello in them says. */
export function infoOfEarly(early: Buffer): HandoffInfo {
  const isTls = reader.read(early, 0, early.length) === Status.DONE;
  const { alpnLength, alpnOffset, nameLength } = reader;
  return {
    connectionId: 0n,
    acceptedAt: BigInt(Date.now()) * 1_000_000n,
    ...(isTls && nameLength > 0 && { serverName: Buffer.from(reader.name.subarray(0, nameLength)).toString("latin1") }),
    ...(isTls &&
      alpnLength > 0 && {
        alpn: Buffer.from(reader.source.subarray(alpnOffset, alpnOffset + alpnLength)).toString("latin1"),
      }),
    tls: isTls,
    ech: isTls && reader.ech,
  };
}
