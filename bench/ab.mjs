/**
 * Several builds of the door in alternating rounds, beside the C floor: is one of them faster?
 *
 *     node bench/ab.mjs [NAME=]FOLDER[,VARIABLE=VALUE…]… [--clients 64,1024] [--names N] [--hello one|two] [--rate R]
 *                       [--rounds N] [--duration SECONDS] [--threads N] [--workers N] [--core N] [--json FILE]
 *
 * A FOLDER is a clone that is built; "." is this one. Its own door and receiver run, with those variables in their
 * environment; the load generator and the floor are this clone's. Others are held against the first. With --core the
 * routers run there only; where everything else runs, taskset(1) says.
 */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { basename, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parseArgs } from "node:util";
import { compilePrograms } from "./compile.mjs";
import { makeDoor } from "./contestants/door.mjs";
import { floor, floorBatched } from "./contestants/floor.mjs";
import { BenchFailure } from "./failure.mjs";
import { clientHello } from "./hello.mjs";
import { perConnection, runLoad } from "./load.mjs";
import { nameOf, nameTemplate } from "./names.mjs";
import { checkLimits } from "./preflight.mjs";
import { waitForAnswer } from "./probe.mjs";
import { stopAll } from "./process.mjs";
import { mannWhitney } from "./report/mann-whitney.mjs";
import { ratio, summarize } from "./stats.mjs";
import { count, figure, spread, table } from "./table.mjs";
import { makeWorkspace } from "./workspace.mjs";

const hellos = { one: { length: 517, segment: 0 }, two: { length: 1800, segment: 1400 } };

/**
 * @typedef {{ name: string, folder: string, environment: Record<string, string> }} Build
 * @typedef {{ name: string, running: import("./contestants/contestant.mjs").Running }} Entry
 * @typedef {{ cpu: number | null, wakes: number | null, rate: number, p50: number, p99: number, server: number | null,
 *   failed: number, foreign: number }} Round
 */

/** @param {string} text "NAME=FOLDER,VARIABLE=VALUE" @returns {Build} */
function parseBuild(text) {
  const [where, ...variables] = text.split(",");
  const at = where.indexOf("=");
  const folder = resolve(where.slice(at + 1));
  const pairs = variables.map((each) => each.split(/=(.*)/s).slice(0, 2));
  const name = at > 0 ? where.slice(0, at) : [basename(folder), ...variables].join(" ");
  return { name, folder, environment: Object.fromEntries(pairs) };
}

/**
 * @param {Build} build
 * @param {{ folder: string, names: number, workers: number, load: import("./compile.mjs").Programs, signal: AbortSignal }} place
 * @returns {Promise<Entry>}
 */
async function startDoor(build, { folder, names, workers, load, signal }) {
  const compiler = join(build.folder, "bench/compile.mjs");
  if (!existsSync(compiler)) {
    throw new BenchFailure(`${compiler} is not there: ${build.folder} is no clone.`);
  }
  const theirs = await import(pathToFileURL(compiler).href);
  const programs = { ...load, receiver: (await theirs.compilePrograms()).receiver };
  const door = makeDoor(join(build.folder, "dist/cli/main.js"));
  const missing = door.missing();
  if (missing !== null) {
    throw new BenchFailure(missing);
  }
  const { environment } = build;
  return { name: build.name, running: await door.start({ programs, folder, names, workers, environment, signal }) };
}

/**
 * @param {Entry} entry
 * @param {Omit<import("./load.mjs").LoadOptions, "address" | "watch">} load
 * @returns {Promise<Round>}
 */
async function measure({ running }, load) {
  const [routers, servers] = [running.routerPids(), running.serverPids()];
  const result = await runLoad({ ...load, address: running.address, watch: [...routers, ...servers] });
  const micros = (/** @type {number | null} */ seconds) => (seconds === null ? null : seconds * 1e6);
  const ours = result.watched.reduce((sum, { cpuSeconds }) => sum + (cpuSeconds ?? 0), 0);
  const own = result.ownCpuSeconds.user + result.ownCpuSeconds.system;
  return {
    cpu: micros(perConnection(result, routers, "cpuSeconds")),
    wakes: perConnection(result, routers, "sleeps"),
    rate: result.connectionsPerSecond,
    p50: result.latencyMicroseconds.p50 / 1000,
    p99: result.latencyMicroseconds.p99 / 1000,
    server: micros(perConnection(result, servers, "cpuSeconds")),
    failed: Object.values(result.failed).reduce((sum, times) => sum + times, 0),
    foreign: Math.max(0, result.machineBusySeconds - ours - own) / result.seconds,
  };
}

/** @param {readonly Entry[]} entries @param {ReadonlyMap<Entry, Round[]>} rounds */
function print(entries, rounds) {
  const figures = (/** @type {Entry} */ entry, /** @type {keyof Round} */ what) =>
    /** @type {Round[]} */ (rounds.get(entry)).map((round) => round[what]);
  const base = /** @type {Entry} */ (entries.find(({ name }) => name !== floor.name && name !== floorBatched.name));
  const least = /** @type {Entry} */ (entries.find(({ name }) => name === floor.name));
  const rows = entries.map((entry) => {
    const cpu = /** @type {number[]} */ (figures(entry, "cpu"));
    const middle = (/** @type {keyof Round} */ what) => summarize(figures(entry, what))?.median;
    return [
      entry.name,
      spread(summarize(cpu), 2),
      spread(ratio(cpu, figures(base, "cpu")), 3),
      entry === base ? "" : figure(mannWhitney(cpu, /** @type {number[]} */ (figures(base, "cpu"))), 3),
      figure(ratio(cpu, figures(least, "cpu"))?.median, 3),
      figure(middle("wakes")),
      figure(middle("server"), 1),
      count(middle("rate")),
      figure(ratio(figures(entry, "rate"), figures(base, "rate"))?.median, 3),
      figure(middle("p50")),
      figure(middle("p99")),
      count(figures(entry, "failed").reduce((sum, times) => (sum ?? 0) + (times ?? 0), 0)),
    ];
  });
  const head = [
    ...["build", "µs/conn", `× ${base.name}`, "p", "× floor", "wakes", "server", "conn/s", `× ${base.name}`],
    ...["p50, ms", "p99, ms", "failed"],
  ];
  process.stdout.write(table(head, rows));
  const foreign = summarize(entries.flatMap((entry) => figures(entry, "foreign")));
  process.stdout.write(`  Others used ${figure(foreign?.median)} (at most ${figure(foreign?.max)}) cores meanwhile.\n`);
}

async function main() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      clients: { type: "string", default: "64,1024" },
      names: { type: "string", default: "1" },
      hello: { type: "string", default: "one" },
      rate: { type: "string", default: "0" },
      rounds: { type: "string", default: "15" },
      duration: { type: "string", default: "0.5" },
      threads: { type: "string", default: "1" },
      workers: { type: "string", default: "1" },
      core: { type: "string" },
      json: { type: "string" },
    },
  });
  if (positionals.length === 0) {
    throw new BenchFailure("Name the builds to compare, the first is the one that the others are held against.", {
      status: 2,
    });
  }
  if (!(values.hello in hellos)) {
    throw new BenchFailure(`--hello is "${values.hello}"; it must be one of ${Object.keys(hellos).join(", ")}.`, {
      status: 2,
    });
  }
  // What is started is stopped, and the folder removed, as the process exits.
  for (const name of ["SIGINT", "SIGTERM"]) {
    process.on(name, () => process.exit(130));
  }
  const clients = values.clients.split(",").map(Number);
  const [names, workers, duration] = [Number(values.names), Number(values.workers), Number(values.duration)];
  const { signal } = new AbortController();
  const load = await compilePrograms();
  const limits = await checkLimits(Math.max(...clients));
  const workspace = makeWorkspace();
  const { length, segment } = hellos[/** @type {keyof typeof hellos} */ (values.hello)];
  const hello = join(workspace.folder, "hello");
  await writeFile(hello, clientHello(nameTemplate, length));
  /** @type {Entry[]} */
  const entries = [];
  const all = [];
  try {
    for (const [index, start] of [
      ...[floor, floorBatched].map((each) => async (/** @type {string} */ folder) => ({
        name: each.name,
        running: await each.start({ programs: load, folder, names: 1, signal }),
      })),
      ...positionals.map(
        (text) => (/** @type {string} */ folder) =>
          startDoor(parseBuild(text), { folder, names, workers, load, signal }),
      ),
    ].entries()) {
      const folder = join(workspace.folder, String(index));
      await mkdir(folder);
      const entry = await start(folder);
      entries.push(entry);
      if (values.core !== undefined) {
        for (const pid of entry.running.routerPids()) {
          execFileSync("taskset", ["-apc", values.core, String(pid)], { stdio: "ignore" });
        }
      }
      await waitForAnswer(entry.running.address, clientHello(nameOf(0), 517), 10_000, signal);
    }
    for (const each of clients) {
      const options = {
        ...{ load: load.load, hello, names, clients: each, threads: Number(values.threads), sources: limits.sources },
        ...{ seconds: duration, warmUp: duration / 4, firstSegment: segment, pause: 1000, rate: Number(values.rate) },
        signal,
      };
      /** @type {Map<Entry, Round[]>} */
      const rounds = new Map(entries.map((entry) => [entry, []]));
      for (const entry of entries) {
        await measure(entry, { ...options, seconds: 1.5 });
      }
      for (let round = 0; round < Number(values.rounds); round++) {
        // There and back: who comes after whom must make no difference.
        for (const entry of round % 2 === 0 ? entries : entries.toReversed()) {
          rounds.get(entry)?.push(await measure(entry, options));
        }
      }
      process.stdout.write(`${count(each)} clients, ${count(names)} names, hello ${values.hello}\n`);
      print(entries, rounds);
      all.push({
        clients: each,
        names,
        rounds: entries.map((entry) => ({ name: entry.name, rounds: rounds.get(entry) })),
      });
    }
  } finally {
    await Promise.all(entries.map(({ running }) => running.stop()));
    await stopAll();
    workspace.remove();
  }
  if (values.json !== undefined) {
    await writeFile(values.json, `${JSON.stringify({ arguments: process.argv.slice(2), cases: all }, null, 2)}\n`);
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await main();
  } catch (error) {
    if (!(error instanceof BenchFailure)) {
      throw error;
    }
    process.stderr.write(`${error.message}\n`);
    process.exitCode = error.status;
  }
}
