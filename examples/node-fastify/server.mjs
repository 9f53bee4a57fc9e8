// node server.mjs SOCKET CERTIFICATE KEY [1]: HTTP/2 and HTTP/1.1, or with "1" HTTP/1.1 alone
import { readFileSync } from "node:fs";
import fastify from "fastify";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [path, cert, key, version] = process.argv.slice(2);
const https = { cert: readFileSync(cert), key: readFileSync(key) };
const app = version === "1" ? fastify({ https }) : fastify({ http2: true, https: { ...https, allowHTTP1: true } });
app.get("/*", ({ socket }, reply) =>
  reply.type("text/plain").send(`hello from fastify: ${socket.remoteAddress}:${socket.remotePort}\n`),
);

// Instead of app.listen({ port: 443 }).
await app.ready();
const receiver = await attach(app.server, { path });
// What app.close() calls are the onClose hooks: databases and the like.
drainOnSignal(receiver, { onDrained: () => app.close() });
console.log(`listening on ${receiver.path}`);
