/** Contestants of a scenario: started side by side, and measured by one round of the load at a time. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { BenchFailure } from "./failure.mjs";
import { clientHello } from "./hello.mjs";
import { perConnection, runLoad } from "./load.mjs";
import { nameOf } from "./names.mjs";
import { waitForAnswer } from "./probe.mjs";

/**
 * @typedef {object} Wanted
 * @property {import("./contestants/contestant.mjs").Contestant} contestant
 * @property {string} name the same in every run
 * @property {string} label for people
 * @property {number} names
 * @property {number} [clients] at the same time
 * @property {boolean} [wildcards]
 * @property {boolean} [service]
 *
 * @typedef {Wanted & { running: import("./contestants/contestant.mjs").Running }} Entry
 *
 * @typedef {object} Round
 * @property {number | null} cpu of the router, microseconds per connection
 * @property {number} rate connections per second
 * @property {number | null} p50 milliseconds
 * @property {number | null} p99 milliseconds
 * @property {number | null} longest milliseconds
 * @property {number} failed
 * @property {number} foreignShare of the machine, others'
 * @property {import("./load.mjs").GeneratorUse} generator
 */

/**
 * Starts those that can take part, and sees each of them answer. One that fails is reported, by its own words, and the
 * rest goes on. The caller stops them.
 *
 * @param {import("./main.mjs").Context} context
 * @param {readonly Wanted[]} wanted
 * @returns {Promise<Entry[]>} none if it was interrupted
 */
export async function lineUp(context, wanted) {
  const { programs, signal } = context;
  /** @type {Entry[]} */
  const entries = [];
  /** @type {Set<import("./contestants/contestant.mjs").Contestant>} */
  const absent = new Set();
  for (const each of wanted.filter(({ contestant }) => context.takesPart(contestant.name))) {
    const { contestant, name, label, names, clients, wildcards = false, service = false } = each;
    const missing = contestant.missing();
    if (missing !== null) {
      if (!absent.has(contestant)) {
        context.print(`${contestant.title} cannot take part: ${missing}\n\n`);
      }
      absent.add(contestant);
      continue;
    }
    context.progress(`starting ${label}`);
    const folder = join(context.folder, name.replaceAll(" ", "-"));
    await mkdir(folder, { recursive: true });
    /** @type {import("./contestants/contestant.mjs").Running | undefined} */
    let running;
    try {
      running = await contestant.start({
        ...{ programs, folder, names, wildcards, service, signal },
        ...(clients !== undefined && { clients }),
      });
      const hello = clientHello(`${wildcards ? "a." : ""}${nameOf(names - 1)}`, 517);
      await waitForAnswer(running.address, hello, 10_000, signal);
      entries.push({ ...each, running });
    } catch (error) {
      await running?.stop();
      if (signal.aborted) {
        await stopAll(entries);
        return [];
      }
      if (!(error instanceof BenchFailure)) {
        throw error;
      }
      context.print(`${label} cannot take part: ${error.message}\n\n`);
    }
  }
  return entries;
}

/** @param {readonly Entry[]} entries */
export async function stopAll(entries) {
  await Promise.all(entries.map(({ running }) => running.stop()));
}

/**
 * @param {import("./main.mjs").Context} context
 * @param {Entry} entry
 * @param {{ hello: string, clients: number, segment?: number, pause?: number }} load `hello`: its path; `segment`: bytes
 *   of each, all at once if absent; `pause` between them, microseconds
 * @returns {Promise<Round | null>} null if it was cut short
 */
export async function measure(context, { running, names }, { hello, clients, segment = 0, pause = 0 }) {
  const routerPids = running.routerPids();
  const result = await runLoad({
    ...{ load: context.programs.load, address: running.address, hello, names, signal: context.signal },
    ...{ clients, threads: context.threads, sources: context.limits.sources },
    ...{ seconds: context.duration, warmUp: context.warmUp, firstSegment: segment, pause },
    watch: [...routerPids, ...running.serverPids()],
  });
  if (result.interrupted && result.seconds < 0.2) {
    return null;
  }
  const cpu = perConnection(result, routerPids, "cpuSeconds");
  const ours = result.watched.reduce((sum, { cpuSeconds }) => sum + (cpuSeconds ?? 0), 0);
  const foreign = result.machineBusySeconds - ours - result.ownCpuSeconds.user - result.ownCpuSeconds.system;
  const latency = (/** @type {"p50" | "p99" | "max"} */ what) =>
    result.completed === 0 ? null : result.latencyMicroseconds[what] / 1000;
  return {
    cpu: cpu === null ? null : cpu * 1e6,
    rate: result.connectionsPerSecond,
    p50: latency("p50"),
    p99: latency("p99"),
    longest: latency("max"),
    failed: Object.values(result.failed).reduce((sum, times) => sum + times, 0),
    foreignShare: Math.max(0, foreign) / (result.seconds * context.cores),
    generator: result.generator,
  };
}
