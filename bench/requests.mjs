/** One run of the clients that make requests (requests.c). */
import { Child } from "./process.mjs";

/**
 * @typedef {object} RequestsOptions
 * @property {string} requests path of the program
 * @property {string} address "127.0.0.1:443"
 * @property {string} [name] over TLS, with this server name
 * @property {boolean} [keep] one request after the other on a connection
 * @property {boolean} [handshakesOnly] no request; with `name`
 * @property {string} [path] of the request; "/" if absent
 * @property {number} [rate] open loop: requests a second; absent: closed loop
 * @property {string} ending what every answer ends with
 * @property {number} clients
 * @property {number} threads
 * @property {number} sources client addresses; 0: 127.0.0.1
 * @property {number} seconds to measure
 * @property {number} warmUp seconds before that
 * @property {readonly number[]} watch process ids whose CPU time is read too
 * @property {AbortSignal} signal ends the run early; the result is of what there was
 */

/**
 * @typedef {object} RequestsResult
 * @property {number} completed
 * @property {number} bytes of answers, as they were before encryption
 * @property {number} seconds
 * @property {number} requestsPerSecond
 * @property {number} failed
 * @property {import("./load.mjs").Latency} latencyMicroseconds
 * @property {Map<number, number>} cpuSeconds of each watched process, for each request completed
 * @property {{ user: number, system: number }} ownCpuSeconds
 * @property {import("./load.mjs").GeneratorUse} generator
 * @property {import("./load.mjs").OpenLoop} [open]
 * @property {number} machineBusySeconds all cores together
 * @property {boolean} interrupted
 */

/** @param {RequestsOptions} options @returns {Promise<RequestsResult>} @throws {BenchFailure} */
export async function runRequests(options) {
  const { name, path, watch } = options;
  const child = new Child("The clients", options.requests, [
    ...(name === undefined ? [] : ["-s", name]),
    ...(path === undefined ? [] : ["-p", path]),
    ...["-c", String(options.clients), "-t", String(options.threads), "-e", options.ending],
    ...["-d", String(options.seconds), "-w", String(options.warmUp), "-R", String(options.rate ?? 0)],
    ...(options.keep === true ? ["-k"] : []),
    ...(options.handshakesOnly === true ? ["-H"] : []),
    ...["-a", String(options.sources), ...watch.flatMap((pid) => ["-u", String(pid)]), options.address],
  ]);
  const interrupt = () => child.signal("SIGINT");
  options.signal.addEventListener("abort", interrupt);
  if (options.signal.aborted) {
    interrupt();
  }
  try {
    const result = await child.find(
      (line) => ("completed" in line ? line : undefined),
      (options.seconds + options.warmUp + 30) * 1000,
    );
    return {
      ...result,
      requestsPerSecond: result.completed / (result.seconds || 1),
      cpuSeconds: new Map(watch.map((pid, index) => [pid, result.watched[index].cpuSeconds / (result.completed || 1)])),
    };
  } finally {
    options.signal.removeEventListener("abort", interrupt);
    await child.stop();
  }
}
