/**
 * Scenario `burst`: many connections at once while the server behind takes none: it stands still (SIGSTOP) and goes on, it
 * stands still and is killed and started anew, or it is not there and comes. How many clients are answered, and after how
 * long?
 *
 * Each client makes one connection and tries nothing again by itself; one that has no answer after ten seconds gives up.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost, boundsText } from "../bound.mjs";
import { direct } from "../contestants/direct.mjs";
import { doorService } from "../contestants/door-service.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { lineUp, stopAll } from "../line-up.mjs";
import { runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { waitForAnswer } from "../probe.mjs";
import { isAlive } from "../process.mjs";
import { column, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";
import { summarize } from "../stats.mjs";
import { count } from "../table.mjs";

const SIZES = [1000, 10_000];
const QUICK_SIZES = [1000];
/** For how long the server stands still. Milliseconds. */
const STILL = 1000;
/** A client gives up after that. Milliseconds. */
const PATIENCE = 10_000;

/**
 * @typedef {import("../line-up.mjs").Entry} Entry
 *
 * @typedef {object} Case
 * @property {string} title
 * @property {boolean} restarts the server is started anew, so what cannot do that does not take part
 * @property {(entry: Entry) => void} before the burst
 * @property {(entry: Entry) => Promise<void>} after it has begun; the server serves again
 */

/** @type {Record<string, Case>} */
const cases = {
  stopped: {
    ...{ title: "a server that stands still for a second", restarts: false },
    before: (entry) => signal(entry, "SIGSTOP"),
    async after(entry) {
      await sleep(STILL);
      signal(entry, "SIGCONT");
    },
  },
  killed: {
    ...{
      title: "a server that stands still for a second, is killed, and comes back half a second later",
      restarts: true,
    },
    before: (entry) => signal(entry, "SIGSTOP"),
    async after(entry) {
      await sleep(STILL);
      signal(entry, "SIGKILL");
      await entry.running.actions?.backend?.();
    },
  },
  absent: {
    ...{ title: "a server that is not there, and comes half a second later", restarts: true },
    before: (entry) => signal(entry, "SIGKILL"),
    after: async (entry) => entry.running.actions?.backend?.(),
  },
};

/** To the server's processes, children of ours, as long as they live. @param {Entry} entry @param {NodeJS.Signals} name */
function signal({ running }, name) {
  for (const pid of running.serverPids().filter(isAlive)) {
    process.kill(pid, name);
  }
}

export const description =
  "connections all at once to a server that stands still, is killed, is not there: how many are answered";
/** `rounds`: times that each is done; `duration` is not used: each lasts until all clients have an answer or gave up. */
export const defaults = { full: { rounds: 3, duration: 1 }, quick: { rounds: 1, duration: 1 } };
export const contestants = [doorService, direct, ...peers, ...Object.keys(cases).map((name) => ({ name }))];
export const mostClients = Math.max(...SIZES);
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "burst.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const chosen = Object.keys(cases).filter((name) => context.takesPart(name));
  const wanted = [doorService, direct, ...peers];
  const named = wanted.filter(({ name }) => context.takesPart(name));
  const entries = await lineUp(
    { ...context, takesPart: () => true },
    (named.length > 0 ? named : wanted).map((contestant) => ({
      ...{ contestant, name: contestant.name, label: contestant.title, names: 1, service: true },
      clients: Math.min(Math.max(...SIZES), context.limits.clients),
    })),
  );
  const configurations = configurationsOf(entries.map(({ contestant }) => contestant));
  context.print(configurationsText(configurations));
  const sizes = [
    ...new Set((context.quick ? QUICK_SIZES : SIZES).map((size) => Math.min(size, context.limits.clients))),
  ];
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  const bounds = [];
  try {
    for (const name of chosen.length > 0 ? chosen : Object.keys(cases)) {
      for (const size of sizes) {
        if (context.signal.aborted) {
          break;
        }
        const measured = await measureCase(context, cases[name], size, entries, hello);
        if (measured.size === 0) {
          continue;
        }
        const table = tableOf(cases[name], size, measured);
        const lost = [...measured].flatMap(([{ contestant }, rounds]) =>
          contestant === doorService ? rounds.map((round) => size - round.completed) : [],
        );
        tables.push(table);
        if (lost.length > 0) {
          const what = `${count(size)} at once to ${cases[name].title}: not answered through the door`;
          bounds.push(atMost(what, Math.max(...lost), 0, ""));
        }
        context.print(tableText(table));
      }
    }
  } finally {
    // Whoever stands still could not end in order.
    for (const entry of entries) {
      signal(entry, "SIGCONT");
    }
    await stopAll(entries);
  }
  context.print(`${boundsText(bounds)}\n`);
  return { settings: { rounds: context.rounds, sizes }, ...uniform({ tables, bounds, configurations }) };
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {number} size
 * @param {readonly Entry[]} entries
 * @param {string} hello
 */
async function measureCase(context, planned, size, entries, hello) {
  /** @type {Map<Entry, import("../load.mjs").LoadResult[]>} */
  const measured = new Map();
  const able = entries.filter(
    ({ running, contestant }) =>
      (!planned.restarts || running.actions !== undefined) && size <= context.limits.most(contestant.descriptors),
  );
  for (let round = 0; round < context.rounds; round++) {
    for (const entry of able) {
      if (context.signal.aborted) {
        break;
      }
      context.progress(`${count(size)} at once to ${planned.title}: ${round + 1} of ${context.rounds}, ${entry.label}`);
      const result = await burst(context, planned, size, entry, hello).catch((error) => {
        if (!context.signal.aborted) {
          throw error;
        }
        return null;
      });
      if (result !== null && !result.interrupted) {
        measured.set(entry, [...(measured.get(entry) ?? []), result]);
      }
    }
  }
  return measured;
}

/** @param {import("../main.mjs").Context} context @param {Case} planned @param {number} size @param {Entry} entry @param {string} hello */
async function burst(context, planned, size, entry, hello) {
  const { address } = entry.running;
  planned.before(entry);
  const [result] = await Promise.all([
    runLoad({
      ...{ load: context.programs.load, address, hello, names: 1, signal: context.signal, once: true },
      ...{ clients: size, threads: 1, sources: context.limits.sources, timeout: PATIENCE },
      ...{ seconds: PATIENCE / 1000 + 2, warmUp: 0, firstSegment: 0, pause: 0, watch: [] },
    }),
    planned.after(entry),
  ]);
  // Routers with health checks, or that give up on a server for a while, have time to find it again.
  await waitForAnswer(address, clientHello(nameOf(0), 517), PATIENCE, context.signal).catch((error) => {
    if (context.signal.aborted) {
      return;
    }
    if (!(error instanceof BenchFailure)) {
      throw error;
    }
    context.print(`${entry.label} has not found the server again: ${error.message}\n`);
  });
  return result;
}

/** @param {Case} planned @param {number} size @param {Map<Entry, import("../load.mjs").LoadResult[]>} measured @returns {import("../report/result.mjs").Table} */
function tableOf(planned, size, measured) {
  const kinds = (/** @type {readonly import("../load.mjs").LoadResult[]} */ rounds) =>
    [...new Set(rounds.flatMap(({ failed }) => Object.keys(failed)))].flatMap((kind) => {
      const most = Math.max(...rounds.map(({ failed }) => failed[kind]));
      return most === 0 ? [] : [`${count(most)} ${kind}`];
    });
  const milliseconds = (
    /** @type {readonly import("../load.mjs").LoadResult[]} */ rounds,
    /** @type {"p50" | "max"} */ what,
  ) =>
    summarize(
      rounds.map(({ completed, latencyMicroseconds }) => (completed === 0 ? null : latencyMicroseconds[what] / 1000)),
    );
  return {
    title: `${count(size)} connections at once to ${planned.title}`,
    columns: [
      column("answered", "answered", { better: "more", digits: 0, range: true }),
      column("others", "at most so many were"),
      column("p50", "p50 of these", { unit: "ms", better: "less", digits: 0 }),
      column("longest", "longest", { unit: "ms", better: "less", digits: 0 }),
    ],
    rows: [...measured].map(([{ name, label, contestant }, rounds]) => ({
      ...{ name, label, router: contestant !== direct, ours: contestant === doorService },
      cells: {
        answered: summarize(rounds.map(({ completed }) => completed)),
        others: kinds(rounds).join(", "),
        ...{ p50: milliseconds(rounds, "p50"), longest: milliseconds(rounds, "max") },
      },
    })),
  };
}
