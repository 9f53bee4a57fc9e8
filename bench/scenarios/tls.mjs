/**
 * Scenario `tls`: handshakes, requests and downloads end to end, of a Node and a Go server, accepting by themselves and
 * behind the door.
 *
 * Each server is one process that does both, so that only the way in differs; the two ways take turns, round by round.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generate } from "selfsigned";
import { atMost, boundsText } from "../bound.mjs";
import { compileRequests } from "../compile.mjs";
import { Door } from "../door.mjs";
import { BenchFailure } from "../failure.mjs";
import { limitNotes } from "../load.mjs";
import { column, foreignNote, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { runRequests } from "../requests.mjs";
import { ratio, summarize } from "../stats.mjs";
import { count } from "../table.mjs";
import { DOWNLOAD_BYTES, ENDING, servers, startServer } from "../tls-servers.mjs";

const CLIENTS = 64;
/** Downloads at the same time. */
const DOWNLOADS = 8;
/** In the open loop, at the same time, at most. */
const MOST_CLIENTS = 512;

/**
 * @typedef {object} Case
 * @property {string} title
 * @property {string} what one of them is
 * @property {number} clients
 * @property {Partial<import("../requests.mjs").RequestsOptions>} options
 * @property {true} [half] in an open loop, at half of the rate of `requests`
 */

/** @type {Record<string, Case>} */
const cases = {
  handshakes: {
    ...{ title: "TLS 1.3 handshakes (P-256), no request", what: "handshake", clients: CLIENTS },
    options: { handshakesOnly: true },
  },
  requests: { title: "a handshake and a request on each connection", what: "request", clients: CLIENTS, options: {} },
  half: {
    ...{ title: "the same in an open loop, at half of that rate", what: "request", clients: MOST_CLIENTS },
    ...{ options: {}, half: true },
  },
  kept: { title: "requests on kept connections", what: "request", clients: CLIENTS, options: { keep: true } },
  downloads: {
    ...{ title: "downloads of 1 MiB on kept connections", what: "download", clients: DOWNLOADS },
    options: { keep: true, path: "/download" },
  },
};

export const description =
  "handshakes, requests and downloads of Node and Go servers, behind the door and by themselves";
export const defaults = {
  full: { rounds: 7, duration: 2 },
  quick: { rounds: 3, duration: 0.7 },
};
export const contestants = [...servers.map(({ name }) => ({ name })), ...Object.keys(cases).map((name) => ({ name }))];
export const mostClients = MOST_CLIENTS;

/**
 * @typedef {object} Way
 * @property {import("../tls-servers.mjs").RunningServer} running
 * @property {boolean} isDoor
 * @property {string} address
 *
 * @typedef {import("../requests.mjs").RequestsResult & { server: number, router: number | null, foreignShare: number }} Round
 *   CPU in microseconds for each request
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const { path: requests, hasTls } = await compileRequests();
  if (!hasTls) {
    throw new BenchFailure("tls needs OpenSSL's headers (Debian, Ubuntu: apt install libssl-dev)");
  }
  const chosen = (/** @type {readonly string[]} */ names) => {
    const named = names.filter((name) => context.takesPart(name));
    return named.length > 0 ? named : names;
  };
  const wanted = servers.filter(({ name }) => chosen(servers.map((each) => each.name)).includes(name));
  const running = await startAll(context, wanted);
  /** @type {Door | undefined} */
  let door;
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  let failed = 0;
  try {
    if (running.length > 0 && !context.signal.aborted) {
      door = await startDoor(context, running);
    }
    const ways = running.flatMap((each) => [
      { running: each, isDoor: false, address: each.address },
      { running: each, isDoor: true, address: door?.address ?? "" },
    ]);
    /** @type {Map<Way, number>} */
    const rates = new Map();
    for (const name of chosen(Object.keys(cases))) {
      if (context.signal.aborted || ways.length === 0) {
        break;
      }
      if (cases[name].half && rates.size === 0) {
        await measureCase(context, cases.requests, { requests, ways, door, rates }, 1);
      }
      const measured = await measureCase(context, cases[name], { requests, ways, door, rates }, context.rounds);
      if (measured.size > 0) {
        const table = tableOf(cases[name], measured);
        tables.push(table);
        context.print(tableText(table));
        failed += [...measured.values()].flat().reduce((sum, round) => sum + round.failed, 0);
      }
    }
  } finally {
    await door?.stop();
    await Promise.all(running.map(({ child }) => child.stop()));
  }
  const bounds = tables.length === 0 ? [] : [atMost("requests that failed", failed, 0, "")];
  context.print(`${boundsText(bounds)}\n`);
  const { rounds, duration: secondsPerRound, warmUp: warmUpSeconds, threads: loadThreads } = context;
  return { settings: { rounds, secondsPerRound, warmUpSeconds, loadThreads }, ...uniform({ tables, bounds }) };
}

/** Those that can be started. @param {import("../main.mjs").Context} context @param {readonly import("../tls-servers.mjs").Server[]} wanted */
async function startAll(context, wanted) {
  const own = await generate([{ name: "commonName", value: "bench.example" }], {
    ...{ keyType: "ec", curve: "P-256", algorithm: "sha256" },
  });
  const certificate = join(context.folder, "tls.crt");
  const key = join(context.folder, "tls.key");
  await writeFile(certificate, own.cert);
  await writeFile(key, own.private);
  const running = [];
  for (const server of wanted) {
    context.progress(`starting the ${server.title} server`);
    try {
      running.push(await startServer(server, { ...context, certificate, key }));
    } catch (error) {
      if (!(error instanceof BenchFailure)) {
        throw error;
      }
      context.print(`The ${server.title} server cannot take part: ${error.message}\n\n`);
    }
  }
  return running;
}

/** @param {string} server */
const hostOf = (server) => `${server}.bench.example`;

/** @param {import("../main.mjs").Context} context @param {readonly import("../tls-servers.mjs").RunningServer[]} running */
async function startDoor({ folder, programs, signal }, running) {
  const configuration = {
    ...{ workers: 1, accessLog: "off" },
    backends: Object.fromEntries(running.map(({ server, path }) => [server.name, { handoff: path }])),
    routes: Object.fromEntries(running.map(({ server }) => [hostOf(server.name), server.name])),
  };
  const door = await Door.start({ folder, programs, signal, configuration, name: "tls" });
  try {
    await Promise.all(running.map(({ server }) => door.instances(server.name, 1)));
  } catch (error) {
    await door.stop();
    throw error;
  }
  return door;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {{ requests: string, ways: readonly Way[], door: Door | undefined, rates: Map<Way, number> }} tools `rates`: requests
 *   a second of the case `requests`, which is written there
 * @param {number} rounds
 */
async function measureCase(context, planned, { requests, ways, door, rates }, rounds) {
  /** @type {Map<Way, Round[]>} */
  const measured = new Map();
  // The first round only warms up.
  for (let round = 0; round <= rounds; round++) {
    for (const way of ways) {
      if (context.signal.aborted) {
        break;
      }
      const { name, title } = way.running.server;
      context.progress(`${planned.title}: round ${round} of ${rounds}, ${title}${way.isDoor ? ", door" : ""}`);
      const saturated = ways.flatMap((each) => (each.running === way.running ? [rates.get(each) ?? Infinity] : []));
      const half = Math.max(1, Math.round(Math.min(...saturated) / 2));
      if (planned.half && !Number.isFinite(half)) {
        continue;
      }
      const result = await measureRound(context, way, door, {
        ...{ requests, name: hostOf(name), ending: ENDING, ...planned.options, ...(planned.half && { rate: half }) },
        clients: Math.min(planned.clients, context.limits.clients),
      });
      if (round > 0 && (!result.interrupted || result.seconds > 0.2)) {
        measured.set(way, [...(measured.get(way) ?? []), result]);
      }
    }
  }
  if (planned === cases.requests) {
    for (const [way, each] of measured) {
      rates.set(way, summarize(each.map(({ requestsPerSecond }) => requestsPerSecond))?.median ?? 0);
    }
  }
  return measured;
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Way} way
 * @param {Door | undefined} door
 * @param {Pick<import("../requests.mjs").RequestsOptions, "requests" | "ending" | "clients"> & Partial<import("../requests.mjs").RequestsOptions>} options
 * @returns {Promise<Round>}
 */
async function measureRound(context, { running, isDoor, address }, door, options) {
  const doorPid = isDoor && door !== undefined ? door.pid : 0;
  const result = await runRequests({
    ...{ threads: context.threads, sources: context.limits.sources, signal: context.signal, address },
    // Kept connections must be there before anything is measured.
    ...{ seconds: context.duration, warmUp: Math.max(context.warmUp, options.keep ? 0.5 : 0), ...options },
    watch: [running.child.pid, ...(doorPid > 0 ? [doorPid] : [])],
  });
  const microseconds = (/** @type {number} */ pid) => (result.cpuSeconds.get(pid) ?? Number.NaN) * 1e6;
  const watched = [...result.cpuSeconds.values()].reduce((sum, each) => sum + each * result.completed, 0);
  const foreign = result.machineBusySeconds - watched - result.ownCpuSeconds.user - result.ownCpuSeconds.system;
  return {
    ...result,
    server: microseconds(running.child.pid),
    router: doorPid > 0 ? microseconds(doorPid) : null,
    foreignShare: Math.max(0, foreign) / (result.seconds * context.cores),
  };
}

/** @param {Case} planned @param {Map<Way, Round[]>} measured @returns {import("../report/result.mjs").Table} */
function tableOf(planned, measured) {
  const all = [...measured.values()].flat();
  const isDownload = planned.what === "download";
  const note = [
    ...(planned.half ? [`Due: ${[...new Set(all.map(({ open }) => count(open?.rate)))].join(" and ")} a second.`] : []),
    ...limitNotes(all.map(({ generator }) => generator)),
    ...foreignNote(summarize(all.map(({ foreignShare }) => foreignShare))),
  ].join(" ");
  const speed = (/** @type {Round} */ round) =>
    isDownload ? (round.requestsPerSecond * DOWNLOAD_BYTES) / 1e6 : round.requestsPerSecond;
  const latency = (/** @type {readonly Round[]} */ rounds, /** @type {"p50" | "p99"} */ what) =>
    summarize(rounds.map(({ latencyMicroseconds }) => latencyMicroseconds[what] / 1000));
  return {
    title: planned.title,
    ...(note === "" ? {} : { note }),
    columns: [
      column("rate", isDownload ? "speed" : `${planned.what}s`, {
        ...{ unit: isDownload ? "MB/s" : "per s", better: "more", digits: 0, range: true },
      }),
      column("toDirect", "× by itself", { digits: 2 }),
      column("server", "server CPU", { unit: `µs/${planned.what}`, better: "less", digits: isDownload ? 0 : 1 }),
      column("router", "router CPU", { unit: `µs/${planned.what}`, better: "less", digits: 1 }),
      column("p50", "p50", { unit: "ms", better: "less", digits: 2 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 2 }),
      column("failed", "failed", { better: "less" }),
    ],
    rows: [...measured].map(([way, rounds]) => {
      const { server } = way.running;
      const direct = [...measured].find(([each]) => each.running === way.running && !each.isDoor)?.[1] ?? [];
      return {
        ...{ name: `${server.name}-${way.isDoor ? "door" : "direct"}`, router: way.isDoor, ours: way.isDoor },
        label: `${server.title}, ${way.isDoor ? "door" : "by itself"}`,
        cells: {
          rate: summarize(rounds.map(speed)),
          toDirect: ratio(rounds.map(speed), direct.map(speed)),
          server: summarize(rounds.map((round) => round.server)),
          router: summarize(rounds.map((round) => round.router)),
          ...{ p50: latency(rounds, "p50"), p99: latency(rounds, "p99") },
          failed: rounds.reduce((sum, round) => sum + round.failed, 0),
        },
      };
    }),
  };
}
