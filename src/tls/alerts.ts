/** TLS alerts: the one thing that the front door itself ever says to a client. RFC 8446 §6, RFC 6066 §3. */

/** AlertDescription of RFC 8446 §6, by the RFC's names. */
export const ALERT_CODES = {
  close_notify: 0,
  unexpected_message: 10,
  bad_record_mac: 20,
  record_overflow: 22,
  handshake_failure: 40,
  bad_certificate: 42,
  unsupported_certificate: 43,
  certificate_revoked: 44,
  certificate_expired: 45,
  certificate_unknown: 46,
  illegal_parameter: 47,
  unknown_ca: 48,
  access_denied: 49,
  decode_error: 50,
  decrypt_error: 51,
  protocol_version: 70,
  insufficient_security: 71,
  internal_error: 80,
  inappropriate_fallback: 86,
  user_canceled: 90,
  missing_extension: 109,
  unsupported_extension: 110,
  unrecognized_name: 112,
  bad_certificate_status_response: 113,
  unknown_psk_identity: 115,
  certificate_required: 116,
  no_application_protocol: 120,
} as const;

export type AlertName = keyof typeof ALERT_CODES;

const CONTENT_TYPE_ALERT = 21;
const LEVEL_WARNING = 1;
const LEVEL_FATAL = 2;

/**
 * Alerts that are closures, not errors, travel as warnings (RFC 8446 §6.1); TLS 1.3 ignores the level, TLS 1.2
 * clients do not.
 */
function level(name: AlertName): number {
  return name === "close_notify" || name === "user_canceled" ? LEVEL_WARNING : LEVEL_FATAL;
}

const records = new Map<AlertName, Uint8Array>();
for (const name of Object.keys(ALERT_CODES) as AlertName[]) {
  records.set(name, Uint8Array.of(CONTENT_TYPE_ALERT, 3, 3, 0, 2, level(name), ALERT_CODES[name]));
}

/**
 * The whole plaintext record, 7 bytes, that tells a client why its hello is refused. Shared: do not write to it.
 *
 * The record version is 0x0303, which RFC 8446 §5.1 asks of every record but a client's first.
 *
 * A client sees it only if what it sent was read from the socket first: close() with unread bytes sends RST, and RST
 * makes the client's kernel throw the alert away.
 */
export function alertRecord(name: AlertName): Uint8Array {
  return records.get(name) as Uint8Array;
}

/** Whether a text, of a configuration for example, names an alert. */
export function isAlertName(text: string): text is AlertName {
  return Object.hasOwn(ALERT_CODES, text);
}
