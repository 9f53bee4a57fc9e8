/**
 * Scenario `idle`: what a door takes that has nothing to do: CPU, memory, and how often it is woken; and what established
 * connections take up, beside other routers (established.mjs).
 *
 * The door has all that a service has: a connected backend, a folder of instances, a control socket, metrics, and a service
 * manager whose watchdog it feeds (WatchdogSec=30: sd_watchdog_enabled(3)).
 */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, boundsText } from "../bound.mjs";
import { startReceiver } from "../contestants/contestant.mjs";
import { Door } from "../door.mjs";
import * as establishedConnections from "../established.mjs";
import { nameOf } from "../names.mjs";
import { cpuSecondsExactly, memory, sleepsOfThreads } from "../process.mjs";
import { column, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { summarize } from "../stats.mjs";
import { figure } from "../table.mjs";

/** Percent of a core. */
const BOUND = 0.2;
const WATCHDOG_MICROSECONDS = 30_000_000;
const WORKERS = [1, 2];
/** V8 collects the garbage of the start once, some 10 s after it. Seconds. */
const SETTLING = 20;

/** For --only. */
const UNUSED = "unused";

export const description =
  "an idle door: CPU, memory, wake-ups; 10,000 established connections: memory and descriptors, beside other routers";
export const defaults = {
  full: { rounds: 3, duration: 10 },
  quick: { rounds: 1, duration: 4 },
};
export const contestants = [{ name: UNUSED }, ...establishedConnections.contestants];
export const mostClients = establishedConnections.ESTABLISHED;
export const routers = establishedConnections.contestants;

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const unused = context.takesPart(UNUSED) ? await unusedDoors(context) : { doors: [], tables: [], bounds: [] };
  const established =
    establishedConnections.contestants.some(({ name }) => context.takesPart(name)) && !context.signal.aborted
      ? await establishedConnections.established(context)
      : { tables: [], bounds: [], configurations: [] };
  const { configurations } = established;
  context.print(
    `${configurationsText(configurations)}${established.tables.map(tableText).join("")}${boundsText(established.bounds)}\n`,
  );
  return {
    ...{ secondsPerRound: context.duration, doors: unused.doors },
    ...uniform({
      tables: [...unused.tables, ...established.tables],
      bounds: [...unused.bounds, ...established.bounds],
      configurations,
    }),
  };
}

/** @param {import("../main.mjs").Context} context */
async function unusedDoors(context) {
  const { native } = await import("../../dist/native/addon.js");
  const { folder, programs, signal } = context;
  const { receiver, path } = await startReceiver({ programs, folder, names: 1, signal });
  const pool = join(folder, "pool/");
  await mkdir(pool, { mode: 0o755 });
  const doors = [];
  /** @type {number[]} */
  const managers = [];
  try {
    for (const workers of WORKERS) {
      context.progress(`starting a door with ${workers} workers`);
      const manager = join(folder, `notify-${workers}`);
      managers.push(native.listenUnix(manager, "dgram", { backlog: 0 }));
      const configuration = {
        workers,
        metrics: { address: "127.0.0.1:0" },
        backends: { app: { handoff: path }, pool: { handoff: pool } },
        routes: { [nameOf(0)]: "app", "pool.bench.example": "pool" },
      };
      const environment = { NOTIFY_SOCKET: manager, WATCHDOG_USEC: String(WATCHDOG_MICROSECONDS) };
      const door = await Door.start({
        ...{ folder, programs, signal, configuration, environment, name: `idle-${workers}` },
      });
      await door.instances("app", 1);
      doors.push({ workers, door });
    }
    context.progress("letting them settle");
    await sleep(SETTLING * 1000, undefined, { signal }).catch(() => {});
    /** @type {Map<number, Look[]>} */
    const looks = new Map(WORKERS.map((workers) => [workers, []]));
    for (let i = 0; i < context.rounds && !signal.aborted; i++) {
      context.progress(`round ${i + 1} of ${context.rounds}`);
      const measured = await Promise.all(doors.map(({ door }) => look(door.pid, context.duration, signal)));
      doors.forEach(({ workers }, index) => {
        looks.get(workers)?.push(measured[index]);
      });
    }
    const rows = doors.map(({ workers, door }) => summarizeDoor(workers, looks.get(workers) ?? [], door.pid));
    const bounds = rows.map(({ workers, percent }) =>
      atMost(`CPU with ${workers} worker${workers === 1 ? "" : "s"}`, percent?.median, BOUND, " % of a core"),
    );
    const table = tableOf(rows, context.duration);
    context.print(`${tableText(table)}${boundsText(bounds)}\n`);
    return { doors: rows, tables: [table], bounds };
  } finally {
    await Promise.all(doors.map(({ door }) => door.stop()));
    await receiver.stop();
    for (const manager of managers) {
      native.close(manager);
    }
  }
}

/** @typedef {{ percent: number | null, wakes: number, threads: { name: string, wakes: number }[] }} Look */

/** @param {number} pid @param {number} seconds @param {AbortSignal} signal @returns {Promise<Look>} */
async function look(pid, seconds, signal) {
  const began = performance.now();
  const cpu = cpuSecondsExactly(pid);
  const sleeps = sleepsOfThreads(pid);
  await sleep(seconds * 1000, undefined, { signal }).catch(() => {});
  const elapsed = (performance.now() - began) / 1000;
  const cpuAtEnd = cpuSecondsExactly(pid);
  const threads = [...sleepsOfThreads(pid)].map(([thread, at]) => ({
    name: at.name,
    wakes: (at.sleeps - (sleeps.get(thread)?.sleeps ?? 0)) / elapsed,
  }));
  return {
    percent: cpu === null || cpuAtEnd === null ? null : ((cpuAtEnd - cpu) / elapsed) * 100,
    wakes: threads.reduce((sum, { wakes }) => sum + wakes, 0),
    threads,
  };
}

/** @param {number} workers @param {readonly Look[]} looks @param {number} pid */
function summarizeDoor(workers, looks, pid) {
  const used = memory([pid]);
  const busiest = [...(looks.at(-1)?.threads ?? [])].filter(({ wakes }) => wakes > 0).sort((a, b) => b.wakes - a.wakes);
  return {
    workers,
    percent: summarize(looks.map(({ percent }) => percent)),
    wakesPerSecond: summarize(looks.map(({ wakes }) => wakes)),
    threads: busiest,
    memory: used,
  };
}

/** @param {readonly ReturnType<typeof summarizeDoor>[]} rows @param {number} seconds @returns {import("../report/result.mjs").Table} */
function tableOf(rows, seconds) {
  const megabytes = (/** @type {number | undefined} */ bytes) => (bytes === undefined ? null : bytes / 1e6);
  return {
    title: "a door with nothing to do",
    note: `Looked at for ${seconds} s at a time.`,
    columns: [
      column("cpu", "CPU", { unit: "% of a core", better: "less", digits: 3, range: true }),
      column("wakes", "wakes/s", { better: "less", digits: 1, range: true }),
      column("rss", "RSS", { unit: "MB", better: "less", digits: 1 }),
      column("pss", "PSS", { unit: "MB", digits: 1 }),
      column("threads", "wakes/s by thread"),
    ],
    rows: rows.map(({ workers, percent, wakesPerSecond, memory: used, threads }) => ({
      ...{ name: String(workers), label: `${workers} worker${workers === 1 ? "" : "s"}`, ours: true },
      cells: {
        ...{ cpu: percent, wakes: wakesPerSecond, rss: megabytes(used?.rss), pss: megabytes(used?.pss) },
        threads: threads
          .slice(0, 4)
          .map(({ name, wakes }) => `${name} ${figure(wakes, 1)}`)
          .join(", "),
      },
    })),
  };
}
