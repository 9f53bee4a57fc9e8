// The Node server of the scenario `tls`. Arguments: CERTIFICATE KEY SOCKET, as of go-server/main.go: one process that accepts
// by itself on a free port, and one more server in it that receives from doors.
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { attach } from "sni-handoff/backend";

const [certificate, key, path] = process.argv.slice(2);
const download = Buffer.concat([Buffer.alloc(1 << 20), Buffer.from("\nend\n")]);
const options = { cert: readFileSync(certificate), key: readFileSync(key) };
const make = () =>
  createServer(options, (request, response) => response.end(request.url === "/download" ? download : "hello\nend\n"));
await attach(make(), { path });
const accepting = make();
accepting.listen(0, "127.0.0.1", () => {
  const { port } = /** @type {import("node:net").AddressInfo} */ (accepting.address());
  process.stdout.write(`${JSON.stringify({ ready: true, address: `127.0.0.1:${port}` })}\n`);
});
