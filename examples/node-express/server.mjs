// node server.mjs SOCKET CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import express from "express";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [path, cert, key] = process.argv.slice(2);
const app = express();
app.get("/{*any}", ({ socket }, response) => {
  response.type("text/plain").send(`hello from express: ${socket.remoteAddress}:${socket.remotePort}\n`);
});

// Instead of app.listen(443).
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, app);
const receiver = await attach(server, { path });
drainOnSignal(receiver);
console.log(`listening on ${receiver.path}`);
