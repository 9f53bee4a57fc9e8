/** `sni-handoff/client-hello`: the ClientHello parser by itself. README.md beside this file is its manual. */

import type { AlertName } from "./alerts.js";
import { type ClientHelloOptions, ClientHelloReader } from "./client-hello.js";
import { alertFor, type InvalidReason, Status } from "./outcome.js";

export { ALERT_CODES, type AlertName, alertRecord, isAlertName } from "./alerts.js";
export { type ClientHelloOptions, ClientHelloReader, DEFAULT_MAX_LENGTH } from "./client-hello.js";
export { ALERT_BY_REASON, alertFor, INVALID_REASONS, type InvalidReason, Status } from "./outcome.js";

/** A whole, well-formed hello. */
export interface ClientHello {
  readonly status: "done";
  /** Lower case, without trailing dot, 1..255 characters of `a-z 0-9 - _ .`; undefined if none, or an address. */
  readonly serverName: string | undefined;
  /** An IP address was sent as the server name. */
  readonly ipLiteral: boolean;
  /** The client's ALPN list in its order. Protocols are bytes, not text: one character a byte (latin1). */
  readonly alpn: readonly string[];
  /** supported_versions in the client's order, GREASE included; without that extension, the hello's own version. */
  readonly versions: readonly number[];
  /** There is an encrypted_client_hello extension, real or GREASE: the server name is the outer one. */
  readonly ech: boolean;
  /** An SSLv2-compatible hello (RFC 5246 appendix E.2), which can carry no name. */
  readonly sslv2: boolean;
  /** Bytes of the records that hold the hello. */
  readonly length: number;
}

export type ParsedClientHello =
  | ClientHello
  /** Wait until there are `needed` bytes in all, then parse all of them again. */
  | { readonly status: "partial"; readonly needed: number }
  | { readonly status: "notTls" }
  | { readonly status: "invalid"; readonly reason: InvalidReason; readonly alert: AlertName };

/**
 * Parses the ClientHello that `bytes` begin with. Never throws for what is in them.
 *
 * Throws RangeError if `options.maxLength` is not a whole number of bytes from 64 to 262144.
 */
export function parseClientHello(bytes: Uint8Array, options?: ClientHelloOptions): ParsedClientHello {
  const reader = readerFor(options);
  switch (reader.read(bytes, 0, bytes.length)) {
    case Status.PARTIAL:
      return { status: "partial", needed: reader.needed };
    case Status.NOT_TLS:
      return { status: "notTls" };
    case Status.INVALID:
      return { status: "invalid", reason: reader.reason, alert: alertFor(reader.reason) };
    default:
      return describe(reader);
  }
}

let defaultReader: ClientHelloReader | undefined;

function readerFor(options: ClientHelloOptions | undefined): ClientHelloReader {
  if (options?.maxLength !== undefined) return new ClientHelloReader(options);
  defaultReader ??= new ClientHelloReader();
  return defaultReader;
}

function describe(reader: ClientHelloReader): ClientHello {
  const { source } = reader;
  const alpn: string[] = [];
  for (let at = reader.alpnStart; at < reader.alpnEnd; at += 1 + source[at]) {
    alpn.push(latin1(source, at + 1, at + 1 + source[at]));
  }
  const versions: number[] = [];
  for (let at = reader.versionsStart; at < reader.versionsEnd; at += 2) {
    versions.push((source[at] << 8) | source[at + 1]);
  }
  if (versions.length === 0) versions.push(reader.legacyVersion);
  return {
    status: "done",
    serverName: reader.nameLength === 0 ? undefined : latin1(reader.name, 0, reader.nameLength),
    ipLiteral: reader.ipLiteral,
    alpn,
    versions,
    ech: reader.ech,
    sslv2: reader.sslv2,
    length: reader.length,
  };
}

function latin1(bytes: Uint8Array, start: number, end: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
}
