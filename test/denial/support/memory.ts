/** What a process has in memory: proc(5), VmRSS. */
import { readFileSync } from "node:fs";

const MIB = 1 << 20;

/** Mebibytes. */
export function residentMib(pid: number): number {
  return (Number(/^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) * 1024) / MIB;
}
