/**
 * Scenario `handoff`: what handing a connection over costs the router, and whether more connections a second get
 * through than a server takes that accepts by itself.
 *
 * All contestants stay up through a case and take turns (A B C A B C …), so that what disturbs the machine for a while
 * disturbs all of them. Ratios are taken round by round.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { atLeast, atMost, boundsText } from "../bound.mjs";
import { direct } from "../contestants/direct.mjs";
import { door } from "../contestants/door.mjs";
import { floor, floorBatched } from "../contestants/floor.mjs";
import { haproxy } from "../contestants/haproxy.mjs";
import { nginxShort } from "../contestants/nginx.mjs";
import { sniRouterPass } from "../contestants/sni-router.mjs";
import { sniproxy } from "../contestants/sniproxy.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameOf, nameTemplate } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { waitForAnswer } from "../probe.mjs";
import { memory } from "../process.mjs";
import { column, foreignNote, scaled, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";
import { count } from "../table.mjs";

/** A pause that a waiting router sees as one: the second segment finds it in epoll_wait. Microseconds. */
const PAUSE_BETWEEN_SEGMENTS = 1000;

const hellos = {
  one: { title: "517 bytes, one segment", length: 517, firstSegment: 0 },
  two: { title: "1,800 bytes, two segments", length: 1800, firstSegment: 1400 },
};

/** @typedef {{ hello: keyof typeof hellos, clients: number }} Case */

/** @type {{ cases: Case[], names: number[] }} */
const full = {
  cases: [
    { hello: "one", clients: 64 },
    { hello: "one", clients: 1024 },
    { hello: "two", clients: 64 },
    { hello: "two", clients: 1024 },
  ],
  names: [1, 100_000, 1_000_000],
};

/** @type {typeof full} */
const quick = {
  cases: [
    { hello: "one", clients: 64 },
    { hello: "two", clients: 64 },
  ],
  names: [1, 100_000],
};

/** What the door's CPU per connection is held against, beside the floor's. @type {Record<string, number>} */
const mostOf = { [sniRouterPass.name]: 0.42, [haproxy.name]: 0.3, [nginxShort.name]: 0.3, [sniproxy.name]: 0.3 };

export const description =
  "router CPU per connection, connections/s and latency: the door, the C floor, a server accepting by itself, other routers";
export const defaults = {
  full: { rounds: 7, duration: 1.5 },
  quick: { rounds: 3, duration: 0.5 },
};
export const contestants = [floor, floorBatched, door, direct, ...peers];
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;
export const mostClients = Math.max(...full.cases.map(({ clients }) => clients));

/**
 * @typedef {object} Entry one contestant with so many names
 * @property {import("../contestants/contestant.mjs").Contestant} contestant
 * @property {string} key for the results: "floor", "door 100000"
 * @property {string} title
 * @property {number} names in the load
 * @property {import("../contestants/contestant.mjs").Running} running
 * @property {import("../process.mjs").Memory | null} idle before the first connection
 *
 * @typedef {import("../load.mjs").LoadResult & {
 *   routerMicroseconds: number | null, routerSleeps: number | null, serverMicroseconds: number | null, loadMicroseconds: number | null,
 *   foreignShare: number }} Round
 */

/**
 * @param {import("../main.mjs").Context} context
 * @returns {Promise<import("../report/result.mjs").Results>} the results, for JSON; all that there is if the run was interrupted
 */
export async function run(context) {
  const plan = context.quick ? quick : full;
  const files = await writeHellos(context.folder);
  const results = {
    settings: settings(context),
    cases: /** @type {ReturnType<typeof summarizeCase>[]} */ ([]),
    memory: /** @type {ReturnType<typeof memoryOf>} */ ([]),
  };
  const tables = /** @type {import("../report/result.mjs").Table[]} */ ([]);
  const show = (/** @type {import("../report/result.mjs").Table} */ table) => {
    tables.push(table);
    context.print(tableText(table));
  };
  const entries = await startAll(context, plan, files);
  if (entries.length === 0) {
    return { ...results, ...uniform({}) };
  }
  const configurations = configurationsOf(entries.map(({ contestant }) => contestant));
  context.print(configurationsText(configurations));
  try {
    for (const planned of plan.cases) {
      const clients = Math.min(planned.clients, context.limits.clients);
      const measured = await measureCase(context, { ...planned, clients }, files[planned.hello], entries);
      if (measured.size > 0) {
        const summary = summarizeCase({ ...planned, clients }, entries, measured);
        results.cases.push(summary);
        show(caseTable(summary));
      }
      if (context.signal.aborted) {
        break;
      }
    }
    results.memory.push(...entries.flatMap(memoryOf));
    show(memoryTable(results.memory));
  } finally {
    await Promise.all(entries.map(({ running }) => running.stop()));
  }
  const bounds = boundsOf(results);
  context.print(`${boundsText(bounds)}\n`);
  return { ...results, ...uniform({ tables, bounds, configurations }) };
}

/** @param {import("../main.mjs").Context} context */
function settings({ rounds, duration, warmUp, threads }) {
  return {
    rounds,
    secondsPerRound: duration,
    warmUpSeconds: warmUp,
    loadThreads: threads,
    pauseBetweenSegmentsMicroseconds: PAUSE_BETWEEN_SEGMENTS,
  };
}

/** @param {string} folder @returns {Promise<Record<keyof typeof hellos, string>>} */
async function writeHellos(folder) {
  const files = { one: join(folder, "one.hello"), two: join(folder, "two.hello") };
  await writeFile(files.one, clientHello(nameTemplate, hellos.one.length));
  await writeFile(files.two, clientHello(nameTemplate, hellos.two.length));
  return files;
}

/**
 * Starts all that can take part, sees each of them answer, and warms it up. One that fails is reported, and the rest
 * goes on.
 *
 * @param {import("../main.mjs").Context} context
 * @param {typeof full} plan
 * @param {Record<keyof typeof hellos, string>} files
 * @returns {Promise<Entry[]>}
 */
async function startAll(context, plan, files) {
  const hello = clientHello(nameOf(0), hellos.one.length);
  const mostNames = Math.max(...plan.names);
  /** @type {Entry[]} */
  const entries = [];
  for (const contestant of contestants.filter(({ name }) => context.takesPart(name))) {
    const missing = contestant.missing();
    if (missing !== null) {
      context.print(`${contestant.title} cannot take part: ${missing}\n\n`);
      continue;
    }
    // What looks no names up is measured once, beside all the others, with the load of the most names; another project's
    // router with one, as the scenario for names is `names`.
    const own = contestant.peer === undefined && contestant.looksUpNames;
    for (const names of own ? plan.names : [contestant.peer === undefined ? mostNames : 1]) {
      const title = own ? `${contestant.title}, ${count(names)} name${names === 1 ? "" : "s"}` : contestant.title;
      const key = own ? `${contestant.name} ${names}` : contestant.name;
      context.progress(`starting ${title}`);
      const folder = join(context.folder, key.replace(" ", "-"));
      await mkdir(folder);
      /** @type {import("../contestants/contestant.mjs").Running | undefined} */
      let running;
      try {
        running = await contestant.start({ programs: context.programs, folder, names, signal: context.signal });
        await waitForAnswer(running.address, hello, 10_000, context.signal);
        const entry = { contestant, key, title, names, running, idle: memory(running.routerPids()) };
        // A daemon runs for weeks: its first second, in which code is still being compiled, is not what is asked for.
        await measureRound(context, plan.cases[0], files[plan.cases[0].hello], entry);
        entries.push(entry);
      } catch (error) {
        await running?.stop();
        if (context.signal.aborted) {
          await Promise.all(entries.map((entry) => entry.running.stop()));
          return [];
        }
        if (!(error instanceof BenchFailure)) {
          throw error;
        }
        context.print(`${title} cannot take part: ${error.message}\n\n`);
      }
    }
  }
  return entries;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {string} hello path
 * @param {readonly Entry[]} entries
 * @returns {Promise<Map<Entry, Round[]>>} those with a round at least
 */
async function measureCase(context, planned, hello, entries) {
  /** @type {Map<Entry, Round[]>} */
  const measured = new Map();
  for (let round = 0; round < context.rounds; round++) {
    for (const entry of entries) {
      if (context.signal.aborted) {
        return measured;
      }
      context.progress(`${caseTitle(planned)}: round ${round + 1} of ${context.rounds}, ${entry.title}`);
      const result = await measureRound(context, planned, hello, entry);
      // A round that was cut short is as good as any if it lasted a while.
      if (!result.interrupted || result.seconds > 0.2) {
        measured.set(entry, [...(measured.get(entry) ?? []), result]);
      }
    }
  }
  return measured;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {string} hello path
 * @param {Entry} entry
 * @returns {Promise<Round>}
 */
async function measureRound(context, planned, hello, entry) {
  const routerPids = entry.running.routerPids();
  const serverPids = entry.running.serverPids();
  const { firstSegment } = hellos[planned.hello];
  const result = await runLoad({
    ...{
      load: context.programs.load,
      address: entry.running.address,
      hello,
      names: entry.names,
      signal: context.signal,
    },
    ...{ clients: planned.clients, threads: context.threads, sources: context.limits.sources },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment, pause: PAUSE_BETWEEN_SEGMENTS },
    watch: [...routerPids, ...serverPids],
  });
  const own = result.ownCpuSeconds.user + result.ownCpuSeconds.system;
  const watched = result.watched.reduce((sum, { cpuSeconds }) => sum + (cpuSeconds ?? 0), 0);
  const foreign = Math.max(0, result.machineBusySeconds - own - watched);
  return {
    ...result,
    routerMicroseconds: microseconds(perConnection(result, routerPids, "cpuSeconds")),
    routerSleeps: perConnection(result, routerPids, "sleeps"),
    serverMicroseconds: microseconds(perConnection(result, serverPids, "cpuSeconds")),
    loadMicroseconds: result.completed === 0 ? null : (own * 1e6) / result.completed,
    foreignShare: foreign / (result.seconds * context.cores),
  };
}

/** @param {number | null} seconds */
const microseconds = (seconds) => (seconds === null ? null : seconds * 1e6);

/** @param {Case} planned @param {readonly Entry[]} entries @param {Map<Entry, Round[]>} measured */
function summarizeCase(planned, entries, measured) {
  /** @param {Entry | undefined} entry @param {(round: Round) => number | null} choose */
  const figures = (entry, choose) => (entry === undefined ? [] : (measured.get(entry) ?? [])).map(choose);
  const floorEntry = entries.find(({ contestant }) => contestant === floor);
  const directEntry = entries.find(({ contestant }) => contestant === direct);
  const fewestNames = entries.find(({ contestant }) => contestant === door);
  const router = (/** @type {Round} */ round) => round.routerMicroseconds;
  const server = (/** @type {Round} */ round) => round.serverMicroseconds;
  const rate = (/** @type {Round} */ round) => round.connectionsPerSecond;
  const all = [...measured.values()].flat();
  return {
    hello: hellos[planned.hello].title,
    helloBytes: hellos[planned.hello].length,
    segments: hellos[planned.hello].firstSegment > 0 ? 2 : 1,
    clients: planned.clients,
    foreignCpuShare: summarize(all.map(({ foreignShare }) => foreignShare)),
    generatorLimits: limitNotes(all.map(({ generator }) => generator)),
    contestants: [...measured.keys()].map((entry) => ({
      key: entry.key,
      title: entry.title,
      names: entry.names,
      routerCpuMicroseconds: summarize(figures(entry, router)),
      routerCpuToFloor: ratio(figures(entry, router), figures(floorEntry, router)),
      // Of each that a bound is about.
      routerCpuTo: Object.fromEntries(
        Object.keys(mostOf).map((name) => [
          name,
          ratio(
            figures(entry, router),
            figures(
              entries.find(({ contestant }) => contestant.name === name),
              router,
            ),
          ),
        ]),
      ),
      routerCpuToFewestNames:
        entry.contestant === door ? ratio(figures(entry, router), figures(fewestNames, router)) : null,
      routerWakesPerConnection: summarize(figures(entry, (round) => round.routerSleeps)),
      serverCpuMicroseconds: summarize(figures(entry, server)),
      serverCpuToDirect: ratio(figures(entry, server), figures(directEntry, server)),
      loadCpuMicroseconds: summarize(figures(entry, (round) => round.loadMicroseconds)),
      connectionsPerSecond: summarize(figures(entry, rate)),
      rateToDirect: ratio(figures(entry, rate), figures(directEntry, rate)),
      latencyMicroseconds: {
        p50: summarize(figures(entry, (round) => round.latencyMicroseconds.p50)),
        p99: summarize(figures(entry, (round) => round.latencyMicroseconds.p99)),
        p999: summarize(figures(entry, (round) => round.latencyMicroseconds.p999)),
        max: summarize(figures(entry, (round) => round.latencyMicroseconds.max)),
      },
      completed: (measured.get(entry) ?? []).reduce((sum, { completed }) => sum + completed, 0),
      failed: sumFailures(measured.get(entry) ?? []),
    })),
  };
}

/** @param {readonly Round[]} rounds @returns {Record<string, number>} kinds that occurred */
function sumFailures(rounds) {
  /** @type {Record<string, number>} */
  const sums = {};
  for (const { failed } of rounds) {
    for (const [kind, times] of Object.entries(failed)) {
      if (times > 0) {
        sums[kind] = (sums[kind] ?? 0) + times;
      }
    }
  }
  return sums;
}

/** @param {Case} planned */
function caseTitle({ hello, clients }) {
  return `hello of ${hellos[hello].title}, ${count(clients)} clients`;
}

/** @param {ReturnType<typeof summarizeCase>} summary @returns {import("../report/result.mjs").Table} */
function caseTable(summary) {
  const milliseconds = (/** @type {import("../stats.mjs").Summary | null} */ latency) => scaled(latency, 1 / 1000);
  const rows = summary.contestants.map((row) => ({
    ...{ name: row.key, label: row.title, ours: row.key.startsWith(door.name) },
    router: ![floor, floorBatched, direct].some(({ name }) => name === row.key),
    cells: {
      router: row.routerCpuMicroseconds,
      toFloor: row.routerCpuToFloor,
      wakes: row.routerWakesPerConnection,
      server: row.serverCpuMicroseconds,
      serverToDirect: row.serverCpuToDirect,
      clients: row.loadCpuMicroseconds,
      rate: row.connectionsPerSecond,
      rateToDirect: row.rateToDirect,
      p50: milliseconds(row.latencyMicroseconds.p50),
      p99: milliseconds(row.latencyMicroseconds.p99),
      p999: milliseconds(row.latencyMicroseconds.p999),
      failed: Object.values(row.failed).reduce((sum, times) => sum + times, 0),
    },
  }));
  const failures = summary.contestants
    .filter(({ failed }) => Object.keys(failed).length > 0)
    .map(({ title, failed }) => `${title} failed: ${failedText(failed)}.`);
  const note = [...failures, ...summary.generatorLimits, ...foreignNote(summary.foreignCpuShare)].join(" ");
  return {
    title: `hello of ${summary.hello}, ${count(summary.clients)} clients`,
    ...(note === "" ? {} : { note }),
    columns: [
      column("router", "router CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
      column("toFloor", "× floor", { digits: 2 }),
      column("wakes", "wakes/conn", { digits: 2 }),
      column("server", "server", { unit: "µs/conn", digits: 1 }),
      column("serverToDirect", "× direct", { digits: 2 }),
      column("clients", "clients", { unit: "µs/conn", digits: 1 }),
      column("rate", "connections", { unit: "conn/s", better: "more", digits: 0 }),
      column("rateToDirect", "× direct", { digits: 2 }),
      column("p50", "p50", { unit: "ms", better: "less", digits: 1 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 1 }),
      column("p999", "p99.9", { unit: "ms", digits: 1 }),
      column("failed", "failed", { better: "less" }),
    ],
    rows,
  };
}

/** @param {Record<string, number>} failed */
function failedText(failed) {
  return Object.entries(failed)
    .map(([kind, times]) => `${count(times)} ${kind}`)
    .join(", ");
}

/** @param {Entry} entry */
function memoryOf({ key, title, names, running, idle }) {
  const after = memory(running.routerPids());
  return idle === null || after === null ? [] : [{ key, title, names, idle, after }];
}

/** @param {ReturnType<typeof memoryOf>} measured @returns {import("../report/result.mjs").Table} */
function memoryTable(measured) {
  const rows = measured.map(({ key, title, idle, after }) => ({
    ...{ name: key, label: title, ours: key.startsWith(door.name), router: key.startsWith(door.name) },
    cells: { rssBefore: idle.rss / 1e6, pssBefore: idle.pss / 1e6, rss: after.rss / 1e6, pss: after.pss / 1e6 },
  }));
  return {
    title: "router memory",
    unit: "MB",
    note: "RSS counts what processes share in full, PSS a part of it each; before the first connection and after the last.",
    columns: [
      column("rssBefore", "RSS before", { digits: 1 }),
      column("pssBefore", "PSS before", { digits: 1 }),
      column("rss", "RSS after", { better: "less", digits: 1 }),
      column("pss", "PSS after", { digits: 1 }),
    ],
    rows,
  };
}

/**
 * Of the first case: one segment, 64 clients.
 *
 * @param {{ cases: ReturnType<typeof summarizeCase>[], memory: ReturnType<typeof memoryOf> }} results
 */
function boundsOf({ cases, memory: measured }) {
  const fewest = `${door.name} ${full.names[0]}`;
  const most = `${door.name} ${full.names.at(-1)}`;
  const row = (/** @type {string} */ key) => cases[0]?.contestants.find((each) => each.key === key);
  const rss = measured.find(({ key }) => key === most)?.after.rss;
  return [
    atMost("door / C floor, CPU per connection", row(fewest)?.routerCpuToFloor?.median, 1.1, ""),
    ...Object.entries(mostOf).map(([name, bound]) => {
      const title = contestants.find((contestant) => contestant.name === name)?.title;
      return atMost(`door / ${title}, CPU per connection`, row(fewest)?.routerCpuTo[name]?.median, bound, "");
    }),
    atLeast("door / direct accept, connections per second", row(fewest)?.rateToDirect?.median, 1, ""),
    atMost("1,000,000 names / 1 name, CPU per connection", row(most)?.routerCpuToFewestNames?.median, 1.1, ""),
    atMost("resident memory with 1,000,000 names", rss === undefined ? null : rss / 1e6, 250, " MB"),
  ];
}
