// node server.mjs FOLDER CERTIFICATE KEY: one of several processes; each has a socket of its own in the folder
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [folder, cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, ({ socket }, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`hello from process ${process.pid}: ${socket.remoteAddress}:${socket.remotePort}\n`);
});

// Instead of server.listen(443).
const receiver = await attach(server, { path: `${folder}/` });
drainOnSignal(receiver);
process.send?.("ready"); // PM2's wait_ready
console.log(`listening on ${folder}`);
