// A backend under systemd. Environment: DOOR, the socket's path or the pool's folder; IDLE_TIMEOUT, milliseconds without
// a connection after which it ends; CREDENTIALS_DIRECTORY, where cert.pem and key.pem are.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { join } from "node:path";
import { attach, handoffInfo } from "sni-handoff/backend";

const { DOOR, IDLE_TIMEOUT, CREDENTIALS_DIRECTORY } = process.env;
const [cert, key] = ["cert.pem", "key.pem"].map((name) => readFileSync(join(CREDENTIALS_DIRECTORY, name)));
const server = createServer({ cert, key }, (request, response) => {
  response.end(`hello ${request.socket.remoteAddress}, this is ${handoffInfo(request)?.serverName}, ${process.pid}\n`);
});

// The socket of app.socket if systemd passed it, else one that is made at this path.
const receiver = await attach(server, {
  path: DOOR,
  ...(IDLE_TIMEOUT === undefined ? {} : { idleTimeout: Number(IDLE_TIMEOUT) }),
});

// Takes what is on the way, and ends with the last connection.
process.once("SIGTERM", () => receiver.close());
console.log(`receiving on ${receiver.path}`);
