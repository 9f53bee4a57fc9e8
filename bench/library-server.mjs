// The server of node-library.mjs and node-memory.mjs. Argument: JSON { kind, cert, key, path? }: with `path` it receives
// there, without it it listens on a port. SIGUSR2: what memory it has, once all that is not used has been collected
// (node --expose-gc).
import { readFileSync } from "node:fs";
import { attach } from "sni-handoff/backend";
import { kinds } from "./library-kinds.mjs";

const { kind, cert, key, path } = JSON.parse(process.argv[2]);
const server = await kinds[kind]({ cert, key });
// Those of http have it.
Object.assign(server, { keepAliveTimeout: 0 });
if (path === undefined) {
  await new Promise((resolve) => server.listen(0, "127.0.0.1", () => resolve(undefined)));
} else {
  await attach(server, { path });
}
const say = (/** @type {object} */ line) => process.stdout.write(`${JSON.stringify(line)}\n`);
const address = server.address();
say({ ready: true, port: typeof address === "object" ? address?.port : undefined });
process.once("SIGTERM", () => process.exit());

/** Kilobytes that no other process shares: proc_pid_smaps(5). */
function privateKilobytes() {
  const text = readFileSync("/proc/self/smaps_rollup", "utf8");
  return ["Private_Clean", "Private_Dirty"].reduce(
    (sum, name) => sum + Number(new RegExp(`^${name}: +(\\d+) kB`, "m").exec(text)?.[1]),
    0,
  );
}

let looks = 0;
process.on("SIGUSR2", () => {
  const look = ++looks;
  for (let i = 0; i < 3; i++) globalThis.gc?.();
  server.getConnections((_error, connections) => {
    const { heapUsed, external, arrayBuffers } = process.memoryUsage();
    say({ look, connections, heap: heapUsed, external: external + arrayBuffers, process: privateKilobytes() * 1024 });
  });
});
