/**
 * Scenario `restart`: what clients notice of a restart of the server behind a router, of its reload, upgrade, restart and
 * kill -9: for the door and each other router, as each offers it. (`pauses` looks at the door alone, with real TLS.)
 *
 * The clients only send a hello and wait for the first bytes; what is done is done several times, and each contestant has a
 * control: the same clients, and nothing happens.
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
import { limitNotes, runLoad } from "../load.mjs";
import { nameOf } from "../names.mjs";
import { configurationsOf, DESCRIPTORS_PER_CLIENT, peers } from "../peers.mjs";
import { column, uniform } from "../report/result.mjs";
import { configurationsText, tableText } from "../report/terminal.mjs";

const CLIENTS = 64;
/** A full machine hides pauses behind its queue. Microseconds. */
const REST = 50_000;
/** Between two times; and the load's own start. Milliseconds. */
const BETWEEN = 300;
const LOAD_START = 700;
/** Who waits still when all is done is answered by then: SYNs, and HAProxy, try again after a second. Milliseconds. */
const RECOVERY = 2500;

/** @typedef {keyof import("../contestants/contestant.mjs").Actions} Action */

/** @type {{ name: Action, title: string }[]} */
const actions = [
  { name: "backend", title: "the server is restarted, away for half a second" },
  { name: "reload", title: "reload" },
  { name: "upgrade", title: "upgrade: another process takes over" },
  { name: "restart", title: "stopped in order and started" },
  { name: "kill", title: "kill -9 and started" },
];
/** With which the door may lose nothing, nor refuse. @type {Action[]} */
const HARMLESS = ["backend", "reload", "upgrade"];

export const description =
  "backend restart, reload, upgrade, restart, kill -9: failures and pauses, beside other routers";
/** `rounds`: times that each is done; `duration`: of a control. */
export const defaults = {
  full: { rounds: 5, duration: 4 },
  quick: { rounds: 2, duration: 1 },
};
export const contestants = [doorService, direct, ...peers];
export const mostClients = CLIENTS;
export const descriptorsPerClient = DESCRIPTORS_PER_CLIENT;

/**
 * @typedef {object} Seen
 * @property {number} seconds
 * @property {number} completed
 * @property {number} refused between one process and the next: whoever tries again is served, and nothing is lost
 * @property {number} failed all others
 * @property {Record<string, number>} kinds of these
 * @property {number} longest from before connect to the answer, milliseconds
 * @property {import("../load.mjs").GeneratorUse} generator
 * @property {number} [took] milliseconds, each time
 */

/** @param {import("../main.mjs").Context} context @returns {Promise<import("../report/result.mjs").Results>} */
export async function run(context) {
  const hello = join(context.folder, "restart.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const wanted = contestants.map((contestant) => ({
    ...{ contestant, name: contestant.name, label: contestant.title, names: 1, service: true },
  }));
  const entries = await lineUp(context, wanted);
  const taking = entries.map(({ contestant }) => contestant);
  const configurations = configurationsOf(taking, { service: true });
  context.print(configurationsText(configurations));
  /** @type {Map<Action, Map<string, Seen>>} */
  const seen = new Map(actions.map(({ name }) => [name, new Map()]));
  /** @type {Map<string, Seen>} */
  const controls = new Map();
  try {
    for (const entry of entries) {
      await lookAt(context, hello, entry, seen, controls);
    }
  } finally {
    await stopAll(entries);
  }
  const tables = actions.flatMap((action) => tableOf(action, entries, seen, controls, context.rounds));
  const bounds = HARMLESS.flatMap((action) => {
    const ofDoor = seen.get(action)?.get(doorService.name);
    const title = actions.find(({ name }) => name === action)?.title;
    return ofDoor === undefined ? [] : [atMost(`door, ${title}: failed`, ofDoor.failed + ofDoor.refused, 0, "")];
  });
  context.print(`${tables.map(tableText).join("")}${boundsText(bounds)}\n`);
  return {
    settings: { times: context.rounds, clients: CLIENTS, restMicroseconds: REST },
    actions: Object.fromEntries([...seen].map(([name, each]) => [name, Object.fromEntries(each)])),
    controls: Object.fromEntries(controls),
    ...uniform({ tables, bounds, configurations }),
  };
}

/**
 * All that one contestant offers. If it does not come back it is reported, and the others go on.
 *
 * @param {import("../main.mjs").Context} context
 * @param {string} hello path
 * @param {import("../line-up.mjs").Entry} entry
 * @param {Map<Action, Map<string, Seen>>} seen
 * @param {Map<string, Seen>} controls
 */
async function lookAt(context, hello, entry, seen, controls) {
  const { running, name, label } = entry;
  const { signal, duration, rounds } = context;
  const address = running.address;
  if (signal.aborted) {
    return;
  }
  context.progress(`${label}: its control`);
  controls.set(name, await watched(context, hello, address, () => rest(duration * 1000, signal)));
  for (const action of actions) {
    const act = running.actions?.[action.name];
    if (act === undefined || signal.aborted) {
      continue;
    }
    let took = 0;
    const times = async () => {
      for (let i = 0; i < rounds && !signal.aborted; i++) {
        context.progress(`${label}, ${action.title}: ${i + 1} of ${rounds}`);
        const began = performance.now();
        await act();
        took += performance.now() - began;
        await rest(BETWEEN, signal);
      }
      await rest(RECOVERY, signal);
    };
    try {
      const result = await watched(context, hello, address, times);
      if (!signal.aborted) {
        seen.get(action.name)?.set(name, { ...result, took: took / rounds });
      }
    } catch (error) {
      if (signal.aborted) {
        return;
      }
      if (!(error instanceof BenchFailure)) {
        throw error;
      }
      context.print(`${label}, ${action.title}: ${error.message}\n\n`);
      return;
    }
  }
}

/** @param {number} milliseconds @param {AbortSignal} signal */
const rest = (milliseconds, signal) => sleep(milliseconds, undefined, { signal }).catch(() => {});

/** What clients see while something is done. @param {import("../main.mjs").Context} context @param {string} hello @param {string} address @param {() => Promise<unknown>} act @returns {Promise<Seen>} */
async function watched(context, hello, address, act) {
  const ending = new AbortController();
  const load = runLoad({
    ...{ load: context.programs.load, address, hello, names: 1, signal: ending.signal },
    ...{ clients: CLIENTS, threads: 1, sources: context.limits.sources, rest: REST },
    ...{ seconds: 3600, warmUp: 0.3, firstSegment: 0, pause: 0, watch: [] },
  });
  load.catch(() => {}); // looked at below
  try {
    await rest(LOAD_START, context.signal);
    await act();
  } finally {
    ending.abort();
    await load.catch(() => {});
  }
  const result = await load;
  const kinds = Object.fromEntries(Object.entries(result.failed).filter(([, times]) => times > 0));
  const failed = Object.values(kinds).reduce((sum, times) => sum + times, 0);
  const { refused = 0 } = kinds;
  return {
    ...{ seconds: result.seconds, completed: result.completed, refused, failed: failed - refused, kinds },
    generator: result.generator,
    longest: result.latencyMicroseconds.max / 1000,
  };
}

/**
 * @param {typeof actions[number]} action
 * @param {readonly import("../line-up.mjs").Entry[]} entries
 * @param {Map<Action, Map<string, Seen>>} seen
 * @param {Map<string, Seen>} controls
 * @param {number} times
 * @returns {import("../report/result.mjs").Table[]} none if nobody did it
 */
function tableOf(action, entries, seen, controls, times) {
  const rows = entries.flatMap(({ name, label }) => {
    const result = seen.get(action.name)?.get(name);
    return result === undefined ? [] : [{ name, label, result }];
  });
  const others = entries.filter(({ running }) => running.actions?.[action.name] === undefined);
  const none =
    others.length === 0 ? "" : ` Not offered, or not as one call: ${others.map(({ label }) => label).join("; ")}.`;
  if (rows.length === 0) {
    return [];
  }
  return [
    {
      title: `${action.title}, ${times === 1 ? "once" : `${times} times`}`,
      note: [
        `Refused: between one process and the next, so that nothing is lost of whoever tries again.${none}`,
        ...limitNotes(rows.map(({ result }) => result.generator)),
      ].join(" "),
      columns: [
        column("failed", "failed", { better: "less" }),
        column("refused", "refused", { better: "less" }),
        column("completed", "answered"),
        column("longest", "longest wait", { unit: "ms", better: "less", digits: 1 }),
        column("control", "its control's", { unit: "ms", digits: 1 }),
        column("took", "until it serves again", { unit: "ms", digits: 0 }),
      ],
      rows: rows.map(({ name, label, result }) => ({
        ...{ name, label, router: name !== direct.name, ours: name === doorService.name },
        cells: {
          ...{ failed: result.failed, refused: result.refused, completed: result.completed, longest: result.longest },
          ...{ control: controls.get(name)?.longest ?? null, took: result.took ?? null },
        },
      })),
    },
  ];
}
