// The smallest https backend: node server.mjs CERTIFICATE KEY SOCKET
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { attach, handoffInfo } from "sni-handoff/backend";

const [cert, key, path] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, (request, response) => {
  response.end(`hello ${request.socket.remoteAddress}, this is ${handoffInfo(request)?.serverName}\n`);
});

const receiver = await attach(server, { path });

// Takes what is on the way, stops listening, and ends when the last connection does.
process.once("SIGTERM", () => receiver.close());
console.log(`receiving on ${receiver.path}`);
