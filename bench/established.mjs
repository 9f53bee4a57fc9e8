/**
 * The second half of scenario `idle`: what thousands of established connections, on which nothing happens, take up in the
 * router and in the server behind it: memory and descriptors.
 *
 * Each round starts the contestant anew and warms it up. Then as many connections come and go, which is the control, and
 * as many come and stay: what memory grew by while they stayed, above what it grew by in the control. What a router
 * allocates at its start for as many as it is told to expect is not counted.
 */
import { readdirSync, readFileSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { atMost } from "./bound.mjs";
import { direct } from "./contestants/direct.mjs";
import { door } from "./contestants/door.mjs";
import { relay } from "./contestants/relay.mjs";
import { BenchFailure } from "./failure.mjs";
import { clientHello } from "./hello.mjs";
import { lineUp, stopAll } from "./line-up.mjs";
import { runLoad } from "./load.mjs";
import { nameOf } from "./names.mjs";
import { configurationsOf, peers } from "./peers.mjs";
import { Child } from "./process.mjs";
import { column } from "./report/result.mjs";
import { summarize } from "./stats.mjs";

export const ESTABLISHED = 10_000;
/** Nothing can be kept in less than a word of memory. Bytes. */
const WORD = 8;
/** Of short connections, so that code is compiled, and the garbage of that is there before. Seconds. */
const WARM_UP = 3;
/** What is done with a new connection right after it is done by then. Milliseconds. */
const SETTLING = 1000;
/** Until the last of so many are answered, and gone. Milliseconds. */
const PATIENCE = 60_000;

export const contestants = [door, direct, relay, ...peers];

/**
 * @typedef {import("./contestants/contestant.mjs").Contestant} Contestant
 * @typedef {import("./contestants/contestant.mjs").Running} Running
 * @typedef {{ memory: number, descriptors: number }} Use bytes that no file is mapped to, and so many descriptors
 * @typedef {{ router: Use, server: Use, routerMemory: number, lost: number }} Round for each connection; `routerMemory`: all
 *   that the router has with them
 */

/** @param {import("./main.mjs").Context} context */
export async function established(context) {
  const hello = join(context.folder, "established.hello");
  await writeFile(hello, clientHello(nameOf(0), 517));
  const clientsOf = (/** @type {Contestant} */ { descriptors }) => context.limits.most(descriptors);
  /** @type {Map<Contestant, Round[]>} */
  const measured = new Map();
  /** Those that failed, and are not tried again. @type {Set<Contestant>} */
  const out = new Set();
  for (let round = 1; round <= context.rounds; round++) {
    const taking = contestants.filter((each) => !out.has(each) && context.takesPart(each.name));
    // Garbage is collected when it will: the door goes twice.
    for (const [index, contestant] of [...taking, ...taking.filter((each) => each === door)].entries()) {
      if (context.signal.aborted) {
        break;
      }
      const { name, title } = contestant;
      const wanted = {
        contestant,
        name: `${name}-${round}-${index}`,
        label: title,
        names: 1,
        clients: clientsOf(contestant),
      };
      const entries = await lineUp(context, [wanted]);
      context.progress(`${title}: established connections, round ${round} of ${context.rounds}`);
      try {
        for (const { running } of entries) {
          const result = await measureRound(context, running, hello, wanted.clients);
          measured.set(contestant, [...(measured.get(contestant) ?? []), result]);
        }
      } catch (error) {
        if (!context.signal.aborted) {
          if (!(error instanceof BenchFailure)) {
            throw error;
          }
          context.print(`${title}: ${error.message}\n\n`);
          out.add(contestant);
        }
      } finally {
        await stopAll(entries);
      }
      if (entries.length === 0) {
        out.add(contestant);
      }
    }
  }
  const configurations = configurationsOf([...measured.keys()], { clients: clientsOf });
  return { configurations, ...reportOf(measured, clientsOf) };
}

/**
 * @param {import("./main.mjs").Context} context
 * @param {Running} running
 * @param {string} hello path
 * @param {number} clients
 * @returns {Promise<Round>}
 * @throws {BenchFailure} if they are not answered
 */
async function measureRound({ programs, limits, threads, signal }, running, hello, clients) {
  const comeAndGo = async (/** @type {{ seconds: number, most?: number }} */ howMany) => {
    await runLoad({
      ...{ load: programs.load, address: running.address, hello, names: 1, sources: limits.sources, signal },
      ...{ clients: 64, threads, warmUp: 0, firstSegment: 0, pause: 0, watch: [], ...howMany },
    });
    await sleep(SETTLING, undefined, { signal });
    return lookAt(running);
  };
  const first = await comeAndGo({ seconds: WARM_UP });
  const before = await comeAndGo({ seconds: PATIENCE / 1000, most: clients });
  const options = ["-f", hello, "-c", String(clients), "-s", String(limits.sources > 0 ? 1000 : 0)];
  const child = new Child("The clients that stay", programs.hold, [...options, running.address]);
  try {
    await child.find((line) => line.ready, PATIENCE, signal);
    await sleep(SETTLING, undefined, { signal });
    const now = lookAt(running);
    child.signal("SIGTERM");
    const { held, lost } = await child.find((line) => ("held" in line && !line.ready ? line : undefined), 5000, signal);
    if (held === 0) {
      throw new BenchFailure(`none of ${clients} connections was answered`);
    }
    const each = (/** @type {"router" | "server"} */ side) => ({
      memory: (now[side].memory - before[side].memory - (before[side].memory - first[side].memory)) / held,
      descriptors: (now[side].descriptors - before[side].descriptors) / held,
    });
    return { router: each("router"), server: each("server"), routerMemory: now.router.memory, lost };
  } finally {
    await child.stop();
  }
}

/** @param {Running} running */
function lookAt(running) {
  return { router: useOf(running.routerPids()), server: useOf(running.serverPids()) };
}

/** Of all together; a process that is gone has none. @param {readonly number[]} pids @returns {Use} */
function useOf(pids) {
  const use = { memory: 0, descriptors: 0 };
  for (const pid of pids) {
    try {
      // proc_pid_smaps(5): "Anonymous", which a file that is mapped has no part in.
      const text = readFileSync(`/proc/${pid}/smaps_rollup`, "latin1");
      use.memory += 1024 * Number(/^Anonymous: +(\d+) kB/m.exec(text)?.[1] ?? 0);
      use.descriptors += readdirSync(`/proc/${pid}/fd`).length;
    } catch {
      // It has ended.
    }
  }
  return use;
}

/** @param {Map<Contestant, Round[]>} measured @param {(contestant: Contestant) => number} clientsOf */
function reportOf(measured, clientsOf) {
  const ofDoor = measured.get(door) ?? [];
  const figures = (/** @type {Round[]} */ rounds, /** @type {"router" | "server"} */ side) => ({
    memory: summarize(rounds.map((round) => round[side].memory)),
    descriptors: summarize(rounds.map((round) => round[side].descriptors)),
  });
  const { memory, descriptors } = figures(ofDoor, "router");
  const bytes = memory === null || Math.abs(memory.median) >= WORD ? memory?.median : 0;
  /** @type {import("./report/result.mjs").Table} */
  const table = {
    title: "established connections on which nothing happens",
    note: "For each connection, beyond what processes grow by while as many come and go. Sockets are the kernel's, and not in it.",
    columns: [
      column("connections", "connections"),
      column("routerDescriptors", "router, descriptors", { better: "less", digits: 2 }),
      column("router", "router, memory", { unit: "bytes", better: "less", digits: 0, range: true }),
      column("serverDescriptors", "server, descriptors", { better: "less", digits: 2 }),
      column("server", "server, memory", { unit: "bytes", better: "less", digits: 0, range: true }),
      column("routerMemory", "router, all of it", { unit: "MB", better: "less", digits: 1 }),
      column("lost", "failed", { better: "less" }),
    ],
    rows: [...measured].map(([contestant, rounds]) => {
      const [router, server] = [figures(rounds, "router"), figures(rounds, "server")];
      const isRouter = contestant !== direct;
      return {
        ...{
          name: contestant.name,
          label: contestant.title,
          router: isRouter,
          ours: contestant === door || contestant === relay,
        },
        cells: {
          connections: clientsOf(contestant),
          ...(isRouter && { routerDescriptors: router.descriptors, router: router.memory }),
          ...{ serverDescriptors: server.descriptors, server: server.memory },
          ...(isRouter && { routerMemory: summarize(rounds.map(({ routerMemory }) => routerMemory / 1e6)) }),
          lost: rounds.reduce((sum, { lost }) => sum + lost, 0),
        },
      };
    }),
  };
  return {
    tables: table.rows.length === 0 ? [] : [table],
    bounds:
      ofDoor.length === 0
        ? []
        : [
            atMost("door, memory for each established connection", bytes, 0, " bytes"),
            atMost("door, descriptors for each established connection", descriptors?.median, 0, ""),
          ],
  };
}
