/**
 * One backend process of the demonstration: `backend.js KIND BACKEND PATH KEY_FILE CERTIFICATE_FILE`, KIND being https
 * or http2. `/` answers who answered whom; `/download/N` sends N bytes.
 */
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { createServer } from "node:https";
import { Readable } from "node:stream";
import { attach, handoffInfo } from "../backend/index.js";
import { keyStream } from "./stream.js";

/** What `/` answers, as JSON. */
export interface Answer {
  readonly backend: string;
  readonly pid: number;
  /** Address and port of the client, as the backend's own socket tells. */
  readonly client: string;
  readonly serverName: string | undefined;
  readonly protocol: string;
}

type Request = Pick<import("node:http").IncomingMessage, "socket" | "url" | "httpVersion">;

const [kind, backend, path, keyFile, certificateFile] = process.argv.slice(2) as [
  string,
  string,
  string,
  string,
  string,
];

function answer({ socket, httpVersion }: Request): Answer {
  return {
    backend,
    pid: process.pid,
    client: `${socket.remoteAddress}:${socket.remotePort}`,
    serverName: handoffInfo(socket)?.serverName,
    protocol: `HTTP/${httpVersion}`,
  };
}

function respond(request: Request, response: NodeJS.WritableStream): void {
  const length = Number(/^\/download\/(\d+)$/.exec(request.url ?? "")?.[1]);
  if (length > 0) Readable.from(keyStream(length)).pipe(response);
  else response.end(`${JSON.stringify(answer(request))}\n`);
}

const credentials = { key: readFileSync(keyFile), cert: readFileSync(certificateFile) };
const server =
  kind === "http2"
    ? createSecureServer(credentials, (request, response) => respond(request, response))
    : createServer(credentials, respond);
await attach(server, { path });
process.send?.("ready");
// The demonstration is gone, however it ended.
process.on("disconnect", () => process.exit());
// Ctrl-C reaches all processes of a terminal; the demonstration ends this one when it has ended the front door.
process.on("SIGINT", () => {});
