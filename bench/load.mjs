/** One run of the load generator (load.c). */
import { Child } from "./process.mjs";

/**
 * @typedef {object} LoadOptions
 * @property {string} load path of the program
 * @property {string} address "127.0.0.1:443"
 * @property {string} hello path of the ClientHello
 * @property {number} names
 * @property {number} clients
 * @property {number} threads
 * @property {number} sources client addresses per thread; 0: 127.0.0.1
 * @property {number} seconds to measure
 * @property {number} warmUp seconds before that
 * @property {number} firstSegment bytes, and of each that follows; 0 sends the hello at once
 * @property {number} pause between the segments, microseconds
 * @property {number} [rest] of a client after each connection, microseconds; 0 if absent
 * @property {number} [rate] open loop: connections a second, each due at its time; absent: closed loop
 * @property {number} [most] it ends after so many connections; absent: after its time
 * @property {boolean} [once] each client makes one connection, all of them at once, without a warm-up
 * @property {boolean} [fin] close in order, not by RST: ports wait in TIME_WAIT
 * @property {number} [timeout] milliseconds after which a connection is given up; 10,000 if absent
 * @property {boolean} [whole] read answers to their end, and count their bytes; false if absent
 * @property {readonly number[]} watch process ids whose CPU time is read too
 * @property {AbortSignal} signal ends the run early; the result is of what there was
 */

/**
 * @typedef {{ mean: number, p50: number, p90: number, p99: number, p999: number, max: number }} Latency
 *
 * @typedef {object} GeneratorUse
 * @property {number} busyShare of the time, in which its threads had something to do
 * @property {number} cpuShare of a core, that each thread used
 * @property {"none" | "generator" | "cores"} limit whether another generator would have got other figures: its threads
 *   were too few ("generator"), or had to share the cores with what is measured ("cores")
 *
 * @typedef {object} OpenLoop
 * @property {number} rate a second
 * @property {number} due connections whose time came while it was measured
 * @property {number} withoutFreeClient those of them that found all clients busy, and so began later
 * @property {Latency} latenessMicroseconds how much later than due the others began
 */

/**
 * @typedef {object} LoadResult what load.c prints
 * @property {number} completed
 * @property {number} bytes of answers that were read whole
 * @property {number} seconds
 * @property {number} connectionsPerSecond
 * @property {Record<string, number>} failed
 * @property {Latency} latencyMicroseconds in an open loop from when a connection was due
 * @property {{ user: number, system: number }} ownCpuSeconds
 * @property {number} threads
 * @property {{ pid: number, cpuSeconds: number | null, sleeps: number | null }[]} watched
 * @property {GeneratorUse} generator
 * @property {OpenLoop} [open]
 * @property {number} machineBusySeconds all cores together
 * @property {boolean} interrupted
 */

/** @param {LoadOptions} options @returns {Promise<LoadResult>} @throws {BenchFailure} */
export async function runLoad(options) {
  const child = new Child("The load generator", options.load, [
    ...["-f", options.hello, "-N", String(options.names), "-c", String(options.clients), "-t", String(options.threads)],
    ...["-s", String(options.sources), "-d", String(options.seconds), "-w", String(options.warmUp)],
    ...["-S", String(options.firstSegment), "-P", String(options.pause)],
    ...["-r", String(options.rest ?? 0), ...(options.whole === true ? ["-a"] : [])],
    ...["-R", String(options.rate ?? 0), "-T", String(options.timeout ?? 10_000)],
    ...(options.most === undefined ? [] : ["-n", String(options.most)]),
    ...(options.once === true ? ["-1"] : []),
    ...(options.fin === true ? ["-F"] : []),
    ...options.watch.flatMap((pid) => ["-u", String(pid)]),
    options.address,
  ]);
  const interrupt = () => child.signal("SIGINT");
  options.signal.addEventListener("abort", interrupt);
  if (options.signal.aborted) {
    interrupt();
  }
  try {
    return await child.find(
      (line) => ("completed" in line ? line : undefined),
      (options.seconds + options.warmUp + 30) * 1000,
    );
  } finally {
    options.signal.removeEventListener("abort", interrupt);
    await child.stop();
  }
}

/**
 * What some of the watched processes used per connection completed.
 *
 * @param {LoadResult} result
 * @param {readonly number[]} pids
 * @param {"cpuSeconds" | "sleeps"} what
 * @returns {number | null} null if a process is gone, or nothing was completed
 */
export function perConnection(result, pids, what) {
  const figures = result.watched.filter(({ pid }) => pids.includes(pid)).map((used) => used[what]);
  if (result.completed === 0 || figures.length === 0 || figures.includes(null)) {
    return null;
  }
  return figures.reduce((/** @type {number} */ sum, figure) => sum + (figure ?? 0), 0) / result.completed;
}

/**
 * Whether the load generator was the limit of what was measured, for a table's note.
 *
 * @param {readonly GeneratorUse[]} uses of all rounds
 * @returns {string[]} none, or a sentence for each kind of limit
 */
export function limitNotes(uses) {
  const times = (/** @type {string} */ limit) => uses.filter((use) => use.limit === limit).length;
  const rounds = (/** @type {string} */ limit) => `in ${times(limit)} of ${uses.length} rounds`;
  return [
    ...(times("generator") > 0
      ? [`The load generator was the limit ${rounds("generator")}: more threads of it (--threads) might show more.`]
      : []),
    ...(times("cores") > 0
      ? [
          `The load generator had to wait for a core ${rounds("cores")}: it shares them with what is measured, and its waiting is in the latencies.`,
        ]
      : []),
  ];
}
