// An instance of the backend of the scenario `pauses`. Argument: JSON { cert, key, path }. SIGTERM: finishes what it has, and ends.
import { createServer } from "node:https";
import { attach } from "sni-handoff/backend";

const { cert, key, path } = JSON.parse(process.argv[2]);
const server = createServer({ cert, key }, (_request, response) => response.end("hello\n"));
const receiver = await attach(server, { path });
process.stdout.write(`${JSON.stringify({ ready: true })}\n`);
// What it has goes on, and keeps the process until it is finished.
process.once("SIGTERM", () => receiver.close());
