/** CPUs for what is measured, and others for what is not: taskset(1). And what strangers do with them. */
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { availableParallelism } from "node:os";
import { cpuSeconds, cpuSecondsOfEnded } from "./process.mjs";

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

/**
 * Begins to watch how much of the machine others have. The host's share (steal) is others' too.
 *
 * @param {readonly number[]} pids processes that are not others, nor is this one with what it has started and has ended
 * @returns {() => number} part of all CPUs' time since then, 0 to 1
 */
export function watchOthers(pids) {
  const look = () => ({ time: performance.now(), busy: busySeconds(), own: cpuSeconds([process.pid, ...pids]) });
  const before = { ...look(), ended: cpuSecondsOfEnded() };
  return () => {
    const { time, busy, own } = look();
    const others = busy - before.busy - (own - before.own) - (cpuSecondsOfEnded() - before.ended);
    return Math.max(0, others) / (((time - before.time) / 1000) * availableParallelism());
  };
}

/** Of all CPUs: user, nice, system, irq, softirq and steal of proc_stat(5), in hundredths. */
function busySeconds() {
  const [user, nice, system, , , irq, softirq, steal] = readFileSync("/proc/stat", "utf8")
    .split("\n", 1)[0]
    .split(/ +/)
    .slice(1)
    .map(Number);
  return (user + nice + system + irq + softirq + steal) / 100;
}
