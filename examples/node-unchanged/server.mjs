// A program that knows nothing of front doors: node server.mjs CERTIFICATE KEY
import { readFileSync } from "node:fs";
import { createServer } from "node:https";

const [cert, key] = process.argv.slice(2);
const server = createServer({ cert: readFileSync(cert), key: readFileSync(key) }, ({ socket }, response) => {
  response.setHeader("content-type", "text/plain");
  response.end(`hello from node: ${socket.remoteAddress}:${socket.remotePort}\n`);
});
server.listen(443, () => console.log(`listening on port ${server.address().port}`));
process.once("SIGTERM", () => server.close());
