/**
 * What receiving costs a Node server: the same program, once accepting on a port by itself and once receiving from the
 * door; CPU time of the whole server process (user and system) for each connection, one request each.
 *
 *     node bench/node-library.mjs [--only KIND,KIND] [--runs N] [--rounds N] [--duration SECONDS] [--warm-up SECONDS]
 *                                 [--clients N] [--beside FOLDER] [--json]
 *
 * KIND is a server of library-kinds.mjs: http, https, http2, express, fastify, …; all but http are over TLS.
 * FOLDER is another clone, built: what a server of its library costs is measured in the same rounds.
 *
 * Two processes of one program differ by some percent for as long as they live: V8 compiles and lays out each in another
 * way. So there are several runs, each with fresh processes, and in each two servers that accept: how far these are
 * apart tells what a ratio is good for. Within a run the servers take turns, in the opposite order every other round.
 * The servers have the first CPU for themselves; the clients (requests.c) and the door, which do not count, have the
 * others.
 */
import { writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { generate } from "selfsigned";
import { compileRequests } from "./compile.mjs";
import { divideCpus, watchOthers } from "./cpus.mjs";
import { BenchFailure } from "./failure.mjs";
import { kinds, requestOf } from "./library-kinds.mjs";
import { describeMachine, machineText } from "./machine.mjs";
import { startDoor } from "./node-door.mjs";
import { checkLimits } from "./preflight.mjs";
import { Child, stopAll, stopAtSignals } from "./process.mjs";
import { ratio, summarize } from "./stats.mjs";
import { figure, spread, table } from "./table.mjs";
import { makeWorkspace } from "./workspace.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
const NAME = "app.example";
/** What the library must stay within, as a multiple of the server's own accepting. */
const BOUND = 1.0;
/** Each block of a round begins with that, unmeasured: what the last one left is closed. Seconds. */
const SETTLING = 0.15;

/**
 * @typedef {{ cert: string, private: string }} Pair a certificate and its key
 * @typedef {{ server: Child, door?: Child, address: string }} Side `address` as clients reach it
 * @typedef {object} Settings
 * @property {number} runs
 * @property {number} rounds
 * @property {number} duration of a block, seconds
 * @property {number} warmUp seconds
 * @property {number} clients
 * @property {number} sources
 * @property {string} requests the program of the clients
 * @property {string} folder
 * @property {string | undefined} beside
 * @property {import("./cpus.mjs").Cpus} cpus
 * @property {AbortSignal} signal
 * @typedef {{ cpu: number, completed: number, seconds: number, failed: number }} Block `cpu` of the server, seconds
 * @typedef {{ cpu: number, rate: number, failed: number }} Figures `cpu` microseconds a connection
 * @typedef {{ others: number, sides: Record<string, Figures> }} Run `others`: what strangers had of the machine meanwhile
 * @typedef {ReturnType<typeof summarizeRuns>} Result
 */

/** One line that is written over, on a terminal. @param {string} text */
function progress(text) {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

const isSecure = (/** @type {string} */ kind) => kind !== "http";

/**
 * @param {string} kind @param {Pair} own
 * @param {string} clone whose library it has
 * @param {string | undefined} path it receives there, or accepts
 * @param {Settings} settings
 * @returns {Promise<Side>}
 */
async function startServer(kind, own, clone, path, { cpus, folder, signal }) {
  signal.throwIfAborted();
  const argument = JSON.stringify({ kind, cert: own.cert, key: own.private, path });
  const program = join(clone, "bench", "library-server.mjs");
  const server = new Child("The server", ...cpus.first(process.execPath, [program, argument]));
  const port = await server.find((line) => (line.ready ? line.port : undefined), 20_000, signal);
  if (path === undefined) return { server, address: `127.0.0.1:${port}` };
  const { door, address } = await startDoor(folder, path, cpus.others);
  return { server, door, address };
}

/** @param {Side} side @param {string} kind @param {number} duration seconds @param {Settings} settings @returns {Promise<Block>} */
async function load({ server, address }, kind, duration, settings) {
  const { requests, clients, sources, folder, signal, cpus } = settings;
  signal.throwIfAborted();
  const { bytes, protocol } = requestOf(kind);
  const file = join(folder, "request");
  if (bytes !== undefined) await writeFile(file, bytes);
  const options = ["-c", clients, "-d", duration, "-w", SETTLING, "-a", sources, "-u", server.pid];
  const child = new Child(
    "The clients",
    ...cpus.others(requests, [
      ...options.map(String),
      ...(isSecure(kind) ? ["-s", NAME] : []),
      ...(bytes === undefined ? [] : ["-q", file]),
      ...(protocol === undefined ? [] : ["-l", protocol]),
      address,
    ]),
  );
  const result = await child.find((line) => ("completed" in line ? line : undefined), (duration + 30) * 1000, signal);
  await child.ended;
  if (result.completed === 0) throw new BenchFailure(`no request was answered at ${address}`);
  const { completed, seconds, failed } = result;
  return { cpu: result.watched[0].cpuSeconds, completed, seconds, failed };
}

/** @param {string} kind @param {Pair} own @param {number} number @param {Settings} settings @returns {Promise<Run>} */
async function runOnce(kind, own, number, settings) {
  const { folder, beside, rounds, duration, warmUp } = settings;
  const path = (/** @type {string} */ side) => join(folder, `${kind}-${side}-${number}.sock`);
  /** @type {Record<string, Side>} */
  const sides = {
    accepts: await startServer(kind, own, here, undefined, settings),
    control: await startServer(kind, own, here, undefined, settings),
    receives: await startServer(kind, own, here, path("receives"), settings),
    ...(beside && { beside: await startServer(kind, own, beside, path("beside"), settings) }),
  };
  const say = (/** @type {string} */ what) => progress(`${kind}, run ${number + 1}: ${what}`);
  say("warming up");
  for (const side of Object.values(sides)) await load(side, kind, warmUp, settings);
  const sums = Object.fromEntries(
    Object.keys(sides).map((name) => [name, { cpu: 0, completed: 0, seconds: 0, failed: 0 }]),
  );
  const figuresOfBlock = /** @type {const} */ (["cpu", "completed", "seconds", "failed"]);
  const others = watchOthers(
    Object.values(sides).flatMap(({ server, door }) => [server.pid, ...(door ? [door.pid] : [])]),
  );
  const order = Object.entries(sides);
  for (let round = 0; round < rounds; round++) {
    say(`round ${round + 1}`);
    for (const [name, side] of order) {
      const block = await load(side, kind, duration, settings);
      for (const what of figuresOfBlock) sums[name][what] += block[what];
    }
    order.reverse();
  }
  progress("");
  const part = others();
  await stopAll();
  const figures = Object.entries(sums).map(([name, { cpu, completed, seconds, failed }]) => [
    name,
    { cpu: (cpu * 1e6) / completed, rate: completed / seconds, failed },
  ]);
  return { others: part, sides: Object.fromEntries(figures) };
}

/** @param {string} kind @param {Settings} settings */
async function compare(kind, settings) {
  const own = await generate([{ name: "commonName", value: NAME }], {
    keyType: "ec",
    curve: "P-256",
    algorithm: "sha256",
  });
  /** @type {Run[]} */
  const runs = [];
  try {
    for (let number = 0; number < settings.runs; number++) runs.push(await runOnce(kind, own, number, settings));
  } catch (error) {
    if (!settings.signal.aborted) throw error;
  }
  return runs.length === 0 ? undefined : summarizeRuns(runs);
}

/** @param {readonly Run[]} runs */
function summarizeRuns(runs) {
  const of = (/** @type {string} */ side, /** @type {keyof Figures} */ what) =>
    runs.map((run) => run.sides[side][what]);
  // Both that accept are the base: half the noise.
  const base = runs.map(({ sides: { accepts, control } }) => (accepts.cpu + control.cpu) / 2);
  const summary = (/** @type {string} */ side) => ({
    cpuMicroseconds: summarize(of(side, "cpu")),
    connectionsPerSecond: summarize(of(side, "rate")),
    ratio: ratio(of(side, "cpu"), base),
  });
  const sides = Object.keys(runs[0].sides);
  return {
    accepts: { ...summary("accepts"), cpuMicroseconds: summarize(base), ratio: undefined },
    control: ratio(of("control", "cpu"), of("accepts", "cpu")),
    receives: summary("receives"),
    beside: sides.includes("beside") ? summary("beside") : undefined,
    failed: sides.flatMap((side) => of(side, "failed")).reduce((sum, value) => sum + value, 0),
    others: Math.max(...runs.map((run) => run.others)),
    bound: BOUND,
  };
}

/** @param {Readonly<Record<string, Result>>} results */
function report(results) {
  const rows = Object.entries(results).flatMap(([kind, result]) =>
    /** @type {const} */ (["receives", "beside"]).flatMap((name) => {
      const side = result[name];
      if (side === undefined) return [];
      const isMet = (side.ratio?.median ?? Number.POSITIVE_INFINITY) <= result.bound;
      return [
        [
          name === "beside" ? "  beside" : kind,
          spread(result.accepts.cpuMicroseconds, 0),
          spread(side.cpuMicroseconds, 0),
          spread(side.ratio, 3),
          name === "beside" ? "" : isMet ? "met" : "NOT MET",
          spread(result.control, 3),
          figure(result.accepts.connectionsPerSecond?.median, 0),
          figure(side.connectionsPerSecond?.median, 0),
          String(result.failed),
          `${figure(100 * result.others, 0)} %`,
        ],
      ];
    }),
  );
  const head = ["server", "accepts, µs", "receives, µs", "ratio", `≤ ${BOUND}`, "control"];
  return table([...head, "accepts/s", "receives/s", "failed", "others, at most"], rows);
}

const { values } = parseArgs({
  options: {
    runs: { type: "string", default: "5" },
    rounds: { type: "string", default: "4" },
    duration: { type: "string", default: "1" },
    "warm-up": { type: "string", default: "4" },
    clients: { type: "string", default: "64" },
    only: { type: "string", default: Object.keys(kinds).join(",") },
    beside: { type: "string" },
    json: { type: "boolean", default: false },
  },
});
const wanted = values.only.split(",");
for (const kind of wanted) {
  if (kind in kinds) continue;
  process.stderr.write(`--only: ${kind} is none of ${Object.keys(kinds).join(", ")}\n`);
  process.exit(2);
}
const signal = stopAtSignals();
const { sources } = await checkLimits(Number(values.clients));
const settings = {
  runs: Number(values.runs),
  rounds: Number(values.rounds),
  duration: Number(values.duration),
  warmUp: Number(values["warm-up"]),
  clients: Number(values.clients),
  sources,
};
const machine = describeMachine(`node bench/node-library.mjs ${process.argv.slice(2).join(" ")}`.trim());
const { path: requests, hasTls } = await compileRequests();
const { folder } = makeWorkspace();
const beside = values.beside && resolve(values.beside);
const cpus = divideCpus();
/** @type {Record<string, Result>} */
const results = {};
try {
  for (const kind of wanted) {
    if (isSecure(kind) && !hasTls) {
      process.stderr.write(
        `${kind} is left out: OpenSSL's headers are missing (Debian, Ubuntu: apt install libssl-dev)\n`,
      );
      continue;
    }
    const result = await compare(kind, { ...settings, requests, folder, beside, cpus, signal });
    if (result !== undefined) results[kind] = result;
    if (signal.aborted) break;
  }
} finally {
  await stopAll();
}
if (signal.aborted) process.exitCode = 130;
process.stdout.write(
  values.json
    ? `${JSON.stringify({ machine, settings, pinned: cpus.pinned, interrupted: signal.aborted, results }, null, 2)}\n`
    : `${machineText(machine)}${cpus.pinned ? "" : "Nothing is pinned to CPUs: there is no taskset, or only one CPU.\n"}
${report(results)}${signal.aborted ? "Interrupted: the figures above are all there are.\n" : ""}`,
);
