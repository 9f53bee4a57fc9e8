/**
 * Scenario `workers`: what more workers of the door give, and cost. Doors with 1, 2, … workers stay up and take turns; behind
 * all of them is the same server with as many threads as there are workers at most.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { Door } from "../door.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { Child, cpuSecondsOfThreads, memory } from "../process.mjs";
import { column, foreignNote, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";

const CLIENTS = [64, 1024];
const QUICK_CLIENTS = [64];
const MOST_WORKERS = 8;

export const description = "1, 2, … workers of the door: connections/s, CPU, latency, memory, how evenly they share";
export const defaults = {
  full: { rounds: 7, duration: 1.5 },
  quick: { rounds: 3, duration: 0.5 },
};
/** @type {{ name: string }[]} */
export const contestants = [];
export const mostClients = Math.max(...CLIENTS);

/**
 * @typedef {{ workers: number, door: Door, pids: number[] }} Entry
 * @typedef {import("../load.mjs").LoadResult & { cpu: number | null, busiest: number | null, foreignShare: number }} Round
 *   `busiest`: its share of what the workers together used
 */

/** 1, 2, 4 …, and one for each core. @param {number} cores */
export function workerCounts(cores) {
  const most = Math.min(Math.max(cores, 2), MOST_WORKERS);
  return [...new Set([1, 2, 4, 8, most].filter((workers) => workers <= most))].sort((a, b) => a - b);
}

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const { folder, programs, signal } = context;
  const hello = join(folder, "workers.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const counts = workerCounts(context.cores);
  const pool = join(folder, "workers/");
  await mkdir(pool, { mode: 0o755 });
  const threads = Array.from({ length: Math.max(...counts) }, (_, index) => ["-p", join(pool, `${index}.sock`)]);
  const receiver = new Child("The receiver", programs.receiver, threads.flat());
  /** @type {Entry[]} */
  const entries = [];
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  try {
    await receiver.find((line) => line.ready, 5000, signal);
    for (const workers of counts) {
      context.progress(`starting a door with ${workers} workers`);
      const configuration = {
        ...{ workers, accessLog: "off" },
        ...{ backends: { app: { handoff: pool } }, routes: { [nameOf(0)]: "app" } },
      };
      const door = await Door.start({ folder, programs, signal, configuration, name: `workers-${workers}` });
      entries.push({ workers, door, pids: [door.pid] });
      await door.instances("app", threads.length);
    }
    for (const planned of context.quick ? QUICK_CLIENTS : CLIENTS) {
      const clients = Math.min(planned, context.limits.clients);
      const measured = await measureCase(context, entries, { hello, clients, server: receiver.pid });
      if (measured.size > 0) {
        const table = tableOf(clients, measured);
        tables.push(table);
        context.print(tableText(table));
      }
    }
  } finally {
    await Promise.all(entries.map(({ door }) => door.stop()));
    await receiver.stop();
  }
  const { rounds, duration: secondsPerRound, warmUp: warmUpSeconds, threads: loadThreads } = context;
  const settings = { rounds, secondsPerRound, warmUpSeconds, loadThreads, serverThreads: threads.length };
  return { settings, ...uniform({ tables }) };
}

/** @param {import("../main.mjs").Context} context @param {readonly Entry[]} entries @param {{ hello: string, clients: number, server: number }} load */
async function measureCase(context, entries, load) {
  /** @type {Map<Entry, Round[]>} */
  const measured = new Map();
  // The first round only warms up.
  for (let round = 0; round <= context.rounds; round++) {
    for (const entry of entries) {
      if (context.signal.aborted) {
        break;
      }
      context.progress(`${entry.workers} workers, ${load.clients} clients: round ${round} of ${context.rounds}`);
      const result = await measureRound(context, entry, load);
      if (round > 0 && (!result.interrupted || result.seconds > 0.2)) {
        measured.set(entry, [...(measured.get(entry) ?? []), result]);
      }
    }
  }
  return measured;
}

/** @param {import("../main.mjs").Context} context @param {Entry} entry @param {{ hello: string, clients: number, server: number }} load @returns {Promise<Round>} */
async function measureRound(context, { workers, door, pids }, { hello, clients, server }) {
  const before = cpuSecondsOfThreads(door.pid);
  const result = await runLoad({
    ...{ load: context.programs.load, address: door.address, hello, names: 1, signal: context.signal },
    ...{ clients, threads: context.threads, sources: context.limits.sources },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: 0, pause: 0, watch: [...pids, server] },
  });
  // The workers are the threads that used most: the others have next to nothing to do.
  const used = [...cpuSecondsOfThreads(door.pid)].map(([thread, seconds]) => seconds - (before.get(thread) ?? 0));
  const ofWorkers = used.sort((a, b) => b - a).slice(0, workers);
  const together = ofWorkers.reduce((sum, seconds) => sum + seconds, 0);
  const cpu = perConnection(result, pids, "cpuSeconds");
  const watched = result.watched.reduce((sum, { cpuSeconds }) => sum + (cpuSeconds ?? 0), 0);
  const foreign = result.machineBusySeconds - watched - result.ownCpuSeconds.user - result.ownCpuSeconds.system;
  return {
    ...result,
    cpu: cpu === null ? null : cpu * 1e6,
    busiest: together > 0 ? (ofWorkers[0] / together) * 100 : null,
    foreignShare: Math.max(0, foreign) / (result.seconds * context.cores),
  };
}

/** @param {number} clients @param {Map<Entry, Round[]>} measured @returns {import("../report/result.mjs").Table} */
function tableOf(clients, measured) {
  const all = [...measured.values()].flat();
  const one = [...measured].find(([{ workers }]) => workers === 1)?.[1] ?? [];
  const rate = (/** @type {Round} */ round) => round.connectionsPerSecond;
  const latency = (/** @type {readonly Round[]} */ rounds, /** @type {"p50" | "p99"} */ what) =>
    summarize(rounds.map(({ latencyMicroseconds }) => latencyMicroseconds[what] / 1000));
  const note = [
    "Clients, door and server share the machine's cores.",
    ...limitNotes(all.map(({ generator }) => generator)),
    ...foreignNote(summarize(all.map(({ foreignShare }) => foreignShare))),
  ].join(" ");
  return {
    title: `workers of the door, ${clients.toLocaleString("en-US")} clients in a closed loop`,
    note,
    columns: [
      column("rate", "connections", { unit: "conn/s", better: "more", digits: 0, range: true }),
      column("toOne", "× one worker", { digits: 2 }),
      column("cpu", "door CPU", { unit: "µs/conn", better: "less", digits: 1 }),
      column("p50", "p50", { unit: "ms", better: "less", digits: 2 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 2 }),
      column("busiest", "busiest worker's share", { unit: "%", digits: 0 }),
      column("memory", "resident memory", { unit: "MB", better: "less", digits: 1 }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: [...measured].map(([{ workers, door }, rounds]) => {
      const resident = memory([door.pid]);
      return {
        ...{ name: `${workers}`, label: `${workers} worker${workers === 1 ? "" : "s"}`, router: true, ours: true },
        cells: {
          rate: summarize(rounds.map(rate)),
          toOne: ratio(rounds.map(rate), one.map(rate)),
          cpu: summarize(rounds.map(({ cpu }) => cpu)),
          ...{ p50: latency(rounds, "p50"), p99: latency(rounds, "p99") },
          busiest: summarize(rounds.map(({ busiest }) => busiest)),
          memory: resident === null ? null : resident.rss / 1e6,
          failed: rounds.flatMap(({ failed }) => Object.values(failed)).reduce((sum, times) => sum + times, 0),
        },
      };
    }),
  };
}
