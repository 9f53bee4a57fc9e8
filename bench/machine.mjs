/** What a report must say about where it was made. */
import { readFileSync } from "node:fs";
import { availableParallelism, cpus, loadavg, release, totalmem } from "node:os";

/**
 * @typedef {object} Machine
 * @property {string} date ISO 8601
 * @property {string} kernel
 * @property {string} cpu
 * @property {number} cores that this process may use
 * @property {number} memory bytes
 * @property {string} node
 * @property {string} version of sni-handoff
 * @property {number} loadAverage of the last minute, before anything was measured
 * @property {string} command
 */

/** @param {string} command line that was typed @returns {Machine} */
export function describeMachine(command) {
  const { version } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
  return {
    date: new Date().toISOString(),
    kernel: release(),
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cores: availableParallelism(),
    memory: totalmem(),
    node: process.version,
    version,
    loadAverage: loadavg()[0],
    command,
  };
}

/** @param {Machine} machine @returns {string} lines */
export function machineText(machine) {
  return [
    `${machine.command}`,
    `${machine.date}, sni-handoff ${machine.version}, Node ${machine.node}, Linux ${machine.kernel}`,
    `${machine.cpu}, ${machine.cores} core${machine.cores === 1 ? "" : "s"}, load average ${machine.loadAverage.toFixed(2)}`,
    "",
  ].join("\n");
}
