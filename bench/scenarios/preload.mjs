/**
 * Scenario `preload`: what a server that nobody changes loses or gains when it gets its connections from the door by the
 * preload library instead of accepting them by itself, and what the library's helper costs.
 *
 * All contestants stay up through a server's cases and take turns. Ratios are taken round by round.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generate } from "selfsigned";
import { atLeast, atMost, boundsText } from "../bound.mjs";
import { compileRequests } from "../compile.mjs";
import { floor } from "../contestants/floor.mjs";
import { ANSWER_END, missing, servers, startOwn, startPreloaded, TLS_NAME } from "../contestants/unchanged.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { limitNotes, perConnection, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { waitForAnswer } from "../probe.mjs";
import { column, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { runRequests } from "../requests.mjs";
import { ratio, summarize } from "../stats.mjs";

const CLIENTS = 64;

/** What the clients of the second case rest, so that there are about 1,000 connections a second. Microseconds. */
const REST = 64_000;

/**
 * `bound`: the least share of the server's own requests a second. The door's code is compiled by Node after its first
 * thousands of connections: the case with the most comes first.
 */
const cases = /** @type {const} */ ([
  { name: "hello", title: "bare hellos and their refusals", tls: false, rest: 0, bound: null },
  { name: "paced", title: "the same, about 1,000 a second", tls: false, rest: REST, bound: null },
  { name: "kept", title: "TLS, kept connections", tls: true, keep: true, bound: 0.97 },
  { name: "tls", title: "TLS, a connection a request", tls: true, keep: false, bound: 0.9 },
]);

/** The helper's CPU for a connection, as a multiple of the C floor's. */
const HELPER_BOUND = 0.75;
/** Code is still being compiled in a door's first thousands of connections. Seconds. */
const FIRST_ROUND = 2;

export const description =
  "unchanged servers under the preload library: requests/s beside their own accept, CPU per connection of the helper";
export const defaults = {
  full: { rounds: 9, duration: 1.5 },
  quick: { rounds: 3, duration: 0.7 },
};
export const contestants = servers;
export const mostClients = CLIENTS;

/**
 * @typedef {typeof cases[number]} Case
 * @typedef {import("../contestants/unchanged.mjs").Running} Running
 *
 * @typedef {object} Round of one side of a server; CPU time in microseconds for each request
 * @property {number} rate requests per second
 * @property {number} failed
 * @property {number} server
 * @property {number} helper
 * @property {number} door
 * @property {import("../load.mjs").GeneratorUse} generator
 *
 * @typedef {{ own: Round[], preloaded: Round[], floor: (number | null)[] }} Rounds `floor`: CPU microseconds for each connection
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "preload.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const requests = await compileRequests();
  if (!requests.hasTls) {
    throw new BenchFailure("The clients need OpenSSL's headers: apt install libssl-dev (Debian, Ubuntu)");
  }
  const made = await generate([{ name: "commonName", value: TLS_NAME }], {
    ...{ keyType: "ec", curve: "P-256", algorithm: "sha256" },
  });
  const pem = { cert: made.cert, key: made.private };
  /** @type {ReturnType<typeof summarizeCase>[]} */
  const summaries = [];
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  for (const server of servers.filter(({ name }) => context.takesPart(name))) {
    const problem = missing(server);
    if (problem !== null) {
      context.print(`${server.title} cannot take part: ${problem}\n\n`);
      continue;
    }
    /** @type {Awaited<ReturnType<typeof startAll>>} */
    let stage;
    try {
      stage = await startAll(context, server, pem);
    } catch (error) {
      if (context.signal.aborted) {
        break;
      }
      if (!(error instanceof BenchFailure)) {
        throw error;
      }
      context.print(`${server.title} cannot take part: ${error.message}\n\n`);
      continue;
    }
    try {
      for (const planned of cases) {
        const rounds = await measureCase(context, planned, { ...stage, hello, requests: requests.path, server });
        if (rounds.preloaded.length > 0) {
          summaries.push(summarizeCase(server, planned, rounds));
        }
        if (context.signal.aborted) {
          break;
        }
      }
    } finally {
      await stage.stop();
    }
    const own = summaries.filter((summary) => summary.server === server.name);
    if (own.length > 0) {
      const table = serverTable(own);
      tables.push(table);
      context.print(tableText(table));
    }
    if (context.signal.aborted) {
      break;
    }
  }
  const bounds = boundsOf(summaries);
  context.print(`${boundsText(bounds)}\n`);
  const { rounds, duration, warmUp, threads } = context;
  const settings = { rounds, secondsPerRound: duration, warmUpSeconds: warmUp, loadThreads: threads, clients: CLIENTS };
  return { settings, cases: summaries, ...uniform({ tables, bounds }) };
}

/**
 * Both sides of a server, and the floor, each seen to answer.
 *
 * @param {import("../main.mjs").Context} context
 * @param {import("../contestants/unchanged.mjs").Server} server
 * @param {{ cert: string, key: string }} pem
 */
async function startAll(context, server, pem) {
  const { programs, signal } = context;
  /** @type {{ stop: () => Promise<void> }[]} */
  const started = [];
  const stop = async () => {
    for (const each of started.splice(0).reverse()) {
      await each.stop();
    }
  };
  /** @template {{ stop: () => Promise<void> }} T @param {string} name @param {(folder: string) => Promise<T>} start @returns {Promise<T>} */
  const begin = async (name, start) => {
    context.progress(`starting ${server.title}, ${name}`);
    const folder = join(context.folder, `${server.name}-${name}`);
    await mkdir(folder);
    const running = await start(folder);
    started.push(running);
    return running;
  };
  try {
    const common = { server, workers: context.cores, pem, programs, signal };
    const own = await begin("own", (folder) => startOwn({ ...common, folder }));
    const preloaded = await begin("preloaded", (folder) => startPreloaded({ ...common, folder }));
    const bare = await begin("floor", (folder) => floor.start({ programs, folder, names: 1, signal }));
    const bytes = clientHello(nameOf(0), 517);
    for (const address of [own.addresses.plain, preloaded.addresses.plain, bare.address]) {
      await waitForAnswer(address, bytes, 10_000, signal);
    }
    return { own, preloaded, bare, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/**
 * @typedef {object} Stage
 * @property {import("../contestants/unchanged.mjs").Server} server
 * @property {Running} own
 * @property {Running} preloaded
 * @property {import("../contestants/contestant.mjs").Running} bare the floor
 * @property {string} hello path
 * @property {string} requests path
 */

/** @param {import("../main.mjs").Context} context @param {Case} planned @param {Stage} stage @returns {Promise<Rounds>} */
async function measureCase(context, planned, stage) {
  /** @type {Rounds} */
  const rounds = { own: [], preloaded: [], floor: [] };
  // The first round only warms up.
  for (let round = 0; round <= context.rounds; round++) {
    const lasting = { ...context, duration: round === 0 ? Math.max(FIRST_ROUND, context.duration) : context.duration };
    const measure = async (/** @type {"own" | "preloaded"} */ side) => {
      context.progress(`${stage.server.title}, ${planned.title}: round ${round} of ${context.rounds}, ${side}`);
      return measureRound(lasting, planned, stage, stage[side]);
    };
    // Each goes first in every second round.
    const first = round % 2 === 0 ? await measure("own") : null;
    const preloaded = await measure("preloaded");
    const own = first ?? (await measure("own"));
    const bare = planned.tls ? null : await measureFloor(lasting, planned, stage);
    if (context.signal.aborted) {
      break;
    }
    if (round > 0) {
      rounds.own.push(own);
      rounds.preloaded.push(preloaded);
      rounds.floor.push(bare);
    }
  }
  return rounds;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {Stage} stage
 * @param {Running} running
 * @returns {Promise<Round>}
 */
async function measureRound(context, planned, stage, running) {
  const [server, helper, door] = [running.serverPids(), running.helperPids(), running.doorPids()];
  const watch = [...server, ...helper, ...door];
  const sum = (/** @type {number[]} */ pids, /** @type {(pid: number) => number} */ of) =>
    pids.reduce((all, pid) => all + of(pid), 0);
  const { threads, signal, duration: seconds, warmUp } = context;
  const { sources } = context.limits;
  if (!planned.tls) {
    const result = await runLoad({
      ...{ load: context.programs.load, address: running.addresses.plain, hello: stage.hello, names: 1, signal },
      ...{ clients: CLIENTS, threads, sources, seconds, warmUp, firstSegment: 0, pause: 0, watch },
      rest: planned.rest,
    });
    const of = (/** @type {number[]} */ pids) =>
      pids.length === 0 ? 0 : (perConnection(result, pids, "cpuSeconds") ?? 0) * 1e6;
    const failed = Object.values(result.failed).reduce((all, times) => all + times, 0);
    return {
      ...{ rate: result.connectionsPerSecond, failed, generator: result.generator },
      ...{ server: of(server), helper: of(helper), door: of(door) },
    };
  }
  const result = await runRequests({
    ...{ requests: stage.requests, address: running.addresses.tls, name: TLS_NAME, ending: ANSWER_END, signal },
    ...{ keep: planned.keep, clients: CLIENTS, threads, sources, seconds, warmUp, watch },
  });
  const of = (/** @type {number[]} */ pids) => sum(pids, (pid) => (result.cpuSeconds.get(pid) ?? 0) * 1e6);
  return {
    ...{ rate: result.requestsPerSecond, failed: result.failed, generator: result.generator },
    ...{ server: of(server), helper: of(helper), door: of(door) },
  };
}

/**
 * CPU microseconds of the floor for each connection of the same clients.
 *
 * @param {import("../main.mjs").Context} context
 * @param {Exclude<Case, { tls: true }>} planned
 * @param {Stage} stage
 * @returns {Promise<number | null>}
 */
async function measureFloor(context, planned, { bare, hello }) {
  const { threads, signal, duration: seconds, warmUp } = context;
  const pids = bare.routerPids();
  const result = await runLoad({
    ...{ load: context.programs.load, address: bare.address, hello, names: 1, signal, rest: planned.rest },
    ...{ clients: CLIENTS, threads, sources: context.limits.sources, seconds, warmUp, firstSegment: 0, pause: 0 },
    watch: pids,
  });
  const used = perConnection(result, pids, "cpuSeconds");
  return used === null ? null : used * 1e6;
}

/** @param {import("../contestants/unchanged.mjs").Server} server @param {Case} planned @param {Rounds} rounds */
function summarizeCase(server, planned, { own, preloaded, floor: bare }) {
  const figures = (/** @type {Round[]} */ side, /** @type {Exclude<keyof Round, "generator">} */ key) =>
    side.map((round) => round[key]);
  const side = (/** @type {Round[]} */ of) => ({
    requestsPerSecond: summarize(figures(of, "rate")),
    serverCpuMicroseconds: summarize(figures(of, "server")),
    failed: figures(of, "failed").reduce((all, times) => all + times, 0),
  });
  return {
    ...{ server: server.name, title: server.title, case: planned },
    own: side(own),
    preloaded: {
      ...side(preloaded),
      helperCpuMicroseconds: summarize(figures(preloaded, "helper")),
      doorCpuMicroseconds: summarize(figures(preloaded, "door")),
    },
    floorCpuMicroseconds: summarize(bare),
    rateToOwn: ratio(figures(preloaded, "rate"), figures(own, "rate")),
    serverCpuToOwn: ratio(figures(preloaded, "server"), figures(own, "server")),
    helperCpuToFloor: ratio(figures(preloaded, "helper"), bare),
    generator: [...own, ...preloaded].map((round) => round.generator),
  };
}

/** @param {ReturnType<typeof summarizeCase>[]} summaries of one server @returns {import("../report/result.mjs").Table} */
function serverTable(summaries) {
  return {
    title: `${summaries[0]?.title ?? ""}, ${CLIENTS} clients`,
    note: [
      "CPU time is for each request: of the server's processes, of the preload library's helper, of the door.",
      ...limitNotes(summaries.flatMap(({ generator }) => generator)),
    ].join(" "),
    columns: [
      column("own", "own", { unit: "req/s", better: "more", digits: 0 }),
      column("preloaded", "preload", { unit: "req/s", better: "more", digits: 0 }),
      column("toOwn", "× own", { digits: 3, range: true }),
      column("ownCpu", "own", { unit: "µs", better: "less", digits: 1 }),
      column("preloadedCpu", "preload", { unit: "µs", better: "less", digits: 1 }),
      column("cpuToOwn", "× own", { digits: 2 }),
      column("helper", "helper", { unit: "µs", better: "less", digits: 1 }),
      column("floor", "C floor", { unit: "µs", digits: 1 }),
      column("helperToFloor", "× C floor", { digits: 2 }),
      column("door", "door", { unit: "µs", better: "less", digits: 1 }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: summaries.map((row) => ({
      ...{ name: row.case.name, label: row.case.title, ours: true },
      cells: {
        own: row.own.requestsPerSecond,
        preloaded: row.preloaded.requestsPerSecond,
        toOwn: row.rateToOwn,
        ownCpu: row.own.serverCpuMicroseconds,
        preloadedCpu: row.preloaded.serverCpuMicroseconds,
        cpuToOwn: row.serverCpuToOwn,
        helper: row.preloaded.helperCpuMicroseconds,
        floor: row.floorCpuMicroseconds,
        helperToFloor: row.helperCpuToFloor,
        door: row.preloaded.doorCpuMicroseconds,
        failed: row.own.failed + row.preloaded.failed,
      },
    })),
  };
}

/** @param {ReturnType<typeof summarizeCase>[]} summaries */
function boundsOf(summaries) {
  return summaries.map(({ title, case: { title: what, bound }, rateToOwn, helperCpuToFloor }) =>
    bound === null
      ? atMost(`${title}, ${what}: the helper's CPU, of the C floor's`, helperCpuToFloor?.median, HELPER_BOUND, "")
      : atLeast(`${title}, ${what}: requests/s, of its own accept`, rateToOwn?.median, bound, ""),
  );
}
