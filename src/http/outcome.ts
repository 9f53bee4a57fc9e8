/** What reading a request head can come to. */

export const HeadStatus = {
  /** A whole, well-formed head. */
  DONE: 0,
  /** A head so far; more bytes are needed. Never to be taken for "no host". */
  PARTIAL: 1,
  /** The preface of HTTP/2 with prior knowledge (RFC 9113 §3.3): its requests come in frames, after this. */
  HTTP2: 2,
  /** No HTTP/1.x, or malformed. More bytes cannot mend it. */
  INVALID: 3,
} as const;
export type HeadStatus = (typeof HeadStatus)[keyof typeof HeadStatus];

/** Why a head is refused. Reasons are stable: they are log fields. */
export const HEAD_FAULTS = [
  /** What should be the method is no token (RFC 9110 §9.1): another protocol, TLS perhaps. */
  "http_method",
  /** The request-target is none of the four forms of RFC 9112 §3.2, or not one that the method may have. */
  "http_target",
  /** The request line ends without HTTP/1.x. */
  "http_version",
  /** A CR without LF, or an LF without CR (RFC 9112 §2.2): receivers disagree on what they end. */
  "http_line_ending",
  /** NUL or another control byte (RFC 9110 §5.5). */
  "http_characters",
  /** A field line begins with a blank: obs-fold (RFC 9112 §5.2), or a blank before the first field (§2.2). */
  "http_folded",
  /** A field line without a colon, or with something before it that is no token, such as a blank (RFC 9112 §5.1). */
  "http_field",
  /** Host, or the authority of the request-target, is no host with an optional port. */
  "http_host",
  /** HTTP/1.1 without Host (RFC 9112 §3.2). */
  "http_host_missing",
  /** More than one Host (RFC 9112 §3.2). */
  "http_host_twice",
  /** The head exceeds the reader's maxLength. */
  "http_too_long",
] as const;
export type HeadFault = (typeof HEAD_FAULTS)[number];
