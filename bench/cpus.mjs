/** CPUs for what is measured, and others for what is not: taskset(1). */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

/**
 * @typedef {(command: string, parameters: readonly string[]) => [string, string[]]} Pinned a command line that runs it there
 * @typedef {object} Cpus
 * @property {boolean} pinned false: one CPU only, or no taskset; everything runs anywhere
 * @property {Pinned} first on the first CPU that this process may use
 * @property {Pinned} others on all others
 */

/** @returns {Cpus} */
export function divideCpus() {
  const [first, ...others] = allowed();
  const pinned = others.length > 0 && spawnSync("taskset", ["-c", String(first), "true"]).status === 0;
  const on =
    (/** @type {number[]} */ cpus) => (/** @type {string} */ command, /** @type {readonly string[]} */ parameters) =>
      /** @type {[string, string[]]} */ (
        pinned ? ["taskset", ["-c", cpus.join(","), command, ...parameters]] : [command, [...parameters]]
      );
  return { pinned, first: on([first]), others: on(others) };
}

/** Cpus_allowed_list of proc_pid_status(5): "0-3,8". */
function allowed() {
  const [, list] = /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? ["", "0"];
  return list.split(",").flatMap((range) => {
    const [from, to = from] = range.split("-").map(Number);
    return Array.from({ length: to - from + 1 }, (_, index) => from + index);
  });
}
