/** Responses: the one thing that the front door itself ever says to an HTTP client. RFC 9110 §15. */

import type { AlertName } from "../tls/alerts.js";

/** Status codes and reason phrases, by the names that this project uses for them. */
export const ANSWERS = {
  bad_request: "400 Bad Request",
  forbidden: "403 Forbidden",
  request_timeout: "408 Request Timeout",
  uri_too_long: "414 URI Too Long",
  misdirected_request: "421 Misdirected Request",
  service_unavailable: "503 Service Unavailable",
} as const;
export type AnswerName = keyof typeof ANSWERS;

/** What tells an HTTP client the same as this alert tells a TLS client. */
export function answerFor(alert: AlertName): AnswerName {
  switch (alert) {
    case "unrecognized_name":
      return "misdirected_request";
    case "access_denied":
      return "forbidden";
    default:
      return "service_unavailable";
  }
}

/** Longest path and query that is redirected: what RFC 9112 §3 asks every recipient to support. Bytes. */
export const MOST_REDIRECTED = 8000;

const HTTPS_PORT = 443;

/** A response without content. `now` is in milliseconds since 1970: RFC 9110 §6.6.1 wants a Date. */
export function answer(name: AnswerName, now: number): Uint8Array {
  return response(ANSWERS[name], now, "");
}

/**
 * 308 Permanent Redirect (RFC 9110 §15.4.9: method and content stay the same) to `host` by https. Path and query are
 * bytes[start..end) as a `RequestHeadReader` leaves them, which has refused every byte that could end the line.
 */
export function redirect(
  host: string,
  port: number,
  bytes: Uint8Array,
  start: number,
  end: number,
  now: number,
): Uint8Array {
  const target = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("latin1");
  // An absolute-form may have no path (RFC 9112 §3.2.1).
  const path = target.startsWith("/") ? target : `/${target}`;
  const authority = port === HTTPS_PORT ? host : `${host}:${port}`;
  return response("308 Permanent Redirect", now, `Location: https://${authority}${path}\r\n`);
}

function response(status: string, now: number, fields: string): Uint8Array {
  const date = `Date: ${new Date(now).toUTCString()}\r\n`;
  return Buffer.from(`HTTP/1.1 ${status}\r\n${date}${fields}Content-Length: 0\r\nConnection: close\r\n\r\n`, "latin1");
}
