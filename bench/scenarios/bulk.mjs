/**
 * Scenario `bulk`: what it costs to move bytes, and short connections, through the relay, beside other routers that do
 * nothing else; and that a socket handed over costs nobody anything any more.
 *
 * All contestants stay up through a case and take turns (A B C A B C …). Ratios are taken round by round.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atLeast, atMost, boundsText } from "../bound.mjs";
import { direct } from "../contestants/direct.mjs";
import { haproxy, haproxySplicing } from "../contestants/haproxy.mjs";
import { nginx } from "../contestants/nginx.mjs";
import { handedOver, relay } from "../contestants/relay.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { configurationsOf } from "../peers.mjs";
import { waitForAnswer } from "../probe.mjs";
import { cpuSecondsExactly } from "../process.mjs";
import { column, foreignNote, scaled, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";

/** More than any round can move: each client stays in its first connection, so that no round pays for connecting. */
const WITHOUT_END = 1e15;

const cases = /** @type {const} */ ([
  { name: "streams", title: "8 streams without end", clients: 8, answer: WITHOUT_END },
  { name: "short", title: "64 clients, a connection for each KiB", clients: 64, answer: 1024 },
]);

/** Other routers, as they are usually configured: the relay is to be at least as good as the best of them. */
const peers = [haproxy, nginx];

/** What handed-over streams may add to what door and relay use with nobody there: percent of a core. */
const ADDED_SHARE = 0.5;
/** Code is still being compiled in a process's first thousands of connections. Seconds. */
const FIRST_ROUND = 2;

export const description =
  "bytes/s and bytes per second of router CPU: direct, handed over, relay, HAProxy, nginx; short connections likewise";
export const defaults = {
  full: { rounds: 9, duration: 1.5 },
  quick: { rounds: 3, duration: 0.5 },
};
export const contestants = [direct, handedOver, relay, haproxy, haproxySplicing, nginx];
export const mostClients = Math.max(...cases.map(({ clients }) => clients));

/**
 * @typedef {typeof cases[number]} Case
 *
 * @typedef {object} Entry one contestant
 * @property {import("../contestants/contestant.mjs").Contestant} contestant
 * @property {import("../contestants/contestant.mjs").Running} running
 *
 * @typedef {Exclude<keyof Round, "generator">} Figure
 *
 * @typedef {object} Round of one contestant
 * @property {number} bytesPerSecond
 * @property {number | null} bytesPerCpuSecond of the router; null without one
 * @property {number} connectionsPerSecond
 * @property {number | null} connectionsPerCpuSecond
 * @property {number | null} routerShare percent of a core
 * @property {number | null} addedShare the same, above what it uses right after the round, with nobody there
 * @property {number} p99 milliseconds
 * @property {number} failed
 * @property {number} foreignShare of the machine, others'
 * @property {import("../load.mjs").GeneratorUse} generator
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "bulk.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const taking = contestants.filter(
    (contestant) => context.takesPart(contestant.name) && canTakePart(context, contestant),
  );
  const configurations = configurationsOf(taking);
  context.print(configurationsText(configurations));
  /** @type {ReturnType<typeof summarizeCase>[]} */
  const summaries = [];
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  for (const planned of cases) {
    const entries = await startAll(context, planned, taking);
    try {
      const measured = await measureCase(context, planned, hello, entries);
      if (measured.size > 0) {
        const summary = summarizeCase(planned, measured);
        const table = planned.name === "streams" ? streamsTable(summary) : shortTable(summary);
        summaries.push(summary);
        tables.push(table);
        context.print(tableText(table));
      }
    } finally {
      await Promise.all(entries.map(({ running }) => running.stop()));
    }
    if (context.signal.aborted) {
      break;
    }
  }
  const bounds = boundsOf(summaries);
  context.print(`${boundsText(bounds)}\n`);
  const { rounds, duration, warmUp, threads } = context;
  const settings = { rounds, secondsPerRound: duration, warmUpSeconds: warmUp, loadThreads: threads };
  return { settings, cases: summaries, ...uniform({ tables, bounds, configurations }) };
}

/** @param {import("../main.mjs").Context} context @param {import("../contestants/contestant.mjs").Contestant} contestant */
function canTakePart(context, contestant) {
  const missing = contestant.missing();
  if (missing !== null) {
    context.print(`${contestant.title} cannot take part: ${missing}\n\n`);
  }
  return missing === null;
}

/**
 * Starts those that can take part, sees each of them answer, and warms it up. One that fails is reported, and the rest
 * goes on.
 *
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {readonly import("../contestants/contestant.mjs").Contestant[]} taking
 * @returns {Promise<Entry[]>}
 */
async function startAll(context, planned, taking) {
  const { programs, signal } = context;
  /** @type {Entry[]} */
  const entries = [];
  for (const contestant of taking) {
    context.progress(`starting ${contestant.title}`);
    const folder = join(context.folder, `${planned.name}-${contestant.name}`);
    await mkdir(folder);
    /** @type {import("../contestants/contestant.mjs").Running | undefined} */
    let running;
    try {
      const receiver = ["-L", String(planned.answer)];
      running = await contestant.start({ programs, folder, names: 1, receiver, signal });
      await waitForAnswer(running.address, clientHello(nameOf(0), 517), 10_000, signal);
      entries.push({ contestant, running });
    } catch (error) {
      await running?.stop();
      if (signal.aborted) {
        break;
      }
      if (!(error instanceof BenchFailure)) {
        throw error;
      }
      context.print(`${contestant.title} cannot take part: ${error.message}\n\n`);
    }
  }
  return entries;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {string} hello path
 * @param {readonly Entry[]} entries
 * @returns {Promise<Map<import("../contestants/contestant.mjs").Contestant, Round[]>>} those with a round at least
 */
async function measureCase(context, planned, hello, entries) {
  const measured = new Map();
  // The first round only warms up.
  for (let round = 0; round <= context.rounds; round++) {
    for (const { contestant, running } of entries) {
      if (context.signal.aborted) {
        return measured;
      }
      context.progress(`${planned.title}: round ${round} of ${context.rounds}, ${contestant.title}`);
      const duration = round === 0 ? Math.max(FIRST_ROUND, context.duration) : context.duration;
      const result = await measureRound({ ...context, duration }, planned, hello, running, contestant === handedOver);
      if (result !== null && round > 0) {
        measured.set(contestant, [...(measured.get(contestant) ?? []), result]);
      }
    }
  }
  return measured;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {string} hello path
 * @param {import("../contestants/contestant.mjs").Running} running
 * @param {boolean} isHandedOver what it uses with nobody there is measured too
 * @returns {Promise<Round | null>} null if it was cut short
 */
async function measureRound(context, planned, hello, running, isHandedOver) {
  const routerPids = running.routerPids();
  const result = await runLoad({
    ...{ load: context.programs.load, address: running.address, hello, names: 1, signal: context.signal },
    ...{ clients: planned.clients, threads: context.threads, sources: context.limits.sources, whole: true },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: 0, pause: 0 },
    watch: [...routerPids, ...running.serverPids()],
  });
  if (result.interrupted && result.seconds < 0.2) {
    return null;
  }
  const sum = (/** @type {typeof result.watched} */ used) =>
    used.reduce((all, { cpuSeconds }) => all + (cpuSeconds ?? 0), 0);
  const router = sum(result.watched.filter(({ pid }) => routerPids.includes(pid)));
  const idle = isHandedOver ? await idleShare(routerPids, context) : null;
  const per = (/** @type {number} */ amount) => (router > 0 ? amount / router : null);
  const ours = result.ownCpuSeconds.user + result.ownCpuSeconds.system + sum(result.watched);
  return {
    bytesPerSecond: result.bytes / result.seconds,
    bytesPerCpuSecond: per(result.bytes),
    connectionsPerSecond: result.connectionsPerSecond,
    connectionsPerCpuSecond: per(result.completed),
    routerShare: routerPids.length === 0 ? null : (router / result.seconds) * 100,
    addedShare: idle === null ? null : (router / result.seconds) * 100 - idle,
    p99: result.latencyMicroseconds.p99 / 1000,
    failed: Object.values(result.failed).reduce((all, times) => all + times, 0),
    foreignShare: Math.max(0, result.machineBusySeconds - ours) / (result.seconds * context.cores),
    generator: result.generator,
  };
}

/** Percent of a core that processes use when nobody is there. @param {readonly number[]} pids @param {import("../main.mjs").Context} context */
async function idleShare(pids, { duration, signal }) {
  const used = () =>
    pids.reduce((/** @type {number | null} */ all, pid) => {
      const seconds = cpuSecondsExactly(pid);
      return all === null || seconds === null ? null : all + seconds;
    }, 0);
  const [before, begun] = [used(), performance.now()];
  await sleep(duration * 1000, undefined, { signal }).catch(() => {});
  const [after, ended] = [used(), performance.now()];
  return pids.length === 0 || before === null || after === null ? null : ((after - before) * 1e5) / (ended - begun);
}

/** @param {Case} planned @param {Map<import("../contestants/contestant.mjs").Contestant, Round[]>} measured */
function summarizeCase(planned, measured) {
  /** @param {import("../contestants/contestant.mjs").Contestant} contestant @param {Figure} key */
  const figures = (contestant, key) => (measured.get(contestant) ?? []).map((round) => round[key]);
  /** The best peer of each round. @param {Figure} key */
  const best = (key) => {
    const theirs = peers.map((peer) => figures(peer, key));
    return Array.from({ length: Math.max(...theirs.map(({ length }) => length)) }, (_, round) =>
      theirs.reduce((/** @type {number | null} */ most, rounds) => {
        const value = rounds[round] ?? null;
        return value !== null && (most === null || value > most) ? value : most;
      }, null),
    );
  };
  const rows = [...measured.keys()].map((contestant) => {
    const summary = (/** @type {Figure} */ key) => summarize(figures(contestant, key));
    const isPeer = peers.some((peer) => peer === contestant);
    const toBest = (/** @type {Figure} */ key) => (isPeer ? null : ratio(figures(contestant, key), best(key)));
    return {
      name: contestant.name,
      title: contestant.title,
      bytesPerSecond: summary("bytesPerSecond"),
      bytesPerSecondToDirect: ratio(figures(contestant, "bytesPerSecond"), figures(direct, "bytesPerSecond")),
      bytesPerCpuSecond: summary("bytesPerCpuSecond"),
      bytesPerCpuSecondToBest: toBest("bytesPerCpuSecond"),
      bytesPerCpuSecondToSplicing: ratio(
        figures(contestant, "bytesPerCpuSecond"),
        figures(haproxySplicing, "bytesPerCpuSecond"),
      ),
      connectionsPerSecond: summary("connectionsPerSecond"),
      connectionsPerSecondToBest: toBest("connectionsPerSecond"),
      connectionsPerCpuSecond: summary("connectionsPerCpuSecond"),
      connectionsPerCpuSecondToBest: toBest("connectionsPerCpuSecond"),
      routerShareOfCore: summary("routerShare"),
      addedShareOfCore: summary("addedShare"),
      p99Milliseconds: summary("p99"),
      failed: figures(contestant, "failed").reduce((/** @type {number} */ all, times) => all + (times ?? 0), 0),
    };
  });
  const all = [...measured.values()].flat();
  const foreign = summarize(all.map(({ foreignShare }) => foreignShare));
  const generatorLimits = limitNotes(all.map(({ generator }) => generator));
  return { ...planned, foreignCpuShare: foreign, generatorLimits, contestants: rows };
}

/** @typedef {ReturnType<typeof summarizeCase>} CaseSummary */

/**
 * @param {CaseSummary} summary
 * @param {import("../report/result.mjs").Column[]} columns
 * @param {(row: CaseSummary["contestants"][number]) => Record<string, import("../report/result.mjs").Cell>} cells
 * @returns {import("../report/result.mjs").Table}
 */
function tableOf({ title, contestants: measured, foreignCpuShare, generatorLimits }, columns, cells) {
  const note = [...generatorLimits, ...foreignNote(foreignCpuShare)].join(" ");
  return {
    title,
    ...(note === "" ? {} : { note }),
    columns,
    rows: measured.map((row) => ({
      ...{ name: row.name, label: row.title },
      ...{ router: row.name !== direct.name, ours: row.name === relay.name || row.name === handedOver.name },
      cells: cells(row),
    })),
  };
}

/** @param {CaseSummary} summary */
function streamsTable(summary) {
  const columns = [
    column("rate", "bytes", { unit: "GB/s", better: "more", digits: 2, range: true }),
    column("rateToDirect", "× direct", { digits: 3 }),
    column("cpu", "router CPU", { unit: "% of a core", better: "less", digits: 2, range: true }),
    column("perCpu", "per second of CPU", { unit: "GB", better: "more", digits: 2, range: true }),
    column("perCpuToBest", "× best peer", { digits: 2 }),
    column("failed", "failed", { better: "less" }),
  ];
  return tableOf(summary, columns, (row) => {
    // Of next to no CPU time a rate says nothing.
    const isFree = (row.routerShareOfCore?.median ?? 0) < 5;
    return {
      rate: scaled(row.bytesPerSecond, 1e-9),
      rateToDirect: row.bytesPerSecondToDirect,
      cpu: row.routerShareOfCore,
      perCpu: isFree ? null : scaled(row.bytesPerCpuSecond, 1e-9),
      perCpuToBest: isFree ? null : row.bytesPerCpuSecondToBest,
      failed: row.failed,
    };
  });
}

/** @param {CaseSummary} summary */
function shortTable(summary) {
  const columns = [
    column("rate", "connections", { unit: "conn/s", better: "more", digits: 0, range: true }),
    column("rateToBest", "× best peer", { digits: 2 }),
    column("perCpu", "per second of CPU", { unit: "conn", better: "more", digits: 0, range: true }),
    column("perCpuToBest", "× best peer", { digits: 2 }),
    column("cpu", "router CPU", { unit: "% of a core", digits: 0, range: true }),
    column("p99", "p99", { unit: "ms", better: "less", digits: 1 }),
    column("failed", "failed", { better: "less" }),
  ];
  return tableOf(summary, columns, (row) => ({
    rate: row.connectionsPerSecond,
    rateToBest: row.connectionsPerSecondToBest,
    perCpu: row.connectionsPerCpuSecond,
    perCpuToBest: row.connectionsPerCpuSecondToBest,
    cpu: row.routerShareOfCore,
    p99: row.p99Milliseconds,
    failed: row.failed,
  }));
}

/** @param {readonly ReturnType<typeof summarizeCase>[]} summaries */
function boundsOf(summaries) {
  const row = (
    /** @type {string} */ planned,
    /** @type {import("../contestants/contestant.mjs").Contestant} */ { name },
  ) => summaries.find((summary) => summary.name === planned)?.contestants.find((each) => each.name === name);
  const streams = row("streams", relay);
  const short = row("short", relay);
  const handed = row("streams", handedOver);
  return [
    atLeast("relay / best peer, bytes per second of router CPU", streams?.bytesPerCpuSecondToBest?.median, 1, ""),
    atLeast("relay / HAProxy told to splice, likewise", streams?.bytesPerCpuSecondToSplicing?.median, 1, ""),
    atLeast(
      "relay / best peer, connections per second of router CPU",
      short?.connectionsPerCpuSecondToBest?.median,
      1,
      "",
    ),
    atLeast("relay / best peer, connections per second", short?.connectionsPerSecondToBest?.median, 1, ""),
    atLeast("handed over / direct, bytes per second", handed?.bytesPerSecondToDirect?.median, 0.99, ""),
    atMost("door and relay, for handed-over streams", handed?.addedShareOfCore?.median, ADDED_SHARE, " % of a core"),
  ];
}
