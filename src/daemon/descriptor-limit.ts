/** How many descriptors this process may have. */
import { readFileSync } from "node:fs";

/** The soft RLIMIT_NOFILE, which Node has raised to the hard one at its start. Node has no getrlimit(2): proc(5) tells. */
export function descriptorLimit(): number {
  const line = /^Max open files\s+(\d+|unlimited)/m.exec(readFileSync("/proc/self/limits", "utf8"));
  const value = Number(line?.[1]);
  return Number.isInteger(value) ? value : 1 << 20;
}
