/** A process's limit of descriptors, and the processor time that it takes: prlimit(1), proc(5). */
import { execFileSync } from "node:child_process";
import { readdirSync, readFileSync } from "node:fs";
import { program } from "./programs.js";

/** Lowers a running process's limit so that just so many descriptors are free for it. */
export function leaveDescriptors(pid: number, free: number): void {
  const used = new Set(readdirSync(`/proc/${pid}/fd`).map(Number));
  let limit = 0;
  for (let left = free; used.has(limit) || left > 0; limit++) if (!used.has(limit)) left--;
  limitDescriptors(pid, limit);
}

/** Sets the soft limit. */
export function limitDescriptors(pid: number, limit: number): void {
  execFileSync(program("prlimit"), ["--pid", `${pid}`, `--nofile=${limit}:`]);
}

/** The soft limit. */
export function descriptorLimitOf(pid: number): number {
  return Number(/^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/limits`, "utf8"))![1]);
}

/** The share of one processor that a process takes, over at least so many milliseconds. */
export async function processorShare(pid: number, milliseconds = 1500): Promise<number> {
  const before = processorTime(pid);
  const begun = performance.now();
  await new Promise((resolve) => setTimeout(resolve, milliseconds));
  return (processorTime(pid) - before) / (performance.now() - begun);
}

/** User and system time of all threads, in milliseconds. The kernel tells it in hundredths of a second (USER_HZ). */
function processorTime(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
  return (Number(afterName[11]) + Number(afterName[12])) * 10;
}
