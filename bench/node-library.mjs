/**
 * What receiving costs a Node server: the same program, once accepting on a port by itself and once receiving from the
 * door, in alternating rounds; CPU time of the whole server process for each connection, one request each.
 *
 *     node bench/node-library.mjs [--rounds N] [--duration SECONDS] [--clients N] [--json]
 *
 * The clients (requests.c) and the door run in processes of their own, and do not count.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { generate } from "selfsigned";
import { compileRequests } from "./compile.mjs";
import { describeMachine, machineText } from "./machine.mjs";
import { checkLimits } from "./preflight.mjs";
import { Child, stopAll } from "./process.mjs";
import { ratio, summarize } from "./stats.mjs";
import { figure, spread, table } from "./table.mjs";
import { makeWorkspace } from "./workspace.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const program = join(here, "../dist/cli/main.js");
const serverProgram = join(here, "library-server.mjs");
const NAME = "app.example";
/** What the library must stay within, as a multiple of the server's own accepting. */
const BOUNDS = { http: 0.85, https: 1.0 };

async function startServer(kind, own, path) {
  const argument = JSON.stringify({ kind, cert: own.cert, key: own.private, path });
  const server = new Child("The server", process.execPath, [serverProgram, argument]);
  const port = await server.find((line) => (line.ready ? line.port : undefined), 10_000);
  return { server, port };
}

async function startDoor(folder, path) {
  const configuration = {
    workers: 1,
    listeners: [{ address: "127.0.0.1:0" }],
    backends: { app: { handoff: path } },
    default: "app",
    notTls: "app",
  };
  const file = join(folder, "door.yaml");
  await writeFile(file, JSON.stringify(configuration));
  const door = new Child("The door", process.execPath, [program, "serve", "--config", file]);
  const address = await door.find((line) => (line.event === "ready" ? line.listeners[0] : undefined), 10_000);
  return { door, address };
}

/** CPU microseconds of the server for each connection, and connections per second. */
async function measure(requests, kind, address, pid, { clients, sources, duration }) {
  const options = ["-c", clients, "-d", duration, "-w", Math.min(0.5, duration / 4), "-a", sources, "-u", pid];
  const child = new Child("The clients", requests, [
    ...options.map(String),
    ...(kind === "https" ? ["-s", NAME] : []),
    address,
  ]);
  const result = await child.find((line) => ("completed" in line ? line : undefined), (duration + 30) * 1000);
  await child.ended;
  if (result.completed === 0) throw new Error(`no request was answered at ${address}`);
  return {
    cpu: (result.watched[0].cpuSeconds * 1e6) / result.completed,
    rate: result.completed / result.seconds,
    failed: result.failed,
  };
}

async function compare(kind, requests, settings, folder) {
  const own = await generate([{ name: "commonName", value: NAME }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
  });
  const path = join(folder, `${kind}.sock`);
  const accepting = await startServer(kind, own, undefined);
  const receiving = await startServer(kind, own, path);
  const { door, address } = await startDoor(folder, path);
  const sides = {
    accepts: () => measure(requests, kind, `127.0.0.1:${accepting.port}`, accepting.server.pid, settings),
    receives: () => measure(requests, kind, address, receiving.server.pid, settings),
  };
  const rounds = { accepts: [], receives: [] };
  for (let round = -1; round < settings.rounds; round++) {
    for (const [side, once] of Object.entries(sides)) {
      process.stderr.write(`\r${kind} ${side}, round ${round < 0 ? "to warm up" : round + 1}   `);
      const result = await once();
      if (round >= 0) rounds[side].push(result);
    }
  }
  process.stderr.write("\r\x1b[K");
  await Promise.all([door.stop(), accepting.server.stop(), receiving.server.stop()]);
  const of = (side, what) => rounds[side].map((result) => result[what]);
  return {
    accepts: {
      cpuMicroseconds: summarize(of("accepts", "cpu")),
      connectionsPerSecond: summarize(of("accepts", "rate")),
    },
    receives: {
      cpuMicroseconds: summarize(of("receives", "cpu")),
      connectionsPerSecond: summarize(of("receives", "rate")),
    },
    ratio: ratio(of("receives", "cpu"), of("accepts", "cpu")),
    failed: [...of("accepts", "failed"), ...of("receives", "failed")].reduce((sum, value) => sum + value, 0),
    bound: BOUNDS[kind],
  };
}

function report(results) {
  const rows = Object.entries(results).map(([kind, result]) => [
    kind,
    spread(result.accepts.cpuMicroseconds, 0),
    spread(result.receives.cpuMicroseconds, 0),
    spread(result.ratio, 3),
    figure(result.bound),
    figure(result.accepts.connectionsPerSecond.median, 0),
    figure(result.receives.connectionsPerSecond.median, 0),
    String(result.failed),
  ]);
  const head = ["server", "accepts, µs", "receives, µs", "ratio", "bound", "accepts/s", "receives/s", "failed"];
  return table(head, rows);
}

const { values } = parseArgs({
  options: {
    rounds: { type: "string", default: "7" },
    duration: { type: "string", default: "3" },
    clients: { type: "string", default: "64" },
    only: { type: "string", default: "http,https" },
    json: { type: "boolean", default: false },
  },
});
const wanted = values.only.split(",");
const { sources } = await checkLimits(Number(values.clients));
const settings = {
  rounds: Number(values.rounds),
  duration: Number(values.duration),
  clients: Number(values.clients),
  sources,
};
const machine = describeMachine(`node bench/node-library.mjs ${process.argv.slice(2).join(" ")}`.trim());
const { path: requests, hasTls } = await compileRequests();
const { folder } = makeWorkspace();
const results = {};
try {
  for (const kind of ["http", "https"]) {
    if (!wanted.includes(kind)) continue;
    if (kind === "https" && !hasTls) {
      process.stderr.write(
        "https is left out: OpenSSL's headers are missing (Debian, Ubuntu: apt install libssl-dev)\n",
      );
      continue;
    }
    results[kind] = await compare(kind, requests, settings, folder);
  }
} finally {
  await stopAll();
}
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine, settings, results }, null, 2)}\n`
    : `${machineText(machine)}\n${report(results)}`,
);
