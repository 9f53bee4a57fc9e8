/**
 * Builds ClientHellos, right ones and wrong ones, for the tests and fuzzers.
 *
 * buildHello() makes a whole hello from a description. The smaller functions make its parts, so that a test can put a
 * wrong part into an otherwise right hello: `buildHello({ extensions: [extension(0, vector16(vector16()))] })`.
 */

export const HANDSHAKE = 22;
export const CLIENT_HELLO = 1;

/** Extension types by their IANA names. */
export const Ext = {
  server_name: 0,
  supported_groups: 10,
  signature_algorithms: 13,
  application_layer_protocol_negotiation: 16,
  padding: 21,
  supported_versions: 43,
  key_share: 51,
  encrypted_client_hello: 0xfe0d,
} as const;

/** Text is taken byte by byte (latin1), so that "\x00" and "\xff" can be written. */
export type Bytes = Uint8Array | string | readonly number[];

export interface ServerNameEntry {
  /** 0 is host_name. */
  readonly type?: number;
  readonly name: Bytes;
}

export interface HelloSpec {
  /** Of every record. Default 0x0301, as RFC 8446 §5.1 advises clients. */
  readonly recordVersion?: number;
  /** Default 0x0303. */
  readonly legacyVersion?: number;
  /** 32 bytes; default a pattern. */
  readonly random?: Bytes;
  /** Default 32 bytes, as browsers send. */
  readonly sessionId?: Bytes;
  /** Default three of TLS 1.3. */
  readonly cipherSuites?: readonly number[];
  /** Default [0]. */
  readonly compressionMethods?: readonly number[];

  /** One host_name, or a whole ServerNameList. */
  readonly serverName?: Bytes | readonly ServerNameEntry[];
  readonly alpn?: readonly Bytes[];
  /** supported_versions. */
  readonly versions?: readonly number[];
  /** An encrypted_client_hello extension of so many bytes. */
  readonly ech?: number;
  /** Further extensions, after those above. */
  readonly extensions?: readonly Uint8Array[];
  /** Leave the extensions block away, length and all, as clients older than TLS 1.2 do. */
  readonly withoutExtensions?: boolean;

  /** Bytes of the records in all: a padding extension (RFC 7685) is added to reach them. */
  readonly totalLength?: number;
  /** Content bytes of each record in turn; the last goes on until the message ends. Default: one record. */
  readonly recordSizes?: readonly number[];
  /** Appended to the message, so that it travels in the same records. */
  readonly appendix?: Bytes;
}

/** A ClientHello in records. */
export function buildHello(spec: HelloSpec = {}): Uint8Array {
  if (spec.totalLength === undefined) return pack(spec, undefined);
  // A padding byte more can mean a record header more, so it is sought step by step.
  let padding = 0;
  for (let tries = 0; tries < 100; tries++) {
    const bytes = pack(spec, padding);
    if (bytes.length === spec.totalLength) return bytes;
    if (bytes.length > spec.totalLength && tries === 0) break;
    padding += spec.totalLength - bytes.length;
    if (padding < 0) break;
  }
  throw new Error(`cannot pad this hello to ${spec.totalLength} bytes`);
}

function pack(spec: HelloSpec, padding: number | undefined): Uint8Array {
  const message = concat(handshake(CLIENT_HELLO, helloBody(spec, padding)), toBytes(spec.appendix ?? ""));
  return records(message, spec.recordSizes, spec.recordVersion);
}

/** struct ClientHello, without handshake header. */
export function helloBody(spec: HelloSpec = {}, padding?: number): Uint8Array {
  const fixed = concat(
    u16(spec.legacyVersion ?? 0x0303),
    toBytes(spec.random ?? Uint8Array.from({ length: 32 }, (_, i) => 0xa0 + i)),
    vector8(toBytes(spec.sessionId ?? new Uint8Array(32).fill(0x55))),
    vector16(...(spec.cipherSuites ?? [0x1301, 0x1302, 0x1303]).map(u16)),
    vector8(Uint8Array.from(spec.compressionMethods ?? [0])),
  );
  if (spec.withoutExtensions === true) return fixed;
  const extensions = helloExtensions(spec);
  if (padding !== undefined) extensions.push(extension(Ext.padding, new Uint8Array(padding)));
  return concat(fixed, vector16(...extensions));
}

function helloExtensions(spec: HelloSpec): Uint8Array[] {
  const list: Uint8Array[] = [];
  if (spec.serverName !== undefined) list.push(serverNameExtension(spec.serverName));
  if (spec.alpn !== undefined) list.push(alpnExtension(spec.alpn));
  if (spec.versions !== undefined) list.push(versionsExtension(spec.versions));
  if (spec.ech !== undefined) list.push(extension(Ext.encrypted_client_hello, new Uint8Array(spec.ech)));
  return [...list, ...(spec.extensions ?? [])];
}

/** What a browser of 2020 sends, 517 bytes: the size to measure with. A real server answers it. */
export function browserHello(serverName = "www.example.com"): Uint8Array {
  const keyShares = [keyShare(0x3a3a, 1), keyShare(0x001d, 32)];
  return buildHello({ ...browserSpec(serverName, [0x3a3a, 0x001d, 0x0017], keyShares), totalLength: 517 });
}

/** What a browser sends since key shares are post-quantum: about 1,800 bytes, more than a TCP segment. */
export function postQuantumHello(serverName = "www.example.com"): Uint8Array {
  const keyShares = [keyShare(0x3a3a, 1), keyShare(0x11ec, 1216), keyShare(0x001d, 32)];
  const spec = browserSpec(serverName, [0x3a3a, 0x11ec, 0x001d, 0x0017], keyShares);
  return buildHello({ ...spec, ech: 186, totalLength: 1800 });
}

function keyShare(group: number, length: number): Uint8Array {
  return concat(u16(group), vector16(new Uint8Array(length).fill(0x77)));
}

function browserSpec(serverName: string, groups: number[], keyShares: Uint8Array[]): HelloSpec {
  return {
    serverName,
    alpn: ["h2", "http/1.1"],
    versions: [0x2a2a, 0x0304, 0x0303],
    cipherSuites: [0x8a8a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0x002f],
    extensions: [
      extension(0x1a1a),
      extension(23),
      extension(0xff01, [0]),
      extension(Ext.supported_groups, vector16(...groups.map(u16))),
      extension(11, [1, 0]),
      extension(35),
      extension(5, [1, 0, 0, 0, 0]),
      extension(Ext.signature_algorithms, vector16(u16(0x0403), u16(0x0804), u16(0x0401), u16(0x0503), u16(0x0805))),
      extension(18),
      extension(Ext.key_share, vector16(...keyShares)),
      extension(45, [1, 1]),
      extension(27, [2, 0, 2]),
      extension(0x4a4a, [0]),
    ],
  };
}

export interface Sslv2Spec {
  readonly version?: number;
  /** Three bytes each. */
  readonly cipherSpecs?: number;
  readonly sessionId?: number;
  readonly challenge?: number;
  /** The length to claim, if not the true one. */
  readonly claimed?: number;
}

/** A TLS hello in SSLv2's format, RFC 5246 appendix E.2. */
export function sslv2Hello(spec: Sslv2Spec = {}): Uint8Array {
  const cipherSpecs = new Uint8Array((spec.cipherSpecs ?? 3) * 3).fill(0x2f);
  const sessionId = new Uint8Array(spec.sessionId ?? 0).fill(0x11);
  const challenge = new Uint8Array(spec.challenge ?? 32).fill(0xcc);
  const message = concat(
    [1],
    u16(spec.version ?? 0x0301),
    u16(cipherSpecs.length),
    u16(sessionId.length),
    u16(challenge.length),
    cipherSpecs,
    sessionId,
    challenge,
  );
  return concat(u16(0x8000 | (spec.claimed ?? message.length)), message);
}

export function extension(type: number, data: Bytes = ""): Uint8Array {
  return concat(u16(type), vector16(toBytes(data)));
}

export function serverNameExtension(names: Bytes | readonly ServerNameEntry[]): Uint8Array {
  const entries = isEntries(names) ? names : [{ name: names }];
  const list = entries.map(({ type = 0, name }) => concat([type], vector16(toBytes(name))));
  return extension(Ext.server_name, vector16(...list));
}

function isEntries(names: Bytes | readonly ServerNameEntry[]): names is readonly ServerNameEntry[] {
  return Array.isArray(names) && typeof names[0] === "object";
}

export function alpnExtension(protocols: readonly Bytes[]): Uint8Array {
  return extension(
    Ext.application_layer_protocol_negotiation,
    vector16(...protocols.map((protocol) => vector8(toBytes(protocol)))),
  );
}

export function versionsExtension(versions: readonly number[]): Uint8Array {
  return extension(Ext.supported_versions, vector8(...versions.map(u16)));
}

export function handshake(type: number, body: Uint8Array): Uint8Array {
  return concat([type, body.length >> 16, (body.length >> 8) & 0xff, body.length & 0xff], body);
}

/** A message cut into handshake records; the last size goes on. */
export function records(message: Uint8Array, sizes: readonly number[] = [16384], version = 0x0301): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0, i = 0; at < message.length; i++) {
    const size = sizes[Math.min(i, sizes.length - 1)];
    parts.push(record(HANDSHAKE, message.subarray(at, at + size), version));
    at += size;
    if (size <= 0 && i >= sizes.length - 1) throw new Error("the last record size must be more than 0");
  }
  return concat(...parts);
}

export function record(type: number, content: Bytes, version = 0x0301): Uint8Array {
  return concat([type], u16(version), vector16(toBytes(content)));
}

/** The message inside handshake records: records() backwards. */
export function messageOf(bytes: Uint8Array): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let at = 0; at < bytes.length; ) {
    const end = at + 5 + bytes[at + 3] * 256 + bytes[at + 4];
    parts.push(bytes.subarray(at + 5, end));
    at = end;
  }
  return concat(...parts);
}

export function vector8(...parts: Bytes[]): Uint8Array {
  const content = concat(...parts);
  if (content.length > 0xff) throw new Error(`${content.length} bytes do not fit an 8-bit length`);
  return concat([content.length], content);
}

export function vector16(...parts: Bytes[]): Uint8Array {
  const content = concat(...parts);
  if (content.length > 0xffff) throw new Error(`${content.length} bytes do not fit a 16-bit length`);
  return concat(u16(content.length), content);
}

export function u16(value: number): Uint8Array {
  return Uint8Array.of(value >> 8, value & 0xff);
}

export function concat(...parts: Bytes[]): Uint8Array {
  const list = parts.map(toBytes);
  const bytes = new Uint8Array(list.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of list) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}

export function toBytes(bytes: Bytes): Uint8Array {
  if (typeof bytes === "string") return Uint8Array.from(Buffer.from(bytes, "latin1"));
  return bytes instanceof Uint8Array ? bytes : Uint8Array.from(bytes);
}

/** A copy with the bytes at `at` replaced. */
export function patched(bytes: Uint8Array, at: number, replacement: Bytes): Uint8Array {
  const copy = Uint8Array.from(bytes);
  copy.set(toBytes(replacement), at);
  return copy;
}
