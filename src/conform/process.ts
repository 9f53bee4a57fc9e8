/** The receiver's processes, seen from outside: what they have open, whether they run. proc(5). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** What a process has open, as /proc/PID/task/TID/fd shows it. Undefined if that may not be seen, or the process is gone. */
export function openIn(pid: number): string[] | undefined {
  const folder = `/proc/${pid}/task/${threadOf(pid)}/fd`;
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return undefined;
  }
  return names.flatMap((name) => {
    try {
      return [readlinkSync(`${folder}/${name}`)];
    } catch {
      return []; // Closed meanwhile.
    }
  });
}

/** Letter of proc_pid_stat(5): "T" is stopped, "Z" has ended. Undefined if there is no such process. */
export function stateOf(pid: number): string | undefined {
  return statOf(`/proc/${pid}`)?.[0];
}

/**
 * Whether it exists, and is not only waiting to be waited for. A process whose first thread has ended shows as "Z" as well
 * while others run, as they do for a moment after SIGKILL: until they have ended, all that it has open is.
 */
export function isAlive(pid: number): boolean {
  return threadOf(pid) !== undefined;
}

/** One of its threads that runs, the first if that one does: what has ended has nothing open. */
function threadOf(pid: number): string | undefined {
  try {
    return readdirSync(`/proc/${pid}/task`).find((thread) => {
      const state = statOf(`/proc/${pid}/task/${thread}`)?.[0];
      return state !== undefined && state !== "Z" && state !== "X";
    });
  } catch {
    return undefined;
  }
}

/** Processes of a group, and all that descend from them or from `roots`. */
export function familyOf(roots: readonly number[], group: number | undefined): number[] {
  const parents = new Map<number, number>();
  const family = new Set(roots);
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const [, parent, ofGroup] = statOf(`/proc/${name}`) ?? [];
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
function statOf(folder: string): string[] | undefined {
  try {
    return readFileSync(`${folder}/stat`, "utf8").split(") ").at(-1)!.split(" ");
  } catch {
    return undefined;
  }
}
