/**
 * Scenario `log`: what the access log costs the door for each connection, by its mode, and how many lines are lost at
 * full load.
 *
 * A door for each mode, all with the same backend, take turns. Their log goes to files. The CPU time is that of the whole
 * process: the worker's, which records, and the control plane's, which writes.
 */
import { readFile, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, boundsText } from "../bound.mjs";
import { startReceiver } from "../contestants/contestant.mjs";
import { Door } from "../door.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { column, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";

const CLIENTS = 64;
/** Longer than lines wait in memory: each round begins with nothing left to write. Milliseconds. */
const UNTIL_WRITTEN = 1000;

/** @type {{ name: string, title: string, accessLog: string | { sample: number } }[]} */
const modes = [
  { name: "off", title: "accessLog: off", accessLog: "off" },
  { name: "errors", title: "accessLog: errors", accessLog: "errors" },
  { name: "sample", title: "accessLog: { sample: 100 }", accessLog: { sample: 100 } },
  { name: "all", title: "accessLog: all", accessLog: "all" },
];

export const description = "the door's CPU per connection by access log, and lines dropped";
export const defaults = {
  full: { rounds: 7, duration: 2 },
  quick: { rounds: 3, duration: 0.7 },
};
export const contestants = modes.map(({ name }) => ({ name }));
export const mostClients = CLIENTS;

/** @typedef {typeof modes[number] & { door: Door, output: string }} Entry */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const { folder, programs, signal } = context;
  const hello = join(folder, "log.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const { receiver, path } = await startReceiver({ programs, folder, names: 1, signal });
  /** @type {Entry[]} */
  const entries = [];
  try {
    for (const mode of modes.filter(({ name }) => context.takesPart(name))) {
      context.progress(`starting a door with ${mode.title}`);
      const output = join(folder, `${mode.name}.log`);
      const configuration = {
        workers: 1,
        accessLog: mode.accessLog,
        backends: { app: { handoff: path } },
        routes: { [nameOf(0)]: "app" },
      };
      const door = await Door.start({ folder, programs, signal, configuration, output, name: mode.name });
      entries.push({ ...mode, door, output });
      await door.instances("app", 1);
      await measureRound(context, hello, door);
    }
    /** @type {Map<Entry, Round[]>} */
    const measured = new Map(entries.map((entry) => [entry, []]));
    for (let i = 0; i < context.rounds && !signal.aborted; i++) {
      for (const entry of entries) {
        context.progress(`round ${i + 1} of ${context.rounds}, ${entry.title}`);
        measured.get(entry)?.push(await measureRound(context, hello, entry.door));
        await sleep(UNTIL_WRITTEN);
      }
    }
    const rows = [];
    for (const entry of entries) {
      rows.push(await summarizeMode(entry, measured));
    }
    const bounds = rows
      .filter(({ name }) => name !== "all")
      .map(({ title, dropped }) => atMost(`lines dropped with ${title}`, dropped, 0, ""));
    const table = tableOf(rows, [...measured.values()].flat());
    context.print(`${tableText(table)}${boundsText(bounds)}\n`);
    return { clients: CLIENTS, modes: rows, ...uniform({ tables: [table], bounds }) };
  } finally {
    await Promise.all(entries.map(({ door }) => door.stop()));
    await receiver.stop();
  }
}

/** @typedef {import("../load.mjs").LoadResult & { cpu: number | null, wakes: number | null }} Round */

/** @param {import("../main.mjs").Context} context @param {string} hello @param {Door} door @returns {Promise<Round>} */
async function measureRound(context, hello, { address, pid }) {
  const result = await runLoad({
    ...{ load: context.programs.load, address, hello, names: 1, signal: context.signal },
    ...{ clients: CLIENTS, threads: context.threads, sources: context.limits.sources },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: 0, pause: 0, watch: [pid] },
  });
  const seconds = perConnection(result, [pid], "cpuSeconds");
  return {
    ...result,
    cpu: seconds === null ? null : seconds * 1e6,
    wakes: perConnection(result, [pid], "sleeps"),
  };
}

/** @param {Entry} entry @param {Map<Entry, Round[]>} measured */
async function summarizeMode(entry, measured) {
  const rounds = measured.get(entry) ?? [];
  const off = [...measured].find(([{ name }]) => name === "off")?.[1] ?? [];
  const cpu = rounds.map((round) => round.cpu);
  const status = await entry.door.status();
  return {
    name: entry.name,
    title: entry.title,
    cpuMicroseconds: summarize(cpu),
    toOff: ratio(
      cpu,
      off.map((round) => round.cpu),
    ),
    wakesPerConnection: summarize(rounds.map(({ wakes }) => wakes)),
    connectionsPerSecond: summarize(rounds.map((round) => round.connectionsPerSecond)),
    p99Milliseconds: summarize(rounds.map(({ latencyMicroseconds }) => latencyMicroseconds.p99 / 1000)),
    accepted: status.counters.accepted,
    lines: await linesOf(entry.output),
    bytes: (await stat(entry.output)).size,
    dropped: status.accessLog.dropped,
    failed: rounds.reduce((sum, { failed }) => sum + Object.values(failed).reduce((all, times) => all + times, 0), 0),
  };
}

/** Lines of the access log in a file. @param {string} file */
async function linesOf(file) {
  const bytes = await readFile(file);
  let lines = 0;
  for (let at = bytes.indexOf('"event":"access"'); at >= 0; at = bytes.indexOf('"event":"access"', at + 1)) {
    lines++;
  }
  return lines;
}

/** @param {readonly Awaited<ReturnType<typeof summarizeMode>>[]} rows @param {readonly Round[]} rounds @returns {import("../report/result.mjs").Table} */
function tableOf(rows, rounds) {
  const note = limitNotes(rounds.map(({ generator }) => generator)).join(" ");
  return {
    title: "64 clients in a closed loop, by access log",
    ...(note === "" ? {} : { note }),
    columns: [
      column("cpu", "door CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
      column("toOff", "× off", { digits: 2 }),
      column("wakes", "wakes/conn", { digits: 2 }),
      column("rate", "connections", { unit: "conn/s", better: "more", digits: 0 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 1 }),
      column("accepted", "accepted"),
      column("lines", "lines"),
      column("dropped", "dropped", { better: "less" }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: rows.map((row) => ({
      ...{ name: row.name, label: row.title, router: row.name !== "off", ours: true },
      cells: {
        cpu: row.cpuMicroseconds,
        toOff: row.toOff,
        wakes: row.wakesPerConnection,
        rate: row.connectionsPerSecond,
        p99: row.p99Milliseconds,
        ...{ accepted: row.accepted, lines: row.lines, dropped: row.dropped, failed: row.failed },
      },
    })),
  };
}
