// node server.mjs SOCKET CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { createAdaptorServer } from "@hono/node-server";
import { getConnInfo } from "@hono/node-server/conninfo";
import { Hono } from "hono";
import { attach, drainOnSignal } from "sni-handoff/backend";

const [path, cert, key] = process.argv.slice(2);
const app = new Hono();
app.get("*", (context) => {
  const { address, port } = getConnInfo(context).remote;
  return context.text(`hello from hono: ${address}:${port}\n`);
});

// Instead of serve({ fetch: app.fetch, port: 443 }).
const server = createAdaptorServer({
  fetch: app.fetch,
  createServer,
  serverOptions: { cert: readFileSync(cert), key: readFileSync(key) },
});
const receiver = await attach(server, { path });
drainOnSignal(receiver);
console.log(`listening on ${receiver.path}`);
