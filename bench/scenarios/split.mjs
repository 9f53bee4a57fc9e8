/**
 * Scenario `split`: hellos in 1, 2, 10 and 100 segments. A post-quantum hello of 1,800 bytes never fits one segment of
 * a real network; what a router does with the pieces is where those it has lost the most (and it pays for each of them).
 *
 * All contestants stay up and take turns (A B C A B C …). Ratios are taken round by round.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { atMost, boundsText } from "../bound.mjs";
import { direct } from "../contestants/direct.mjs";
import { door } from "../contestants/door.mjs";
import { clientHello } from "../hello.mjs";
import { lineUp, measure, stopAll } from "../line-up.mjs";
import { limitNotes } from "../load.mjs";
import { nameTemplate } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { column, foreignNote, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { ratio, summarize } from "../stats.mjs";

const HELLO_BYTES = 1800;
const CLIENTS = 64;
/** Longer than any router needs to go back to sleep. Microseconds. */
const PAUSE = 200;
const SEGMENTS = [1, 2, 10, 100];

export const description = "hellos of 1,800 bytes in 1, 2, 10 and 100 segments: router CPU, latency, failures";
export const defaults = {
  full: { rounds: 5, duration: 1.5 },
  quick: { rounds: 2, duration: 0.5 },
};
export const contestants = [door, direct, ...peers];
export const mostClients = CLIENTS;
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "split.hello");
  await writeFile(hello, clientHello(nameTemplate, HELLO_BYTES));
  const wanted = contestants.map((contestant) => ({
    ...{ contestant, name: contestant.name, label: contestant.title, names: 1 },
  }));
  const entries = await lineUp(context, wanted);
  const configurations = configurationsOf(entries.map(({ contestant }) => contestant));
  context.print(configurationsText(configurations));
  /** @type {Map<number, Map<string, import("../line-up.mjs").Round[]>>} by segments, then by contestant */
  const measured = new Map(SEGMENTS.map((segments) => [segments, new Map()]));
  try {
    // The first round only warms up.
    for (let round = 0; round <= context.rounds && !context.signal.aborted; round++) {
      for (const segments of SEGMENTS) {
        for (const entry of entries) {
          if (context.signal.aborted) {
            break;
          }
          context.progress(`${segments} segments: round ${round} of ${context.rounds}, ${entry.label}`);
          const segment = segments === 1 ? 0 : Math.ceil(HELLO_BYTES / segments);
          const result = await measure(context, entry, { hello, clients: CLIENTS, segment, pause: PAUSE });
          const rounds = measured.get(segments);
          if (result !== null && round > 0) {
            rounds?.set(entry.name, [...(rounds.get(entry.name) ?? []), result]);
          }
        }
      }
    }
  } finally {
    await stopAll(entries);
  }
  const tables = SEGMENTS.flatMap((segments) => tableOf(segments, entries, measured));
  const lost = [...measured.values()].flatMap((rounds) => (rounds.get(door.name) ?? []).map(({ failed }) => failed));
  const bounds = [
    atMost(
      "connections through the door that failed",
      lost.length === 0 ? null : lost.reduce((sum, failed) => sum + failed, 0),
      0,
      "",
    ),
  ];
  context.print(`${tables.map(tableText).join("")}${boundsText(bounds)}\n`);
  const { rounds, duration: secondsPerRound, warmUp: warmUpSeconds, threads: loadThreads } = context;
  const settings = { rounds, secondsPerRound, warmUpSeconds, loadThreads, clients: CLIENTS, pauseMicroseconds: PAUSE };
  return { settings, ...uniform({ tables, bounds, configurations }) };
}

/**
 * @param {number} segments
 * @param {readonly import("../line-up.mjs").Entry[]} entries
 * @param {Map<number, Map<string, import("../line-up.mjs").Round[]>>} measured
 * @returns {import("../report/result.mjs").Table[]} none if nothing was measured
 */
function tableOf(segments, entries, measured) {
  const of = (/** @type {number} */ number, /** @type {string} */ name) => measured.get(number)?.get(name) ?? [];
  const present = entries.filter(({ name }) => of(segments, name).length > 0);
  if (present.length === 0) {
    return [];
  }
  const shares = present.flatMap(({ name }) => of(segments, name).map(({ foreignShare }) => foreignShare));
  const uses = present.flatMap(({ name }) => of(segments, name).map(({ generator }) => generator));
  const note = [...limitNotes(uses), ...foreignNote(summarize(shares))].join(" ");
  return [
    {
      title: `hello of 1,800 bytes in ${segments} segment${segments === 1 ? "" : "s"}, ${CLIENTS} clients`,
      ...(note === "" ? {} : { note }),
      columns: [
        column("cpu", "router CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
        column("toOne", "× its own in one", { digits: 2 }),
        column("rate", "connections", { unit: "conn/s", better: "more", digits: 0 }),
        column("p50", "p50", { unit: "ms", better: "less", digits: 1 }),
        column("p99", "p99", { unit: "ms", better: "less", digits: 1 }),
        column("failed", "failed", { better: "less" }),
      ],
      rows: present.map(({ name, label }) => {
        const rounds = of(segments, name);
        const cpu = rounds.map((round) => round.cpu);
        return {
          ...{ name, label, router: name !== direct.name, ours: name === door.name },
          cells: {
            cpu: summarize(cpu),
            toOne: ratio(
              cpu,
              of(1, name).map((round) => round.cpu),
            ),
            rate: summarize(rounds.map(({ rate }) => rate)),
            p50: summarize(rounds.map(({ p50 }) => p50)),
            p99: summarize(rounds.map(({ p99 }) => p99)),
            failed: rounds.reduce((sum, { failed }) => sum + failed, 0),
          },
        };
      }),
    },
  ];
}
