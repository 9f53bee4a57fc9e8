/**
 * What receiving costs a Node server: the same program, once accepting on a port by itself and once receiving from the
 * door, in alternating rounds; CPU time of the whole server process for each connection, one request each.
 *
 *     node bench/node-library.mjs [--only KIND,KIND] [--rounds N] [--duration SECONDS] [--clients N] [--json]
 *
 * KIND is a server of library-kinds.mjs: http, https, http2, express, fastify, …; all but http are over TLS.
 *
 * The clients (requests.c) and the door run in processes of their own, and do not count.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { generate } from "selfsigned";
import { compileRequests } from "./compile.mjs";
import { kinds, requestOf } from "./library-kinds.mjs";
import { describeMachine, machineText } from "./machine.mjs";
import { startDoor } from "./node-door.mjs";
import { checkLimits } from "./preflight.mjs";
import { Child, stopAll } from "./process.mjs";
import { ratio, summarize } from "./stats.mjs";
import { figure, spread, table } from "./table.mjs";
import { makeWorkspace } from "./workspace.mjs";

const here = fileURLToPath(new URL(".", import.meta.url));
const serverProgram = join(here, "library-server.mjs");
const NAME = "app.example";
/** What the library must stay within, as a multiple of the server's own accepting. */
const BOUND = 1.0;
const BOUNDS = { http: 0.85 };

const isSecure = (kind) => kind !== "http";

async function startServer(kind, own, path) {
  const argument = JSON.stringify({ kind, cert: own.cert, key: own.private, path });
  const server = new Child("The server", process.execPath, [serverProgram, argument]);
  const port = await server.find((line) => (line.ready ? line.port : undefined), 10_000);
  return { server, port };
}

/** CPU microseconds of the server for each connection, and connections per second. */
async function measure(requests, kind, address, pid, { clients, sources, duration, folder }) {
  const { bytes, protocol } = requestOf(kind);
  const file = join(folder, "request");
  if (bytes !== undefined) await writeFile(file, bytes);
  const options = ["-c", clients, "-d", duration, "-w", Math.min(0.5, duration / 4), "-a", sources, "-u", pid];
  const child = new Child("The clients", requests, [
    ...options.map(String),
    ...(isSecure(kind) ? ["-s", NAME] : []),
    ...(bytes === undefined ? [] : ["-q", file]),
    ...(protocol === undefined ? [] : ["-l", protocol]),
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
    accepts: () =>
      measure(requests, kind, `127.0.0.1:${accepting.port}`, accepting.server.pid, { ...settings, folder }),
    receives: () => measure(requests, kind, address, receiving.server.pid, { ...settings, folder }),
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
    bound: BOUNDS[kind] ?? BOUND,
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
    only: { type: "string", default: Object.keys(kinds).join(",") },
    json: { type: "boolean", default: false },
  },
});
const wanted = values.only.split(",");
for (const kind of wanted) {
  if (kind in kinds) continue;
  process.stderr.write(`--only: ${kind} is none of ${Object.keys(kinds).join(", ")}\n`);
  process.exit(2);
}
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
  for (const kind of wanted) {
    if (isSecure(kind) && !hasTls) {
      process.stderr.write(
        `${kind} is left out: OpenSSL's headers are missing (Debian, Ubuntu: apt install libssl-dev)\n`,
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
