/** One run of the clients that make requests (requests.c), in as many processes as the load may have threads. */
import { Child } from "./process.mjs";

/**
 * @typedef {object} RequestsOptions
 * @property {string} requests path of the program
 * @property {string} address "127.0.0.1:443"
 * @property {string} [name] over TLS, with this server name
 * @property {boolean} [keep] one request after the other on a connection
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
 * @property {number} requestsPerSecond
 * @property {number} failed
 * @property {Map<number, number>} cpuSeconds of each watched process, for each request completed
 */

/** @param {RequestsOptions} options @returns {Promise<RequestsResult>} @throws {BenchFailure} */
export async function runRequests(options) {
  const { threads, clients, watch } = options;
  const children = Array.from({ length: threads }, (_, index) => {
    const share = Math.floor(clients / threads) + (index < clients % threads ? 1 : 0);
    return new Child("The clients", options.requests, [
      ...(options.name === undefined ? [] : ["-s", options.name]),
      ...["-c", String(share), "-d", String(options.seconds), "-w", String(options.warmUp), "-e", options.ending],
      ...(options.keep === true ? ["-k"] : []),
      ...["-a", String(options.sources), ...watch.flatMap((pid) => ["-u", String(pid)]), options.address],
    ]);
  });
  const interrupt = () => children.forEach((child) => void child.signal("SIGINT"));
  options.signal.addEventListener("abort", interrupt);
  if (options.signal.aborted) {
    interrupt();
  }
  try {
    const results = await Promise.all(
      children.map((child) =>
        child.find((line) => ("completed" in line ? line : undefined), (options.seconds + options.warmUp + 30) * 1000),
      ),
    );
    const completed = results.reduce((sum, each) => sum + each.completed, 0);
    // All of them watch at nearly the same moments: each process's time is the mean of what they saw.
    const cpuSeconds = new Map(
      watch.map((pid, index) => [
        pid,
        results.reduce((sum, each) => sum + each.watched[index].cpuSeconds / each.seconds, 0) /
          threads /
          (results.reduce((sum, each) => sum + each.completed / each.seconds, 0) || 1),
      ]),
    );
    return {
      completed,
      requestsPerSecond: results.reduce((sum, each) => sum + each.completed / each.seconds, 0),
      failed: results.reduce((sum, each) => sum + each.failed, 0),
      cpuSeconds,
    };
  } finally {
    options.signal.removeEventListener("abort", interrupt);
    await Promise.all(children.map((child) => child.stop()));
  }
}
