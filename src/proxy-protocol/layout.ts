/** The numbers of the PROXY protocol, versions 1 and 2: proxy-protocol.txt of HAProxy's documentation. */

/** "PROXY ": what every header of version 1 begins with (§2.1). */
export const V1_SIGNATURE: Uint8Array = Uint8Array.of(0x50, 0x52, 0x4f, 0x58, 0x59, 0x20);

/** The longest header of version 1, CRLF included (§2.1). Bytes. */
export const V1_LONGEST = 107;

/** "PROXY UNKNOWN\r\n", the shortest. */
export const V1_SHORTEST = 15;

/** What every header of version 2 begins with (§2.2): no text, and no request of HTTP. */
export const V2_SIGNATURE: Uint8Array = Uint8Array.of(
  0x0d,
  0x0a,
  0x0d,
  0x0a,
  0x00,
  0x0d,
  0x0a,
  0x51,
  0x55,
  0x49,
  0x54,
  0x0a,
);

/** The signature, version and command, family and transport, length u16 (§2.2). */
export const V2_FIXED = 16;

/**
 * The longest header that is taken, of either version. Version 2 could have 65,551; what proxies send are addresses
 * (at most 216 bytes), and TLVs for a name, an id, or what is said of a client's certificate.
 */
export const LONGEST_HEADER = 4096;

export const Command = { LOCAL: 0, PROXY: 1 } as const;

/** The upper half of the 14th byte. */
export const Family = { UNSPEC: 0, INET: 1, INET6: 2, UNIX: 3 } as const;

/** The lower half of the 14th byte. */
export const Transport = { UNSPEC: 0, STREAM: 1, DGRAM: 2 } as const;

/** Bytes of addresses and ports, by `Family`. */
export const ADDRESS_LENGTHS: readonly number[] = [0, 12, 36, 216];

/** Types of TLVs that this project writes or reads (§2.2.1 to §2.2.7): u8 type, u16 length, value. */
export const Tlv = {
  /** The client's ALPN protocol. */
  ALPN: 0x01,
  /** The host name that the client asked for: of TLS, the server name. */
  AUTHORITY: 0x02,
  /** CRC32C of the whole header, this value taken as 0. */
  CRC32C: 0x03,
  /** Names the connection, at most 128 bytes. */
  UNIQUE_ID: 0x05,
} as const;
