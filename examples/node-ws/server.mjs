// node server.mjs SOCKET CERTIFICATE KEY: echoes what comes over a WebSocket
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { attach, drainOnSignal } from "sni-handoff/backend";
import { WebSocketServer } from "ws";

const [path, cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, ({ socket }, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`hello from ws: ${socket.remoteAddress}:${socket.remotePort}\n`);
});
const sockets = new WebSocketServer({ server });
sockets.on("connection", (socket, request) => {
  socket.send(`hello ${request.socket.remoteAddress}:${request.socket.remotePort}`);
  socket.on("message", (data, isBinary) => socket.send(data, { binary: isBinary }));
  socket.on("error", () => {}); // The client is gone.
});

// Instead of server.listen(443).
const receiver = await attach(server, { path });
// 1001: going away. Clients connect again, to another instance or the next one.
const leave = (socket) => socket.close(1001);
const onDrain = () => {
  sockets.clients.forEach(leave);
  sockets.on("connection", leave); // Those that the door had handed over already.
};
drainOnSignal(receiver, { onDrain });
console.log(`listening on ${receiver.path}`);
