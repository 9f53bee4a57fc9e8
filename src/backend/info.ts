/** What the door told about a connection: kept as the message's bytes, and read when somebody asks. */
import type { IncomingMessage } from "node:http";
import type { Http2ServerRequest, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Socket } from "node:net";
import { ADDRESS_BYTES, type Address, readAddress } from "../addresses.js";
import { FieldType, Flag, HEADER_LENGTH, PROTOCOL_VERSION } from "../handoff/layout.js";
import { Message, unpackAddress } from "../handoff/message.js";

export interface HandoffInfo {
  /** Names the connection in the door's logs too. 0 if it came in a datagram, which tells no id. */
  readonly connectionId: bigint;
  /** When the door accepted the connection: nanoseconds since 1970-01-01 UTC. Of a datagram: when it was received. */
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
   * The client as a PROXY header told the door, if one did. `socket.remoteAddress`, `remotePort` and `remoteFamily`
   * are the same. Without a PROXY header they are the connection's own, and this is absent.
   */
  readonly client?: Address;
  /** The address that this client connected to, as the PROXY header told it. `socket.localAddress` is the door's. */
  readonly server?: Address;
  /** Who sent the PROXY header: the load balancer in front of the door. Present if `client` is. */
  readonly proxy?: Address;
}

/** What `handoffInfo` can be asked about. */
export type HandedOver = Socket | IncomingMessage | Http2ServerRequest | ServerHttp2Stream | ServerHttp2Session;

/** On the TCP handle and on the socket: the HANDOFF as a latin1 string, or what was read from it. */
export const handoffKey: unique symbol = Symbol("handoff");
/** Beside it, where a PROXY header told the client: the connection's own peer. */
export const proxyKey: unique symbol = Symbol("proxy");

interface Carrier {
  [handoffKey]?: string | HandoffInfo;
  [proxyKey]?: Address | undefined;
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
  const info = readInfo(found, carrier[proxyKey]);
  carrier[handoffKey] = info;
  return info;
}

/** A `connection` listener that keeps the message at the socket: the handle is gone once the socket is closed. */
export function keepInfo(socket: Socket): void {
  const carrier = socket as unknown as Carrier;
  const handle = carrier._handle;
  const text = handle?.[handoffKey];
  if (text === undefined) return;
  carrier[handoffKey] = text;
  if (handle![proxyKey] !== undefined) carrier[proxyKey] = handle![proxyKey];
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

function decode(bytes: Uint8Array): Message {
  const message = new Message();
  const wrong = message.decode(bytes, 0, bytes.length);
  if (wrong !== undefined) throw new Error(`unreachable: version ${PROTOCOL_VERSION} message with ${wrong}`);
  return message;
}

function readInfo(text: string, proxy: Address | undefined): HandoffInfo {
  const bytes = Buffer.from(text, "latin1");
  const message = decode(bytes);
  const { nameStart, nameLength, alpnStart, alpnLength } = message;
  return {
    connectionId: join(message.connectionIdLow, message.connectionIdHigh),
    acceptedAt: join(message.acceptedAtLow, message.acceptedAtHigh),
    ...(nameLength > 0 && { serverName: text.slice(nameStart, nameStart + nameLength) }),
    ...(alpnLength > 0 && { alpn: text.slice(alpnStart, alpnStart + alpnLength) }),
    tls: (message.flags & Flag.TLS) !== 0,
    ech: (message.flags & Flag.ECH) !== 0,
    ...withoutUndefined({
      client: readField(bytes, message.clientAddressStart, message.clientAddressLength),
      server: readField(bytes, message.serverAddressStart, message.serverAddressLength),
      proxy,
    }),
  };
}

function withoutUndefined<T extends object>(object: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined)) as never;
}

function readField(bytes: Uint8Array, start: number, length: number): Address | undefined {
  const packed = new Uint8Array(ADDRESS_BYTES);
  unpackAddress(bytes, start, length, packed, 0);
  return readAddress(packed, 0);
}

/** The client that a PROXY header told, in a HANDOFF as a latin1 string; undefined if none did. */
export function toldClient(text: string): Address | undefined {
  if (!hasClientAddress(text)) return undefined;
  const bytes = Buffer.from(text, "latin1");
  const { clientAddressStart, clientAddressLength } = decode(bytes);
  return readField(bytes, clientAddressStart, clientAddressLength);
}

/** Without decoding it: nearly all have none. */
function hasClientAddress(text: string): boolean {
  for (let at = HEADER_LENGTH; at < text.length; ) {
    const type = text.charCodeAt(at) | (text.charCodeAt(at + 1) << 8);
    if (type === FieldType.CLIENT_ADDRESS) return true;
    at += 4 + (text.charCodeAt(at + 2) | (text.charCodeAt(at + 3) << 8));
  }
  return false;
}

function join(low: number, high: number): bigint {
  return (BigInt(high) << 32n) | BigInt(low);
}
