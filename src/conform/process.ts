/** The receiver's processes, seen from outside: what they have open, whether they run. proc(5). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What a process has open, as /proc/PID/fd shows it. Undefined if that may not be seen, or the process is gone. */
export function openIn(pid: number): string[] | undefined {
  let names: string[];
  try {
    names = readdirSync(`/proc/${pid}/fd`);
  } catch {
    return undefined;
  }
  return names.flatMap((name) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${name}`)];
    } catch {
      return []; // Closed meanwhile.
    }
  });
}

/** Letter of proc_pid_stat(5): "T" is stopped, "Z" has ended. Undefined if there is no such process. */
export function stateOf(pid: number): string | undefined {
  return statOf(pid)?.[0];
}

export function isAlive(pid: number): boolean {
  const state = stateOf(pid);
  return state !== undefined && state !== "Z" && state !== "X";
}

/** Processes of a group, and all that descend from them or from `roots`. */
export function familyOf(roots: readonly number[], group: number | undefined): number[] {
  const parents = new Map<number, number>();
  const family = new Set(roots);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const [, parent, ofGroup] = statOf(Number(name)) ?? [];
    if (parent === undefined) continue;
    parents.set(Number(name), Number(parent));
    if (Number(ofGroup) === group) family.add(Number(name));
  }
  for (let size = -1; size !== family.size; ) {
    size = family.size;
    for (const [pid, parent] of parents) if (family.has(parent)) family.add(pid);
  }
  return [...family];
}

/** The fields behind the name, which may have spaces and brackets: state, parent, group, … */
function statOf(pid: number): string[] | undefined {
  try {
    return readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
  } catch {
    return undefined;
  }
}
