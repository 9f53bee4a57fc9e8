// The smallest http2 backend (clients without http2 get http/1.1): node server.mjs CERTIFICATE KEY SOCKET
import { readFileSync } from "node:fs";
import { createSecureServer } from "node:http2";
import { attach, guard, handoffInfo } from "sni-handoff/backend";

const [cert, key, path] = process.argv.slice(2);
const options = { cert: readFileSync(cert), key: readFileSync(key), allowHTTP1: true };
const server = createSecureServer(options, (request, response) => {
  response.end(`hello ${request.socket.remoteAddress}, this is ${handoffInfo(request)?.serverName}\n`);
});
// Requests for other hosts, which browsers send over a connection if the certificate covers them: 421, and they come
// again over a connection of their own. `also: ["www.example.com"]` would be a host that this server answers as well.
guard(server);

const sessions = new Set();
server.on("session", (session) => {
  sessions.add(session);
  session.once("close", () => sessions.delete(session));
});

const receiver = await attach(server, { path });

// Takes what is on the way, stops listening, and ends the sessions, which server.close() would wait for.
process.once("SIGTERM", async () => {
  await receiver.close();
  for (const session of sessions) session.close();
});
console.log(`receiving on ${receiver.path}`);
