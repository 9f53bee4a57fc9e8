/**
 * Scenario `pauses`: what clients notice while the door is reloaded, upgraded, stopped, killed, and its backends are
 * restarted.
 *
 * Real TLS clients (requests.c) make a request a connection, in a closed loop with a rest, so that the machine is not full
 * and a pause is not hidden behind a queue; beside them one client sends a hello every two milliseconds to a backend in C,
 * which shows how long a worker stands still. After each case the same clients go on as long again while nothing happens:
 * its control.
 */
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { generate } from "selfsigned";
import { atMost, boundsText } from "../bound.mjs";
import { compileRequests } from "../compile.mjs";
import { startReceiver } from "../contestants/contestant.mjs";
import { Door } from "../door.mjs";
import { BenchFailure } from "../failure.mjs";
import { clientHello } from "../hello.mjs";
import { runLoad } from "../load.mjs";
import { nameOf, writeMap } from "../names.mjs";
import { Child } from "../process.mjs";
import { column, uniform } from "../report/result.mjs";
import { tableText } from "../report/terminal.mjs";
import { count, figure } from "../table.mjs";

const backendProgram = fileURLToPath(new URL("../tls-backend.mjs", import.meta.url));
const NAME = "app.bench.example";
const CLIENTS = 64;
const INSTANCES = 3;
/** A client's, between two requests: the machine must have time for what is measured. Milliseconds. */
const REST = 150;
/** Between two connections of the client that sends hellos only. Microseconds. */
const PROBE_REST = 2000;
/** The same for clients that have lost a SYN: they send it again after a second (RFC 6298 §2). Milliseconds. */
const RECOVERY = 1500;
/** The least that a control lasts, seconds. */
const SHORTEST_CONTROL = 3;

export const description = "what TLS clients notice of reloads, upgrades, restarts and kills";
export const defaults = { full: { rounds: 1, duration: 1 }, quick: { rounds: 1, duration: 1 } };
export const mostClients = CLIENTS + 64;

/**
 * @typedef {object} Stage
 * @property {import("../main.mjs").Context} context
 * @property {Door} door that is in charge; actions may put another one here
 * @property {object} configuration of the door
 * @property {Child[]} instances
 * @property {() => Promise<Child>} startInstance
 *
 * @typedef {object} Case
 * @property {string} name for --only
 * @property {string} title
 * @property {number} times
 * @property {number} quickTimes
 * @property {number} names
 * @property {(stage: Stage, index: number) => Promise<void>} act once
 * @property {number} [pause] longer than the control's, at most; milliseconds
 * @property {boolean} [mayRefuse] there is no listener for a moment: connections that are refused aren't lost ones
 * @property {boolean} [mayLose]
 * @property {boolean} [passed] the listening socket is the benchmark's, as it would be systemd's
 */

/** @type {Case[]} */
const cases = [
  {
    ...{ name: "reload", title: "reload, 100 names", times: 100, quickTimes: 20, names: 100, pause: 10 },
    act: reload,
  },
  {
    ...{
      name: "reload-million",
      title: "reload, 1,000,000 names",
      times: 10,
      quickTimes: 2,
      names: 1_000_000,
      pause: 10,
    },
    act: reload,
  },
  {
    ...{ name: "upgrade", title: "upgrade", times: 20, quickTimes: 4, names: 100, pause: 200 },
    act: async ({ door }) => door.upgrade(),
  },
  {
    ...{
      name: "rolling",
      title: `restart of ${INSTANCES} instances, one by one`,
      times: 20,
      quickTimes: 3,
      names: 100,
    },
    act: restartInstances,
  },
  {
    ...{
      name: "restart",
      title: "stop and start, own listener",
      times: 10,
      quickTimes: 2,
      names: 100,
      mayRefuse: true,
    },
    act: (stage) => startAgain(stage, "SIGTERM"),
  },
  {
    ...{ name: "restart-passed", title: "stop and start, listener as systemd's", times: 10, quickTimes: 2, names: 100 },
    passed: true,
    act: (stage) => startAgain(stage, "SIGTERM"),
  },
  {
    ...{
      name: "kill",
      title: "kill -9 and start, own listener",
      times: 10,
      quickTimes: 2,
      names: 100,
      mayRefuse: true,
    },
    mayLose: true,
    act: (stage) => startAgain(stage, "SIGKILL"),
  },
];

export const contestants = cases.map(({ name }) => ({ name }));

/** Another route each time, so that there is something to change. @param {Stage} stage @param {number} index */
async function reload({ door, configuration }, index) {
  const routes = /** @type {any} */ (configuration).routes;
  await door.reload({ ...configuration, routes: { ...routes, [`round-${index}.bench.example`]: "app" } });
}

/** @param {Stage} stage */
async function restartInstances(stage) {
  for (let i = 0; i < INSTANCES; i++) {
    await stage.instances.shift()?.stop(30_000);
    stage.instances.push(await stage.startInstance());
    await stage.door.instances("app", INSTANCES);
  }
}

/** @param {Stage} stage @param {NodeJS.Signals} signal */
async function startAgain(stage, signal) {
  await stage.door.stop(signal);
  stage.door = await stage.door.again();
  await sleep(RECOVERY);
}

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const { path: requests, hasTls } = await compileRequests();
  if (!hasTls) {
    throw new BenchFailure("pauses needs OpenSSL's headers (Debian, Ubuntu: apt install libssl-dev)");
  }
  const attributes = [{ name: "commonName", value: NAME }];
  const own = await generate(attributes, { keyType: "ec", curve: "P-256", algorithm: "sha256" });
  const hello = join(context.folder, "pauses.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const results = {
    clients: CLIENTS,
    restMilliseconds: REST,
    cases: /** @type {ReturnType<typeof summarizeCase>[]} */ ([]),
  };
  /** @type {import("../report/result.mjs").Table[]} */
  const tables = [];
  for (const planned of cases.filter(({ name }) => context.takesPart(name))) {
    if (context.signal.aborted) {
      break;
    }
    const summary = await runCase(context, planned, { requests, hello, own }).catch((error) => {
      if (!context.signal.aborted) {
        throw error;
      }
      return undefined;
    });
    if (summary !== undefined) {
      results.cases.push(summary);
      const table = caseTable(summary);
      tables.push(table);
      context.print(`${tableText(table)}${boundsText(summary.bounds)}\n`);
    }
  }
  const bounds = results.cases.flatMap(({ title, bounds: own }) =>
    own.map((bound) => ({ ...bound, what: `${title}: ${bound.what}` })),
  );
  return { ...results, ...uniform({ tables, bounds }) };
}

/**
 * @param {import("../main.mjs").Context} context
 * @param {Case} planned
 * @param {{ requests: string, hello: string, own: { cert: string, private: string } }} tools
 */
async function runCase(context, planned, { requests, hello, own }) {
  const { programs, signal, quick } = context;
  const folder = join(context.folder, planned.name);
  const pool = join(folder, "app/");
  await mkdir(pool, { recursive: true, mode: 0o755 });
  context.progress(`${planned.title}: starting`);
  const { receiver, path } = await startReceiver({ programs, folder, names: 1, signal });
  const startInstance = async () => {
    const argument = JSON.stringify({ cert: own.cert, key: own.private, path: pool });
    // By the tether: an instance must not outlive the benchmark.
    const child = new Child("An instance", programs.tether, [process.execPath, backendProgram, argument]);
    await child.find((line) => line.ready, 10_000, signal);
    return child;
  };
  const instances = await Promise.all(Array.from({ length: INSTANCES }, startInstance));
  const configuration = await configurationOf(folder, planned.names, pool, path);
  const listener = planned.passed ? await listen() : undefined;
  /** @type {Stage | undefined} */
  let stage;
  try {
    const passed = listener === undefined ? {} : { listener: listener.descriptor, address: listener.address };
    const door = await Door.start({ folder, programs, signal, configuration, name: "door", ...passed });
    stage = { context, door, configuration, instances, startInstance };
    await door.instances("app", INSTANCES);
    await door.instances("probe", 1);
    const watch = (/** @type {() => Promise<void>} */ act) => watched(context, requests, hello, door.address, act);
    // The code of both sides is compiled, and what a first action needs is in the page cache.
    await watch(() => sleep(1000));

    const times = quick ? planned.quickTimes : planned.times;
    const current = stage;
    const acted = await watch(async () => {
      for (let i = 0; i < times && !signal.aborted; i++) {
        context.progress(`${planned.title}: ${i + 1} of ${times}`);
        await planned.act(current, i);
      }
    });
    const seconds = Math.max(SHORTEST_CONTROL, acted.seconds);
    context.progress(`${planned.title}: its control, ${Math.round(seconds)} s`);
    const control = await watch(() => sleep(seconds * 1000, undefined, { signal }).catch(() => {}));
    const { counters } = await stage.door.status();
    return signal.aborted ? undefined : summarizeCase(planned, times, acted, control, counters);
  } finally {
    await stage?.door.stop();
    await Promise.all(instances.map((instance) => instance.stop()));
    await receiver.stop();
    listener?.close();
  }
}

/** @param {string} folder @param {number} names @param {string} pool @param {string} probe */
async function configurationOf(folder, names, pool, probe) {
  const map = join(folder, "names.map");
  await writeMap(map, names, "probe");
  return {
    workers: 1,
    accessLog: "off",
    backends: { app: { handoff: pool }, probe: { handoff: probe } },
    routes: { [NAME]: "app" },
    maps: [map],
  };
}

/** A listening socket that nobody accepts from until a door gets it. */
async function listen() {
  const { native } = await import("../../dist/native/addon.js");
  const descriptor = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 4096 });
  return {
    descriptor,
    address: `127.0.0.1:${native.localAddress(descriptor).port}`,
    close: () => native.close(descriptor),
  };
}

/**
 * @typedef {object} Watched what clients saw meanwhile; times in milliseconds
 * @property {number} seconds
 * @property {number} requests
 * @property {Record<string, number>} failures
 * @property {number} failed without those that were refused
 * @property {number} refused
 * @property {number} p50
 * @property {number} p99
 * @property {number} longest from before connect to the answer's end
 * @property {number} gap the longest time in which none of the clients got an answer
 * @property {{ connections: number, failed: number, refused: number, p99: number, longest: number }} probe
 */

/**
 * @param {import("../main.mjs").Context} context
 * @param {string} requests
 * @param {string} hello
 * @param {string} address
 * @param {() => Promise<void>} act
 * @returns {Promise<Watched>}
 */
async function watched(context, requests, hello, address, act) {
  const ending = new AbortController();
  const clients = new Child("The clients", requests, [
    ...["-s", NAME, "-c", String(CLIENTS), "-r", String(REST), "-e", "hello\n", "-w", "0.7", "-d", "3600", address],
  ]);
  const probe = runLoad({
    ...{ load: context.programs.load, address, hello, names: 1, signal: ending.signal },
    ...{ clients: 1, threads: 1, sources: context.limits.sources, rest: PROBE_REST },
    ...{ seconds: 3600, warmUp: 0.5, firstSegment: 0, pause: 0, watch: [] },
  });
  probe.catch(() => {}); // looked at below
  try {
    await clients.find((line) => line.measuring, 10_000, context.signal);
    const began = performance.now();
    await act();
    const seconds = (performance.now() - began) / 1000;
    clients.signal("SIGINT");
    const seen = await clients.find((line) => ("completed" in line ? line : undefined), 20_000);
    ending.abort();
    const hellos = await probe;
    const refused = seen.failures.refused;
    const ofProbe = Object.values(hellos.failed).reduce((sum, times) => sum + times, 0);
    const kinds = Object.entries(seen.failures).filter(([, times]) => /** @type {number} */ (times) > 0);
    return {
      ...{ seconds, requests: seen.completed, failures: Object.fromEntries(kinds) },
      ...{ failed: seen.failed - refused, refused },
      p50: seen.latencyMicroseconds.p50 / 1000,
      p99: seen.latencyMicroseconds.p99 / 1000,
      longest: seen.latencyMicroseconds.max / 1000,
      gap: seen.longestGapMicroseconds / 1000,
      probe: {
        connections: hellos.completed,
        failed: ofProbe - (hellos.failed.refused ?? 0),
        refused: hellos.failed.refused ?? 0,
        p99: hellos.latencyMicroseconds.p99 / 1000,
        longest: hellos.latencyMicroseconds.max / 1000,
      },
    };
  } finally {
    ending.abort();
    await clients.stop();
    await probe.catch(() => {});
  }
}

/** @param {Case} planned @param {number} times @param {Watched} acted @param {Watched} control @param {Record<string, number>} counters */
function summarizeCase(planned, times, acted, control, counters) {
  const { pause } = planned;
  const lost = acted.failed + acted.probe.failed;
  return {
    ...{ name: planned.name, title: planned.title, times, names: planned.names, acted, control, counters },
    lost,
    bounds: [
      ...(pause === undefined
        ? []
        : [
            atMost("longest request, above its control", acted.longest - control.longest, pause, " ms"),
            atMost("longest hello, above its control", acted.probe.longest - control.probe.longest, pause, " ms"),
          ]),
      ...(planned.mayLose ? [] : [atMost("connections that failed", lost, 0, "")]),
      ...(planned.mayRefuse
        ? []
        : [atMost("connections that were refused", acted.refused + acted.probe.refused, 0, "")]),
      atMost("connections that failed in the control", control.failed + control.probe.failed, 0, ""),
    ],
  };
}

/** @param {ReturnType<typeof summarizeCase>} summary @returns {import("../report/result.mjs").Table} */
function caseTable({ title, times, acted, control, lost, name }) {
  const kinds = Object.entries(acted.failures).map(([kind, number]) => `${count(number)} ${kind}`);
  const note = [
    `${count(times)} time${times === 1 ? "" : "s"}.`,
    ...(kinds.length === 0 ? [] : [`Requests without an answer: ${kinds.join(", ")}.`]),
    ...(name === "kill" ? [`Lost with each kill: ${figure(lost / times, 1)} connections.`] : []),
  ].join(" ");
  const row = (/** @type {string} */ key, /** @type {string} */ label, /** @type {Watched} */ seen) => ({
    ...{ name: key, label, router: key === "acted", ours: true },
    cells: {
      ...{ seconds: seen.seconds, requests: seen.requests, failed: seen.failed, refused: seen.refused },
      ...{ p50: seen.p50, p99: seen.p99, longest: seen.longest, gap: seen.gap },
      ...{ helloP99: seen.probe.p99, helloLongest: seen.probe.longest },
      ...{ helloFailed: seen.probe.failed, helloRefused: seen.probe.refused },
    },
  });
  return {
    title,
    note,
    columns: [
      column("seconds", "seconds", { digits: 1 }),
      column("requests", "requests"),
      column("failed", "failed", { better: "less" }),
      column("refused", "refused", { better: "less" }),
      column("p50", "p50", { unit: "ms", digits: 1 }),
      column("p99", "p99", { unit: "ms", better: "less", digits: 1 }),
      column("longest", "longest", { unit: "ms", better: "less", digits: 1 }),
      column("gap", "no answer for", { unit: "ms", digits: 1 }),
      column("helloP99", "hello p99", { unit: "ms", digits: 1 }),
      column("helloLongest", "longest hello", { unit: "ms", better: "less", digits: 1 }),
      column("helloFailed", "hellos failed", { better: "less" }),
      column("helloRefused", "hellos refused", { better: "less" }),
    ],
    rows: [row("acted", "meanwhile", acted), row("control", "control: nothing happens", control)],
  };
}
