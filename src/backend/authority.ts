/** Which hosts an HTTP request names, and in which form they are compared with server names. Pure. */
import type { IncomingMessage } from "node:http";
import type { IncomingHttpHeaders } from "node:http2";

/** A target in absolute-form (RFC 9112 §3.2.2), with its authority. */
const ABSOLUTE_FORM = /^[a-z][a-z0-9+.-]*:\/\/([^/?#]*)/i;

/**
 * Every authority that an HTTP/1 request carries: of its target, if that has one, and of its Host fields. Only one of
 * them counts for routing (RFC 9112 §3.2.2), but applications look at any of them. Empty ones are none (RFC 9112 §3.2).
 */
export function authoritiesOf({ method, url = "", rawHeaders }: IncomingMessage): string[] {
  const found = [method === "CONNECT" ? url : (ABSOLUTE_FORM.exec(url)?.[1] ?? "")];
  for (let i = 0; i < rawHeaders.length; i += 2) {
    const name = rawHeaders[i]!;
    if (name.length === 4 && name.toLowerCase() === "host") found.push(rawHeaders[i + 1]!);
  }
  return found.filter(Boolean);
}

/** Likewise of an HTTP/2 request: `:authority`, and Host beside it or instead of it (RFC 9113 §8.3.1). */
export function authoritiesOfStream(headers: IncomingHttpHeaders): string[] {
  return [headers[":authority"] ?? "", headers.host ?? ""].filter(Boolean);
}

/**
 * An authority without its port, lower case, without a dot at the end: as the door tells server names. Ports are not
 * compared: a server name has none, and behind a forwarded port the client's is not the listener's.
 */
export function hostOf(authority: string): string {
  const colon = authority.lastIndexOf(":");
  const host = colon === -1 || /\D/.test(authority.slice(colon + 1)) ? authority : authority.slice(0, colon);
  return (host.endsWith(".") ? host.slice(0, -1) : host).toLowerCase();
}
