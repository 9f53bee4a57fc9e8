/**
 * Scenario `open`: how long a connection takes when they come at a moderate rate, whatever the server does.
 *
 * A closed loop measures its own queue: its clients wait for each other, and while something stands still nobody asks
 * ("coordinated omission"). Here connections are due at fixed times, and latency runs from then. First the rate at which
 * the server accepting by itself, and the door, are saturated (closed loop, 64 clients); then all contestants at the
 * same shares of the lower one, in turns.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { atMost, boundsText } from "../bound.mjs";
import { direct } from "../contestants/direct.mjs";
import { door } from "../contestants/door.mjs";
import { floor } from "../contestants/floor.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { lineUp, measure, stopAll } from "../line-up.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameTemplate } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { column, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { median, ratio, summarize } from "../stats.mjs";
import { count } from "../table.mjs";

/** In a closed loop, for the saturating rate. */
const SATURATING = 64;
/** At the same time, at most: what stands still for a tenth of a second at 10,000 a second. */
const CLIENTS = 1024;
/** Of the saturating rate. */
const SHARES = [0.25, 0.5, 0.75];
const QUICK_SHARES = [0.5];
/** At half of it. */
const BOUND = 1.5;

export const description =
  "open loop: latency at fixed rates, from when a connection was due: door, direct accept, peers";
export const defaults = {
  full: { rounds: 7, duration: 3 },
  quick: { rounds: 3, duration: 1 },
};
export const contestants = [floor, door, direct, ...peers];
export const mostClients = CLIENTS;
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;

/**
 * @typedef {import("../load.mjs").LoadResult & { cpu: number | null }} Round `cpu` of the router, seconds per connection
 * @typedef {import("../line-up.mjs").Entry} Entry
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "open.hello");
  await writeFile(hello, clientHello(nameTemplate, 517));
  const wanted = contestants.map((contestant) => ({
    ...{ contestant, name: contestant.name, label: contestant.title, names: 1 },
  }));
  const entries = await lineUp(context, wanted);
  const configurations = configurationsOf(entries.map(({ contestant }) => contestant));
  context.print(configurationsText(configurations));
  /** @type {Map<number, Map<Entry, Round[]>>} by the share of the saturating rate */
  const measured = new Map();
  /** @type {Map<string, import("../stats.mjs").Summary | null>} */
  let saturated = new Map();
  try {
    saturated = await saturate(context, entries, hello);
    const lowest = context.signal.aborted ? 0 : slower(saturated, entries);
    for (const share of context.signal.aborted ? [] : context.quick ? QUICK_SHARES : SHARES) {
      measured.set(share, await measureShare(context, entries, hello, share, Math.max(1, Math.round(lowest * share))));
    }
  } finally {
    await stopAll(entries);
  }
  const tables = [...measured].flatMap(([share, rounds]) => tableOf(share, rounds));
  const half = measured.get(0.5);
  const p99 = (/** @type {import("../contestants/contestant.mjs").Contestant} */ wanted) =>
    [...(half ?? [])].flatMap(([{ contestant }, rounds]) =>
      contestant === wanted ? rounds.map(({ latencyMicroseconds }) => latencyMicroseconds.p99) : [],
    );
  const toDirect = ratio(p99(door), p99(direct));
  const bounds = [atMost("p99 at half of the saturating rate, door / direct accept", toDirect?.median, BOUND, "")];
  context.print(`${tables.map(tableText).join("")}${boundsText(bounds)}\n`);
  const { rounds, duration: secondsPerRound, warmUp: warmUpSeconds } = context;
  return {
    settings: { rounds, secondsPerRound, warmUpSeconds, clients: CLIENTS, saturatingClients: SATURATING },
    saturatingRates: Object.fromEntries(saturated),
    p99ToDirect: toDirect,
    ...uniform({ tables: [...tables, ...curves(measured)], bounds, configurations }),
  };
}

/** Connections a second in a closed loop. @param {import("../main.mjs").Context} context @param {readonly Entry[]} entries @param {string} hello */
async function saturate(context, entries, hello) {
  const short = { ...context, duration: Math.min(1, context.duration) };
  const sought = entries.filter(({ contestant }) => contestant === door || contestant === direct);
  /** @type {Map<string, (number | null)[]>} */
  const rates = new Map(sought.map(({ name }) => [name, []]));
  // The first round only warms up.
  for (let round = 0; round <= Math.min(3, context.rounds); round++) {
    for (const entry of sought) {
      if (context.signal.aborted) {
        break;
      }
      context.progress(`seeking the saturating rate: ${entry.label}`);
      const result = await measure(short, entry, { hello, clients: SATURATING });
      if (round > 0) {
        rates.get(entry.name)?.push(result?.rate ?? null);
      }
    }
  }
  return new Map([...rates].map(([name, each]) => [name, summarize(each)]));
}

/** @param {Map<string, import("../stats.mjs").Summary | null>} saturated @param {readonly Entry[]} entries @throws {BenchFailure} */
function slower(saturated, entries) {
  const rates = [...saturated.values()].flatMap((rate) => (rate === null ? [] : [rate.median]));
  if (rates.length === 0 && entries.length > 0) {
    throw new BenchFailure("open seeks the rates by the door or by direct accept: let one of them take part (--only)");
  }
  return Math.min(...rates);
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {readonly Entry[]} entries
 * @param {string} hello
 * @param {number} share
 * @param {number} rate
 */
async function measureShare(context, entries, hello, share, rate) {
  /** @type {Map<Entry, Round[]>} */
  const measured = new Map();
  // The first round only warms up: who was asleep has its code compiled, and its memory in place.
  for (let round = 0; round <= context.rounds; round++) {
    for (const entry of entries) {
      if (context.signal.aborted) {
        break;
      }
      context.progress(
        `${count(rate)} connections a second (${share * 100} %): round ${round} of ${context.rounds}, ${entry.label}`,
      );
      const result = await openRound(context, entry, hello, rate);
      if (round > 0 && (!result.interrupted || result.seconds > 0.2)) {
        measured.set(entry, [...(measured.get(entry) ?? []), result]);
      }
    }
  }
  return measured;
}

/** @param {import("../main.mjs").Context} context @param {Entry} entry @param {string} hello @param {number} rate @returns {Promise<Round>} */
async function openRound(context, { running, names }, hello, rate) {
  const routerPids = running.routerPids();
  const result = await runLoad({
    ...{ load: context.programs.load, address: running.address, hello, names, signal: context.signal },
    // One thread is enough for half of what saturates the others.
    ...{ clients: Math.min(CLIENTS, context.limits.clients), threads: 1, sources: context.limits.sources, rate },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: 0, pause: 0 },
    watch: [...routerPids, ...running.serverPids()],
  });
  return { ...result, cpu: perConnection(result, routerPids, "cpuSeconds") };
}

/** Milliseconds. @param {readonly Round[]} rounds @param {"p50" | "p99" | "p999" | "max"} what */
const latencies = (rounds, what) => summarize(rounds.map((round) => round.latencyMicroseconds[what] / 1000));

const quantiles = /** @type {const} */ (["p50", "p99", "p999", "max"]);
const quantileColumns = quantiles.map((key) =>
  column(key, { p50: "p50", p99: "p99", p999: "p99.9", max: "longest" }[key], {
    ...{ unit: "ms", better: /** @type {const} */ ("less"), digits: 2, range: key === "p99" },
  }),
);

/** @param {Entry} entry */
const rowOf = ({ name, label, contestant }) => ({
  ...{ name, label, router: contestant !== direct && contestant !== floor, ours: contestant === door },
});

/** @param {number} share @param {Map<Entry, Round[]>} measured @returns {import("../report/result.mjs").Table[]} */
function tableOf(share, measured) {
  const all = [...measured.values()].flat();
  if (all.length === 0) {
    return [];
  }
  const rate = all[0].open?.rate ?? 0;
  const late = median(all.map(({ open }) => (open?.latenessMicroseconds.p99 ?? 0) / 1000));
  const note = [
    `${count(rate)} connections a second are due.`,
    `The generator itself began 1 % of them ${late.toFixed(2)} ms late or more, which is in the latencies.`,
    ...limitNotes(all.map(({ generator }) => generator)),
  ].join(" ");
  return [
    {
      title: `open loop at ${share * 100} % of the saturating rate`,
      note,
      columns: [
        ...quantileColumns,
        column("cpu", "router CPU", { unit: "µs/conn", better: "less", digits: 1 }),
        column("failed", "failed", { better: "less" }),
      ],
      rows: [...measured].map(([entry, rounds]) => ({
        ...rowOf(entry),
        cells: {
          ...Object.fromEntries(quantiles.map((what) => [what, latencies(rounds, what)])),
          cpu: summarize(rounds.map(({ cpu }) => (cpu === null ? null : cpu * 1e6))),
          failed: rounds.flatMap(({ failed }) => Object.values(failed)).reduce((sum, times) => sum + times, 0),
        },
      })),
    },
  ];
}

/** The same over the rate. @param {Map<number, Map<Entry, Round[]>>} measured @returns {import("../report/result.mjs").Table[]} */
function curves(measured) {
  const rows = [...measured].flatMap(([share, entries]) =>
    [...entries].map(([entry, rounds]) => ({
      ...rowOf(entry),
      name: `${entry.name} ${share * 100}`,
      point: { series: entry.label, x: share * 100 },
      cells: { p50: latencies(rounds, "p50"), p99: latencies(rounds, "p99"), p999: latencies(rounds, "p999") },
    })),
  );
  return measured.size < 2 || rows.length === 0
    ? []
    : [
        {
          title: "open loop: latency over the rate",
          x: { title: "of the saturating rate", unit: "%" },
          columns: quantileColumns.filter(({ key }) => key !== "max"),
          rows,
        },
      ];
}
