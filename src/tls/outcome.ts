/** What reading a ClientHello can come to. */

import type { AlertName } from "./alerts.js";

export const Status = {
  /** A whole, well-formed hello. */
  DONE: 0,
  /** A hello so far; more bytes are needed. Never to be taken for "no server name". */
  PARTIAL: 1,
  /** The first bytes are neither a TLS handshake record nor an SSLv2-compatible hello. */
  NOT_TLS: 2,
  /** TLS, but malformed. More bytes cannot mend it. */
  INVALID: 3,
} as const;
export type Status = (typeof Status)[keyof typeof Status];

/**
 * Why a hello is malformed, and the alert that says so to the client. Reasons are stable: they are metric labels and
 * log fields.
 */
export const ALERT_BY_REASON = {
  /** A record longer than 2^14 bytes (RFC 8446 §5.1). */
  record_length: "record_overflow",
  /** A handshake record without content (RFC 8446 §5.1 forbids them). */
  zero_length_record: "unexpected_message",
  /** A later record of the same hello has a major version other than 3. */
  record_version: "protocol_version",
  /** Another record type in the middle of the hello (RFC 8446 §5.1: not interleaved). */
  not_a_handshake: "unexpected_message",
  /** The first handshake message is not a client_hello. */
  not_a_client_hello: "unexpected_message",
  /** The record that ends the hello has more in it (RFC 8446 §5.1: a key change needs a record boundary). */
  handshake_after_hello: "unexpected_message",
  /** The hello with its record headers exceeds the reader's maxLength. */
  too_long: "illegal_parameter",
  /** An SSLv2-compatible hello whose lengths do not add up (RFC 5246 appendix E.2). */
  sslv2_length: "decode_error",
  /** legacy_version has a major version other than 3. */
  legacy_version: "protocol_version",
  /** A length reaches beyond the structure that holds it, or its field is cut off. */
  length_overruns_parent: "decode_error",
  /** A structure holds bytes after its last field. */
  trailing_bytes: "decode_error",
  /** legacy_session_id longer than 32 bytes. */
  session_id_length: "decode_error",
  /** cipher_suites empty or odd. */
  cipher_suites_length: "decode_error",
  /** legacy_compression_methods empty. */
  compression_methods_length: "decode_error",
  /** Two extensions of one type (RFC 8446 §4.2). */
  duplicate_extension: "illegal_parameter",
  /** server_name: empty extension, empty list or empty name. */
  empty_server_name: "decode_error",
  /** server_name: two host_names in one list (RFC 6066 §3 allows one). */
  duplicate_server_name: "illegal_parameter",
  /** The host_name is longer than 255 bytes. */
  server_name_length: "unrecognized_name",
  /** The host_name holds a byte other than a letter, digit, `-`, `_` or `.`, and is no IP address. */
  server_name_characters: "unrecognized_name",
  /** The host_name has an empty label, or one longer than 63 bytes. */
  server_name_label: "unrecognized_name",
  /** application_layer_protocol_negotiation: empty extension, empty list or empty protocol name. */
  empty_alpn: "decode_error",
  /** supported_versions: empty or odd. */
  supported_versions_length: "decode_error",
} as const satisfies Record<string, AlertName>;

export type InvalidReason = keyof typeof ALERT_BY_REASON;

/** Every reason, for pre-allocated counters. */
export const INVALID_REASONS = Object.keys(ALERT_BY_REASON) as readonly InvalidReason[];

/** The alert that RFC 8446 §6 or RFC 6066 §3 asks for. */
export function alertFor(reason: InvalidReason): AlertName {
  return ALERT_BY_REASON[reason];
}
