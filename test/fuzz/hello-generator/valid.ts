/** Hellos that every server can answer, of as many shapes as clients have. */
import { integer, percent, pick, type Random, randomBytes, shuffled } from "../random.js";
import { validName } from "./names.js";
import { join, type Part, text, u16, Vector } from "./wire.js";

/** What is to be sent, still open to changes. */
export interface Draft {
  /** The handshake message: type, length, body. */
  readonly message: Vector;
  readonly recordVersion: number;
  /** Content bytes of each record in turn; the last goes on. */
  readonly recordSizes: readonly number[];
  /** As it is sent. */
  readonly name: string | undefined;
  /** As they are sent, one character a byte. */
  readonly alpn: readonly string[];
}

const ALWAYS = [0x1301, 0xc02b, 0xc02f];
const SUITES = [0x1302, 0x1303, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014, 0x009c, 0x009d, 0x002f, 0x0035, 0x00ff];
const GREASE = [0x0a0a, 0x1a1a, 0x2a2a, 0x3a3a, 0x4a4a, 0x8a8a, 0xdada, 0xfafa];
const SIGNATURES = [0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601, 0x0201];
const PROTOCOLS = ["h2", "http/1.1", "http/1.0", "acme-tls/1", "spdy/3.1", "imap", "\x0a\x0a", "x-\xff\x00"];
/** Types that no server of today knows. */
const UNKNOWN = [100, 1000, 4469, 17513, 30032, 54321, 65280];

export function draftHello(random: Random): Draft {
  const name = percent(random, 80) ? validName(random) : undefined;
  const alpn = percent(random, 60) ? shuffled(random, PROTOCOLS).slice(0, integer(random, 1, 4)) : [];
  const is13 = percent(random, 80);
  const suites = shuffled(random, [...ALWAYS, ...SUITES.filter(() => percent(random, 50))]);
  if (percent(random, 50)) suites.unshift(pick(random, GREASE));
  const body: Part[] = [
    u16(0x0303),
    randomBytes(random, 32),
    new Vector("legacy_session_id", 1, [randomBytes(random, percent(random, 60) ? 32 : 0)]),
    new Vector("cipher_suites", 2, suites.map(u16)),
    new Vector("legacy_compression_methods", 1, [Uint8Array.of(0)]),
    new Vector("extensions", 2, extensions(random, name, alpn, is13)),
  ];
  return {
    message: new Vector("client_hello", 3, body, Uint8Array.of(1)),
    recordVersion: pick(random, [0x0301, 0x0301, 0x0302, 0x0303]),
    recordSizes: recordSizes(random),
    name,
    alpn,
  };
}

function recordSizes(random: Random): number[] {
  if (percent(random, 70)) return [16384];
  return Array.from({ length: integer(random, 1, 4) }, () => integer(random, 1, pick(random, [3, 40, 600])));
}

function extensions(random: Random, name: string | undefined, alpn: readonly string[], is13: boolean): Vector[] {
  const groups = [0x001d, 0x0017, 0x0018];
  // A share is of a group in the list, GREASE too (RFC 8446 §4.2.8).
  if (percent(random, 30)) groups.unshift(pick(random, GREASE));
  const list = [
    extension(10, vector("named_group_list", 2, groups.map(u16))),
    extension(13, vector("supported_signature_algorithms", 2, SIGNATURES.map(u16))),
    extension(11, vector("ec_point_format_list", 1, [Uint8Array.of(0)])),
  ];
  if (name !== undefined) list.push(serverName([nameEntry(text(name))]));
  if (alpn.length > 0) list.push(alpnExtension(alpn.map(text)));
  if (is13) {
    const versions = percent(random, 50) ? [pick(random, GREASE), 0x0304, 0x0303] : [0x0304, 0x0303];
    list.push(extension(43, vector("versions", 1, versions.map(u16))));
    list.push(extension(51, vector("client_shares", 2, keyShares(random, groups[0]!))));
    list.push(extension(45, vector("ke_modes", 1, [Uint8Array.of(1)])));
  }
  if (percent(random, 50)) list.push(extension(23));
  if (percent(random, 50)) list.push(extension(35));
  if (percent(random, 40)) list.push(extension(5, Uint8Array.of(1, 0, 0, 0, 0)));
  if (percent(random, 40)) list.push(extension(18));
  if (percent(random, 40)) list.push(extension(0xff01, Uint8Array.of(0)));
  if (percent(random, 30)) list.push(extension(27, vector("algorithms", 1, [u16(2)])));
  if (percent(random, 30)) list.push(encryptedHello(random));
  if (percent(random, 40)) list.push(extension(pick(random, GREASE)));
  for (const type of UNKNOWN) {
    if (percent(random, 8)) list.push(extension(type, randomBytes(random, integer(random, 0, 60))));
  }
  if (percent(random, 30)) list.push(extension(21, new Uint8Array(integer(random, 0, 1200))));
  return shuffled(random, list);
}

/** Any 32 bytes are a key of X25519 (RFC 7748 §5). */
function keyShares(random: Random, first: number): Part[] {
  const shares = [join([u16(0x001d), u16(32), randomBytes(random, 32)])];
  if (GREASE.includes(first)) shares.unshift(join([u16(first), u16(1), Uint8Array.of(0)]));
  return shares;
}

/** ECHClientHello of type outer (RFC 9849 §5), as clients send it for GREASE: what is encrypted is random. */
function encryptedHello(random: Random): Vector {
  return extension(
    0xfe0d,
    join([Uint8Array.of(0), u16(1), u16(1), Uint8Array.of(integer(random, 0, 255))]),
    vector("enc", 2, [randomBytes(random, 32)]),
    vector("payload", 2, [randomBytes(random, integer(random, 100, 240))]),
  );
}

function vector(name: string, width: 1 | 2 | 3, parts: Part[]): Vector {
  return new Vector(name, width, parts);
}

export function extension(type: number, ...data: Part[]): Vector {
  return new Vector("extension", 2, data, u16(type));
}

export function serverName(entries: Part[]): Vector {
  return extension(0, vector("server_name_list", 2, entries));
}

/** One name of a ServerNameList, RFC 6066 §3; type 0 is host_name. */
export function nameEntry(name: Uint8Array, type = 0): Vector {
  return new Vector("host_name", 2, [name], Uint8Array.of(type));
}

export function alpnExtension(protocols: readonly Uint8Array[]): Vector {
  return extension(
    16,
    vector(
      "protocol_name_list",
      2,
      protocols.map((each) => vector("protocol_name", 1, [each])),
    ),
  );
}
