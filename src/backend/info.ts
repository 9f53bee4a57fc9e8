/** What the door told about a connection: kept as the message's bytes, and read when somebody asks. */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import { type Socket, SocketAddress } from "node:net";
import { Flag, PROTOCOL_VERSION } from "../handoff/layout.js";
import { Message } from "../handoff/message.js";

export interface HandoffInfo {
  /** Names the connection in the door's logs too. */
  readonly connectionId: bigint;
  /** When the door accepted the connection: nanoseconds since 1970-01-01 UTC. */
  readonly acceptedAt: bigint;
  /** The server name that the client sent, lower case, without a trailing dot. It routes; it authorises nothing. */
  readonly serverName?: string;
  /** The first protocol of the client's ALPN list. */
  readonly alpn?: string;
  /** The connection begins with a TLS ClientHello. */
  readonly tls: boolean;
  /** The hello is encrypted (ECH): `serverName` is only the outer name. */
  readonly ech: boolean;
  /**
   * The client as a PROXY header told the door, if one did; `socket.remoteAddress` is then the proxy in front of the
   * door. Without a PROXY header `socket.remoteAddress` is the client, and this is absent.
   */
  readonly client?: { readonly address: string; readonly port: number; readonly family: "IPv4" | "IPv6" };
}

/** What `handoffInfo` can be asked about. */
export type HandedOver = Socket | IncomingMessage | Http2ServerRequest | ServerHttp2Stream | ServerHttp2Session;

/** On the TCP handle and on the socket: the HANDOFF as a latin1 string, or what was read from it. */
export const handoffKey: unique symbol = Symbol("handoff");

interface Carrier {
  [handoffKey]?: string | HandoffInfo;
  /** Of a net.Socket: its TCP handle. */
  _handle?: Carrier | null;
  /** Of a TLSSocket: the net.Socket below. */
  _parent?: Carrier | null;
  /** Of a request or an http2 session. */
  socket?: Carrier | null;
  /** Of an http2 stream. */
  session?: Carrier | null;
}

/**
 * What the door told about the connection of a socket (net or tls), an http request, or an http2 request, stream or
 * session. Returns undefined if it was not handed over, or if an http2 session has ended already.
 */
export function handoffInfo(from: HandedOver): HandoffInfo | undefined {
  const carrier = findCarrier(from as unknown as Carrier);
  if (carrier === undefined) return undefined;
  const found = carrier[handoffKey]!;
  if (typeof found !== "string") return found;
  const info = readInfo(found);
  carrier[handoffKey] = info;
  return info;
}

/** A `connection` listener that keeps the message at the socket: the handle is gone once the socket is closed. */
export function keepInfo(socket: Socket): void {
  const carrier = socket as unknown as Carrier;
  const text = carrier._handle?.[handoffKey];
  if (text !== undefined) carrier[handoffKey] = text;
}

function findCarrier(from: Carrier | null | undefined): Carrier | undefined {
  if (from === null || from === undefined) return undefined;
  if (from[handoffKey] !== undefined) return from;
  if (from._handle?.[handoffKey] !== undefined) return from._handle;
  if (from._parent) return findCarrier(from._parent);
  try {
    return findCarrier(from.session ?? from.socket);
  } catch {
    return undefined; // ERR_HTTP2_SOCKET_UNBOUND: the session has ended.
  }
}

function readInfo(text: string): HandoffInfo {
  const bytes = Buffer.from(text, "latin1");
  const message = new Message();
  const wrong = message.decode(bytes, 0, bytes.length);
  if (wrong !== undefined) throw new Error(`unreachable: version ${PROTOCOL_VERSION} message with ${wrong}`);
  const { nameStart, nameLength, alpnStart, alpnLength } = message;
  return {
    connectionId: join(message.connectionIdLow, message.connectionIdHigh),
    acceptedAt: join(message.acceptedAtLow, message.acceptedAtHigh),
    ...(nameLength > 0 && { serverName: text.slice(nameStart, nameStart + nameLength) }),
    ...(alpnLength > 0 && { alpn: text.slice(alpnStart, alpnStart + alpnLength) }),
    tls: (message.flags & Flag.TLS) !== 0,
    ech: (message.flags & Flag.ECH) !== 0,
    ...(message.clientAddressLength > 0 && {
      client: readClient(bytes.subarray(message.clientAddressStart).subarray(0, message.clientAddressLength)),
    }),
  };
}

function join(low: number, high: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}

/** Port (u16, little-endian), then 4 or 16 bytes of address. */
function readClient(bytes: Buffer): NonNullable<HandoffInfo["client"]> {
  const port = bytes.readUInt16LE(0);
  const octets = bytes.subarray(2);
  if (octets.length === 4) return { address: octets.join("."), port, family: "IPv4" };
  const groups = Array.from({ length: 8 }, (_, i) => octets.readUInt16BE(2 * i).toString(16)).join(":");
  // SocketAddress shortens it as the kernel does (RFC 5952).
  return { address: new SocketAddress({ address: groups, family: "ipv6" }).address, port, family: "IPv6" };
}
