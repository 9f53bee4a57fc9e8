/** The answer 421 Misdirected Request (RFC 9110 §15.5.20), in each of the forms that a request may have. */
import type { IncomingMessage, ServerResponse } from "node:http";
import type { ServerHttp2Stream } from "node:http2";
import type { Duplex } from "node:stream";

const STATUS = 421;
const BODY = "Misdirected Request: this connection is not for the host that was asked for. Try another connection.\n";

/** A later request on a right connection must not find this one in a cache. */
const FIELDS = {
  "content-type": "text/plain; charset=utf-8",
  "content-length": String(BODY.length),
  "cache-control": "no-store",
} as const;

/** How long a client may take to close after the last answer of its connection. Milliseconds. */
const PARTING = 2000;

/** The connection goes on with the next request: Node reads a body that nobody wants to its end. */
export function answer(response: ServerResponse): void {
  response.writeHead(STATUS, FIELDS);
  response.end(BODY);
}

/**
 * To a client that waits for "100 Continue": whether its body will still come is its choice (RFC 9110 §10.1.1), so
 * what follows on the connection has no certain meaning, and it ends.
 */
export function answerExpecting(response: ServerResponse): void {
  response.shouldKeepAlive = false;
  answer(response);
}

/** To a request to upgrade, or CONNECT: Node has taken the connection out of HTTP already. */
export function answerUpgrade(request: IncomingMessage, socket: Duplex): void {
  const fields = Object.entries({ ...FIELDS, connection: "close" }).map(([name, value]) => `${name}: ${value}\r\n`);
  socket.on("error", () => {}); // The client is gone: there is nobody to tell.
  const timer = setTimeout(() => socket.destroy(), PARTING).unref();
  socket.once("close", () => clearTimeout(timer));
  socket.resume();
  socket.end(
    `HTTP/1.1 ${STATUS} Misdirected Request\r\n${fields.join("")}\r\n${request.method === "HEAD" ? "" : BODY}`,
  );
}

/** Of the stream only: if its body is still on the way, Node resets it with NO_ERROR after the answer (RFC 9113 §8.1). */
export function answerStream(stream: ServerHttp2Stream, method: string | undefined): void {
  if (stream.destroyed) return;
  stream.on("error", () => {}); // The client has reset it: there is nobody to tell.
  const bare = method === "HEAD";
  stream.respond({ ":status": STATUS, ...FIELDS }, { endStream: bare });
  if (!bare) stream.end(BODY);
}
