// node server.mjs SOCKET CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import Koa from "koa";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [path, cert, key] = process.argv.slice(2);
const app = new Koa();
app.use((context) => {
  context.body = `hello from koa: ${context.ip}:${context.socket.remotePort}\n`;
});

// Instead of app.listen(443).
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, app.callback());
const receiver = await attach(server, { path });
drainOnSignal(receiver);
console.log(`listening on ${receiver.path}`);
