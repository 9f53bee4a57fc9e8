/**
 * The bytes of the handoff protocol, version 1. Pure: no sockets here. The document is PROTOCOL.md beside this file.
 *
 * Messages are SOCK_SEQPACKET records: a header of 8 bytes, then fields (type, length, value). Little-endian.
 */

/** The one version that this implementation speaks. */
export const PROTOCOL_VERSION = 1;

/** Bytes of the header: version u8, type u8, length u16, sequence u32. */
export const HEADER_LENGTH = 8;

/** A message is never longer than this; a longer one is a violation. Bytes. */
export const MAX_MESSAGE_LENGTH = 1024;

/** The largest window that READY may offer: the kernel's queue takes at least 167 messages (see PROTOCOL.md). */
export const MAX_WINDOW = 128;

export const MessageType = { READY: 1, HANDOFF: 2, ACK: 3, REFUSE: 4, REVOKE: 5, DRAIN: 6 } as const;
export type MessageType = (typeof MessageType)[keyof typeof MessageType];

export const FieldType = {
  /** READY: lowest and highest version spoken, u8 u8. */
  VERSIONS: 1,
  /** READY: most unacknowledged handoffs, u16, 1..128. */
  WINDOW: 2,
  /** READY: share of the backend's connections relative to its other instances, u16, 1..65535; 1 if absent. */
  WEIGHT: 3,
  /** HANDOFF: names the connection in logs of both sides, u64. */
  CONNECTION_ID: 4,
  /** HANDOFF: when the door accepted it, u64, nanoseconds since 1970 (CLOCK_REALTIME). */
  ACCEPTED_AT: 5,
  /** HANDOFF of a connection whose hello is not complete: until when it may be, u64, nanoseconds since 1970. */
  HELLO_DEADLINE: 6,
  /** HANDOFF: bits of `Flag`, u32. */
  FLAGS: 7,
  /** HANDOFF: the server name, lower case, without trailing dot, 1..255 bytes of ASCII. */
  SERVER_NAME: 8,
  /** HANDOFF: the first protocol of the client's ALPN list, 1..255 bytes. */
  ALPN: 9,
  /** HANDOFF: the client as a PROXY header told it: port u16, then 4 or 16 bytes of address in network order. */
  CLIENT_ADDRESS: 10,
  /** READY and ACK: connections that the instance has open now, u32. */
  OPEN: 11,
  /** REFUSE: one of `RefuseReason`, u8. */
  REASON: 12,
  /** HANDOFF: bytes that the door has read from the connection, a PROXY header's, u32; 0 if absent. */
  CONSUMED: 13,
  /** HANDOFF: the address that the client connected to, as a PROXY header told it; like CLIENT_ADDRESS. */
  SERVER_ADDRESS: 14,
} as const;
export type FieldType = (typeof FieldType)[keyof typeof FieldType];

/** Bits of the FLAGS field of a HANDOFF. */
export const Flag = {
  /** The first bytes are a TLS ClientHello. */
  TLS: 1,
  /** The ClientHello has an encrypted_client_hello extension: the name is the outer one (RFC 9849). */
  ECH: 2,
  /** The hello is not complete yet (passed on in an upgrade). */
  INCOMPLETE: 4,
  /** A PROXY header is still to come, before anything else (passed on in an upgrade). */
  PROXY_EXPECTED: 8,
  /** The first bytes are the head of an HTTP/1.x request, or it came by a listener for HTTP. */
  HTTP: 16,
} as const;

export const RefuseReason = {
  /** The message came without a usable descriptor (the receiver is at its own limit). */
  NO_DESCRIPTOR: 1,
  /** The descriptor is not a connected TCP stream socket. */
  NOT_TCP: 2,
  /** The instance has all the connections it wants; it gets nothing until its next READY or a back-off. */
  OVERLOADED: 3,
  /** The instance takes no more connections. */
  DRAINING: 4,
} as const;
export type RefuseReason = (typeof RefuseReason)[keyof typeof RefuseReason];
