/**
 * Scenario `slow`: what ten thousand clients that never complete their hello cost the others, and the door.
 *
 * Two doors with the same configuration stay up; one of them has the slow clients. Rounds of normal clients alternate
 * between them. While the other door is measured the slow clients are stopped (SIGSTOP): they keep their connections and
 * send nothing.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, boundsText } from "../bound.mjs";
import { startReceiver } from "../contestants/contestant.mjs";
import { Door } from "../door.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { Child, cpuSecondsExactly, memory } from "../process.mjs";
import { column, scaled, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";
import { count, figure } from "../table.mjs";

const SLOW = 10_000;
const NORMAL = 64;
/** Descriptors that the door keeps for itself. */
const RESERVED = 512;
/** How much longer the slowest hundredth of the others may wait. */
const BOUND = 2;

export const description = "10,000 clients that send nothing or a byte a second: the others' latency, memory, CPU";
export const defaults = {
  full: { rounds: 9, duration: 2 },
  quick: { rounds: 3, duration: 0.7 },
};
/** @type {{ name: string }[]} */
export const contestants = [];
export const mostClients = SLOW + NORMAL + RESERVED;
export const fewestClients = 100 + NORMAL + RESERVED;

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const { folder, programs, signal, limits } = context;
  const slowClients = Math.min(SLOW, limits.clients - NORMAL - RESERVED);
  const hello = join(folder, "slow.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  context.progress("starting two doors");
  const { receiver, path } = await startReceiver({ programs, folder, names: 1, signal });
  const configuration = {
    workers: 1,
    timeouts: { hello: "10m" },
    // Without many addresses to come from they are all one client.
    limits: { waiting: slowClients, ...(limits.sources === 0 && { waitingPerClient: slowClients }) },
    backends: { app: { handoff: path } },
    routes: { [nameOf(0)]: "app" },
  };
  const without = await Door.start({ folder, programs, signal, configuration, name: "without" });
  const beside = await Door.start({ folder, programs, signal, configuration, name: "with" });
  /** @type {Child | undefined} */
  let slow;
  try {
    await Promise.all([without, beside].map((door) => door.instances("app", 1)));
    // Before it has done anything: what it grows by is the most that the slow clients can have to do with.
    const before = memory([beside.pid]);

    context.progress(`opening ${slowClients} connections`);
    const sources = limits.sources > 0 ? 1000 : 0;
    const options = ["-f", hello, "-c", String(slowClients), "-s", String(sources)];
    slow = new Child("The slow clients", programs.slow, [...options, beside.address]);
    await slow.find((line) => line.ready, 60_000, signal);
    await beside.until(`${slowClients} clients to wait`, ({ workers }) => workers[0].waiting === slowClients);
    const alone = await aloneWith(beside, slow, context.quick ? 2 : 10, signal);
    const after = memory([beside.pid]);
    // Both have compiled their code and grown their heap before anything is compared.
    await round(context, without, hello);
    await round(context, beside, hello);

    /** @type {{ without: Round[], with: Round[] }} */
    const rounds = { without: [], with: [] };
    for (let i = 0; i < context.rounds && !signal.aborted; i++) {
      context.progress(`round ${i + 1} of ${context.rounds}`);
      slow.signal("SIGSTOP");
      rounds.without.push(await round(context, without, hello));
      slow.signal("SIGCONT");
      await sleep(100);
      rounds.with.push(await round(context, beside, hello));
    }
    const { workers, counters } = await beside.status();
    slow.signal("SIGTERM");
    const { lost } = await slow.find((line) => ("lost" in line ? line : undefined), 5000);

    const results = summarizeAll({ slowClients, rounds, before, after, alone, lost, workers, counters });
    const table = tableOf(results);
    context.print(`${tableText(table)}${boundsText(results.bounds)}\n`);
    return { ...results, ...uniform({ tables: [table], bounds: results.bounds }) };
  } finally {
    slow?.signal("SIGCONT");
    await slow?.stop();
    await Promise.all([without.stop(), beside.stop()]);
    await receiver.stop();
  }
}

/** @typedef {import("../load.mjs").LoadResult & { door: number | null }} Round */

/** @param {import("../main.mjs").Context} context @param {Door} door @param {string} hello @returns {Promise<Round>} */
async function round(context, door, hello) {
  const { pid, address } = door;
  const result = await runLoad({
    ...{ load: context.programs.load, address, hello, names: 1, signal: context.signal },
    ...{ clients: NORMAL, threads: context.threads, sources: context.limits.sources },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: 0, pause: 0, watch: [pid] },
  });
  return { ...result, door: perConnection(result, [pid], "cpuSeconds") };
}

/** What the slow clients alone cost: of the door and of the program that they run in, percent of a core. @param {Door} door @param {Child} slow @param {number} seconds @param {AbortSignal} signal */
async function aloneWith(door, slow, seconds, signal) {
  const look = () => [door.pid, slow.pid].map(cpuSecondsExactly);
  const began = performance.now();
  const from = look();
  await sleep(seconds * 1000, undefined, { signal }).catch(() => {});
  const to = look();
  const elapsed = (performance.now() - began) / 1000;
  const [ofDoor, ofClients] = to.map((end, i) => {
    const start = from[i];
    return end === null || start === null ? null : ((end - start) / elapsed) * 100;
  });
  return { seconds: elapsed, doorPercent: ofDoor, clientsPercent: ofClients };
}

/** @param {any} measured */
function summarizeAll({ slowClients, rounds, before, after, alone, lost, workers, counters }) {
  const of = (/** @type {"with" | "without"} */ side, /** @type {(round: Round) => number | null} */ choose) =>
    rounds[side].map(choose);
  const sides = /** @type {const} */ (["without", "with"]).map((side) => ({
    side,
    connectionsPerSecond: summarize(of(side, (each) => each.connectionsPerSecond)),
    doorCpuMicroseconds: summarize(of(side, (each) => (each.door === null ? null : each.door * 1e6))),
    p50: summarize(of(side, (each) => each.latencyMicroseconds.p50)),
    p99: summarize(of(side, (each) => each.latencyMicroseconds.p99)),
    max: summarize(of(side, (each) => each.latencyMicroseconds.max)),
    failed: of(side, (each) => Object.values(each.failed).reduce((sum, times) => sum + times, 0)).reduce(
      (/** @type {number} */ sum, /** @type {number | null} */ times) => sum + (times ?? 0),
      0,
    ),
  }));
  const p99 = ratio(
    of("with", (each) => each.latencyMicroseconds.p99),
    of("without", (each) => each.latencyMicroseconds.p99),
  );
  const p50 = ratio(
    of("with", (each) => each.latencyMicroseconds.p50),
    of("without", (each) => each.latencyMicroseconds.p50),
  );
  const bytes = before === null || after === null ? null : (after.rss - before.rss) / slowClients;
  return {
    ...{ slowClients, normalClients: NORMAL, sides, p50Ratio: p50, p99Ratio: p99 },
    generatorLimits: limitNotes([...rounds.without, ...rounds.with].map(({ generator }) => generator)),
    ...{ bytesPerSlowClient: bytes, alone, slowLost: lost, waitingAtEnd: workers[0].waiting, counters },
    bounds: [
      atMost("p99 with the slow clients, as a multiple of without", p99?.median, BOUND, ""),
      atMost("slow clients that were closed", lost, 0, ""),
      atMost("failed connections of the others", sides[0].failed + sides[1].failed, 0, ""),
    ],
  };
}

/** @param {ReturnType<typeof summarizeAll>} results @returns {import("../report/result.mjs").Table} */
function tableOf(results) {
  const { slowClients, sides, bytesPerSlowClient, alone, p50Ratio, p99Ratio, waitingAtEnd, generatorLimits } = results;
  const milliseconds = (/** @type {import("../stats.mjs").Summary | null} */ latency) => scaled(latency, 1 / 1000);
  return {
    title: "64 clients in a closed loop beside slow ones",
    note: [
      `The door's memory: ${figure(bytesPerSlowClient, 0)} bytes a slow client; it had ${count(waitingAtEnd)} of them at the end.`,
      `With them alone, over ${figure(alone.seconds, 0)} s, the door took ${figure(alone.doorPercent)} % of a core, the clients themselves ${figure(alone.clientsPercent)} %.`,
      ...generatorLimits,
    ].join(" "),
    columns: [
      column("rate", "connections", { unit: "conn/s", better: "more", digits: 0 }),
      column("door", "door CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
      column("p50", "p50", { unit: "ms", better: "less", digits: 2, range: true }),
      column("p50ToWithout", "× without", { digits: 2 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 2, range: true }),
      column("p99ToWithout", "× without", { digits: 2 }),
      column("longest", "longest", { unit: "ms", digits: 2, range: true }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: sides.map((row) => ({
      name: row.side,
      label: row.side === "with" ? `beside ${count(slowClients)} slow ones` : "without slow ones",
      router: row.side === "with",
      ours: true,
      cells: {
        rate: row.connectionsPerSecond,
        door: row.doorCpuMicroseconds,
        ...{ p50: milliseconds(row.p50), p50ToWithout: row.side === "with" ? p50Ratio : null },
        ...{ p99: milliseconds(row.p99), p99ToWithout: row.side === "with" ? p99Ratio : null },
        ...{ longest: milliseconds(row.max), failed: row.failed },
      },
    })),
  };
}
