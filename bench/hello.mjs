/**
 * A ClientHello as a browser sends it (TLS 1.3, RFC 8446 §4.1.2), of a size to choose. Pure: a name in, bytes out.
 */

/** @param {number} value @param {number} size bytes, big-endian */
function integer(value, size) {
  const bytes = Buffer.alloc(size);
  bytes.writeUIntBE(value, 0, size);
  return bytes;
}

/** TLS's one building block: a length, then so many bytes. @param {number} size of the length @param {Buffer[]} parts */
function vector(size, ...parts) {
  const body = Buffer.concat(parts);
  return Buffer.concat([integer(body.length, size), body]);
}

/** @param {number[]} values of 16 bits each */
const list16 = (values) => Buffer.concat(values.map((value) => integer(value, 2)));

/** @param {number} type @param {Buffer[]} parts */
const extension = (type, ...parts) => Buffer.concat([integer(type, 2), vector(2, ...parts)]);

/** Bytes that look random and are the same each time. @param {number} length @param {number} seed */
function filler(length, seed) {
  const bytes = Buffer.alloc(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1103515245) + 12345) >>> 0;
    // Never '#': the load generator looks for a run of them.
    bytes[i] = (x >>> 16) & 0xff & ~0x20;
  }
  return bytes;
}

const GREASE = 0x3a3a;
const X25519 = 0x001d;
/** The hybrid post-quantum key exchange: its share of 1,216 bytes is why hellos no longer fit one segment. */
const X25519MLKEM768 = 0x11ec;
const MLKEM_SHARE_LENGTH = 1216;

/**
 * One TLS record with a ClientHello, padded (RFC 7685) to exactly `length` bytes. From 1,700 bytes up it offers a
 * post-quantum key share.
 *
 * @param {string} serverName ASCII; it may hold a run of '#' for the load generator to replace
 * @param {number} length of the record with its header, bytes
 * @returns {Buffer}
 * @throws {RangeError} if the name does not fit into `length`
 */
export function clientHello(serverName, length) {
  const postQuantum = length >= 1700;
  const shares = [
    integer(GREASE, 2),
    vector(2, Buffer.alloc(1)),
    ...(postQuantum ? [integer(X25519MLKEM768, 2), vector(2, filler(MLKEM_SHARE_LENGTH, 3))] : []),
    integer(X25519, 2),
    vector(2, filler(32, 4)),
  ];
  const groups = [GREASE, ...(postQuantum ? [X25519MLKEM768] : []), X25519, 0x0017, 0x0018];
  const extensions = Buffer.concat([
    extension(GREASE),
    extension(0, vector(2, Buffer.from([0]), vector(2, Buffer.from(serverName, "latin1")))), // server_name
    extension(23), // extended_main_secret
    extension(0xff01, Buffer.from([0])), // renegotiation_info
    extension(10, vector(2, list16(groups))), // supported_groups
    extension(11, vector(1, Buffer.from([0]))), // ec_point_formats
    extension(35), // session_ticket
    extension(16, vector(2, vector(1, Buffer.from("h2")), vector(1, Buffer.from("http/1.1")))), // ALPN
    extension(5, Buffer.from([1, 0, 0, 0, 0])), // status_request
    extension(13, vector(2, list16([0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601]))),
    extension(18), // signed_certificate_timestamp
    extension(51, vector(2, ...shares)), // key_share
    extension(45, vector(1, Buffer.from([1]))), // psk_key_exchange_modes
    extension(43, vector(1, list16([GREASE, 0x0304, 0x0303]))), // supported_versions
    extension(27, vector(1, list16([2]))), // compress_certificate: brotli
  ]);
  const ciphers = [GREASE, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013, 0xc014];
  const start = Buffer.concat([
    integer(0x0303, 2), // legacy_version
    filler(32, 1), // random
    vector(1, filler(32, 2)), // legacy_session_id
    vector(2, list16(ciphers)),
    vector(1, Buffer.from([0])), // legacy_compression_methods
  ]);
  const recordAndHandshakeHeader = 5 + 4;
  const room = length - recordAndHandshakeHeader - start.length - 2 - extensions.length - 4;
  if (room < 0) {
    throw new RangeError(`A hello for ${serverName} does not fit into ${length} bytes: ${-room} too many`);
  }
  const padding = extension(21, Buffer.alloc(room));
  const handshake = Buffer.concat([Buffer.from([1]), vector(3, start, vector(2, extensions, padding))]);
  return Buffer.concat([Buffer.from([22, 3, 1]), vector(2, handshake)]);
}
