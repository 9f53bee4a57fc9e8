/** What reading a PROXY header can come to. */

export const HeaderStatus = {
  /** A whole header. */
  DONE: 0,
  /** A header so far; more bytes are needed. */
  PARTIAL: 1,
  /** The first bytes are no PROXY header's. */
  NONE: 2,
  /** A header that is malformed. More bytes cannot mend it. */
  INVALID: 3,
} as const;
export type HeaderStatus = (typeof HeaderStatus)[keyof typeof HeaderStatus];

/** Why a header is malformed. Stable: they are log fields. */
export const INVALID_HEADER_REASONS = [
  /** Longer than it may be: 107 bytes in version 1, LONGEST_HEADER in version 2. */
  "proxy_too_long",
  /** Version 1: a CR or LF that is not the line's end, or no CRLF within 107 bytes. */
  "proxy_line_end",
  /** Version 1: none of TCP4, TCP6 and UNKNOWN. */
  "proxy_protocol",
  /** Version 1: something else than two addresses of that family, each as it must be written. */
  "proxy_address",
  /** Version 1: something else than two ports, 0 to 65535 without leading zeros, at the line's end. */
  "proxy_port",
  /** Behind version 2's signature, another version. */
  "proxy_version",
  /** Version 2: neither LOCAL nor PROXY. */
  "proxy_command",
  /** Version 2: an address family or transport that is none. */
  "proxy_family",
  /** Version 2: shorter than the addresses of its family. */
  "proxy_address_length",
  /** Version 2: a TLV that overruns the header. */
  "proxy_tlv",
  /** Version 2: the checksum that it carries is not its own. */
  "proxy_checksum",
] as const;
export type InvalidHeaderReason = (typeof INVALID_HEADER_REASONS)[number];
