// The server of node-library.mjs. Argument: JSON { kind: "http" | "https", cert, key, path? }: with `path` it receives
// there, without it it listens on a port.
import { createServer as createHttpServer } from "node:http";
import { createServer as createHttpsServer } from "node:https";
import { attach } from "sni-handoff/backend";

const { kind, cert, key, path } = JSON.parse(process.argv[2]);
const answer = (_request, response) => response.end("hello\n");
const server = kind === "https" ? createHttpsServer({ cert, key }, answer) : createHttpServer(answer);
if (path === undefined) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
} else {
  await attach(server, { path });
}
process.stdout.write(`${JSON.stringify({ ready: true, port: server.address().port })}\n`);
process.once("SIGTERM", () => process.exit());
