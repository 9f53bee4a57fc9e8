/**
 * Scenario `names`: 1 to 1,000,000 server names, exact ones and wildcards: router CPU per connection, memory, start, reload,
 * and how long connections stand still meanwhile. Routers that try one rule after the other are measured with 1,000 at most.
 *
 * All contestants of a kind of names stay up and take turns (A B C A B C …). Ratios are taken round by round.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, boundsText } from "../bound.mjs";
import { doorService } from "../contestants/door-service.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { lineUp, measure, stopAll } from "../line-up.mjs";
import { limitNotes, runLoad } from "../load.mjs";
import { nameTemplate, nameTemplateBelow } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { memory } from "../process.mjs";
import { column, foreignNote, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";
import { count } from "../table.mjs";

const CLIENTS = 64;
const MOST = 1_000_000;
const FULL = [1, 1000, 100_000, MOST];
const QUICK = [1, 1000, 100_000];
/** Of the client that sees how long connections stand still. Microseconds. */
const PROBE_REST = 1000;
/** The shortest control of a reload. Milliseconds. */
const SHORTEST_CONTROL = 500;

const kinds = [
  { wildcards: false, title: "exact names", template: nameTemplate },
  { wildcards: true, title: "wildcards", template: nameTemplateBelow },
];

export const description = "1 to 1,000,000 names: router CPU per connection, memory, start and reload, longest stall";
export const defaults = {
  full: { rounds: 5, duration: 1.5 },
  quick: { rounds: 2, duration: 0.5 },
};
export const contestants = [doorService, ...peers];
export const mostClients = CLIENTS;
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;

/**
 * @typedef {object} Reload what a client sees that connects every millisecond, milliseconds
 * @property {number} took
 * @property {number} longest connection meanwhile
 * @property {number} control the longest connection in as much time right after it, while nothing happens
 * @property {number} failed
 *
 * @typedef {object} Measured of one entry
 * @property {import("../line-up.mjs").Round[]} rounds
 * @property {number | null} rss bytes, before the first reload
 * @property {Reload[]} reloads none if it cannot reload
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const present = contestants.filter(
    (contestant) => context.takesPart(contestant.name) && contestant.missing() === null,
  );
  const configurations = configurationsOf(present, { service: true });
  context.print(configurationsText(configurations));
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  /** @type {import("../bound.mjs").Bound[]} */
  const bounds = [];
  for (const kind of kinds) {
    if (context.signal.aborted) {
      break;
    }
    const measured = await measureKind(context, kind);
    const table = tableOf(kind, measured);
    if (table.rows.length > 0) {
      tables.push(table);
      bounds.push(...boundsOf(kind, measured));
      context.print(tableText(table));
    }
  }
  context.print(`${boundsText(bounds)}\n`);
  const { rounds, duration: secondsPerRound, warmUp: warmUpSeconds, threads: loadThreads } = context;
  return {
    settings: { rounds, secondsPerRound, warmUpSeconds, loadThreads, clients: CLIENTS },
    ...uniform({ tables, bounds, configurations }),
  };
}

/** @param {import("../main.mjs").Context} context @param {typeof kinds[number]} kind @returns {Promise<Map<import("../line-up.mjs").Entry, Measured>>} */
async function measureKind(context, { wildcards, template, title }) {
  const hello = join(context.folder, `${wildcards ? "wildcard" : "exact"}.hello`);
  await writeFile(hello, clientHello(template, 517));
  const counts = context.quick ? QUICK : FULL;
  const wanted = contestants
    .filter(({ peer }) => !wildcards || peer?.wildcards !== false)
    .flatMap((contestant) =>
      counts
        .filter((names) => names <= (contestant.peer?.mostNames ?? MOST))
        .map((names) => ({
          ...{ contestant, names, wildcards, service: true },
          name: `${contestant.name} ${wildcards ? "wildcard " : ""}${names}`,
          label: `${contestant.title}, ${count(names)}`,
        })),
    );
  const entries = await lineUp(context, wanted);
  /** @type {Map<import("../line-up.mjs").Entry, Measured>} */
  const measured = new Map(entries.map((entry) => [entry, { rounds: [], rss: null, reloads: [] }]));
  try {
    // The first round only warms up.
    for (let round = 0; round <= context.rounds; round++) {
      for (const [entry, { rounds }] of measured) {
        if (context.signal.aborted) {
          return measured;
        }
        context.progress(`${title}: round ${round} of ${context.rounds}, ${entry.label}`);
        const result = await measure(context, entry, { hello, clients: CLIENTS });
        if (result !== null && round > 0) {
          rounds.push(result);
        }
      }
    }
    for (const [entry, all] of measured) {
      if (context.signal.aborted) {
        return measured;
      }
      all.rss = memory(entry.running.routerPids())?.rss ?? null;
      context.progress(`${title}: reloads, ${entry.label}`);
      all.reloads = await reloadsOf(context, hello, entry);
    }
    return measured;
  } finally {
    await stopAll(entries);
  }
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {string} hello path
 * @param {import("../line-up.mjs").Entry} entry
 * @returns {Promise<Reload[]>} none if it cannot reload
 */
async function reloadsOf(context, hello, { running, names, label }) {
  const reload = running.actions?.reload;
  /** @type {Reload[]} */
  const reloads = [];
  const wanted = reload === undefined ? 0 : context.quick ? 1 : context.rounds;
  try {
    while (reloads.length < wanted && !context.signal.aborted) {
      let took = 0;
      const during = await probed(context, hello, running.address, names, async () => {
        const began = performance.now();
        await reload?.();
        took = performance.now() - began;
      });
      const control = await probed(context, hello, running.address, names, () =>
        sleep(Math.max(SHORTEST_CONTROL, took), undefined, { signal: context.signal }).catch(() => {}),
      );
      if (!context.signal.aborted) {
        reloads.push({ took, ...during, control: control.longest });
      }
    }
  } catch (error) {
    if (context.signal.aborted) {
      return reloads;
    }
    if (!(error instanceof BenchFailure)) {
      throw error;
    }
    context.print(`${label}, reload: ${error.message}\n\n`);
  }
  return reloads;
}

/** What a client sees that connects again and again, meanwhile. @param {import("../main.mjs").Context} context @param {string} hello @param {string} address @param {number} names @param {() => Promise<unknown>} act */
async function probed(context, hello, address, names, act) {
  const ending = new AbortController();
  const load = runLoad({
    ...{ load: context.programs.load, address, hello, names, signal: ending.signal },
    ...{ clients: 1, threads: 1, sources: context.limits.sources, rest: PROBE_REST },
    ...{ seconds: 3600, warmUp: 0.1, firstSegment: 0, pause: 0, watch: [] },
  });
  load.catch(() => {}); // looked at below
  try {
    await sleep(300, undefined, { signal: context.signal }).catch(() => {});
    await act();
  } finally {
    ending.abort();
    await load.catch(() => {});
  }
  const result = await load;
  return {
    longest: result.latencyMicroseconds.max / 1000,
    failed: Object.values(result.failed).reduce((sum, times) => sum + times, 0),
  };
}

/** @param {typeof kinds[number]} kind @param {Map<import("../line-up.mjs").Entry, Measured>} measured @returns {import("../report/result.mjs").Table} */
function tableOf({ title }, measured) {
  const present = [...measured].filter(([, { rounds }]) => rounds.length > 0);
  const cpuOf = (/** @type {Measured | undefined} */ each) => (each?.rounds ?? []).map(({ cpu }) => cpu);
  const fewest = (/** @type {import("../line-up.mjs").Entry} */ { contestant }) =>
    present.find(([entry]) => entry.contestant === contestant)?.[1];
  const shares = present.flatMap(([, { rounds }]) => rounds.map(({ foreignShare }) => foreignShare));
  return {
    title: `${title}, ${CLIENTS} clients`,
    note: [
      "Longest wait: of a client that connects every millisecond, while the router reloads, and in as much time right after.",
      ...limitNotes(present.flatMap(([, { rounds }]) => rounds.map(({ generator }) => generator))),
      ...foreignNote(summarize(shares)),
    ].join(" "),
    columns: [
      column("cpu", "router CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
      column("toFewest", "× its own with one", { digits: 2 }),
      column("rss", "memory", { unit: "MB", better: "less", digits: 1 }),
      column("start", "start", { unit: "s", better: "less", digits: 2 }),
      column("reload", "reload", { unit: "ms", better: "less", digits: 0 }),
      column("longest", "longest wait", { unit: "ms", better: "less", digits: 1, range: true }),
      column("control", "its control's", { unit: "ms", digits: 1 }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: present.map(([entry, all]) => ({
      ...{ name: entry.name, label: entry.label, ours: entry.contestant === doorService },
      cells: {
        cpu: summarize(cpuOf(all)),
        toFewest: ratio(cpuOf(all), cpuOf(fewest(entry))),
        rss: all.rss === null ? null : all.rss / 1e6,
        start: entry.running.startSeconds ?? null,
        reload: summarize(all.reloads.map(({ took }) => took)),
        longest: summarize(all.reloads.map(({ longest }) => longest)),
        control: summarize(all.reloads.map(({ control }) => control)),
        failed: [...all.rounds, ...all.reloads].reduce((sum, { failed }) => sum + failed, 0),
      },
    })),
  };
}

/** @param {typeof kinds[number]} kind @param {Map<import("../line-up.mjs").Entry, Measured>} measured @returns {import("../bound.mjs").Bound[]} */
function boundsOf({ title }, measured) {
  const doors = [...measured].filter(([{ contestant }]) => contestant === doorService);
  const one = doors.find(([{ names }]) => names === 1)?.[1];
  const most = doors.find(([{ names }]) => names === MOST)?.[1];
  if (most === undefined) {
    return [];
  }
  const cpu = (/** @type {Measured | undefined} */ each) => (each?.rounds ?? []).map((round) => round.cpu);
  const { rss, reloads } = most;
  return [
    atMost(`${title}, 1,000,000 / 1, CPU per connection`, ratio(cpu(most), cpu(one))?.median, 1.1, ""),
    atMost(`${title}, resident memory with 1,000,000`, rss === null ? null : rss / 1e6, 250, " MB"),
    atMost(
      `${title}, longest wait during a reload of 1,000,000, above its control's`,
      summarize(reloads.map(({ longest, control }) => longest - control))?.median,
      10,
      " ms",
    ),
  ];
}
