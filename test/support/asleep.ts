/** Whether a process has done what there was to do. */
import { readdirSync, readFileSync } from "node:fs";

/** All of its threads wait for something: proc(5). A worker of the door accepts and places its clients in one turn. */
export function isAsleep(pid: number): boolean {
  try {
    return readdirSync(`/proc/${pid}/task`).every((task) =>
      /^\d+ \(.*\) S/.test(readFileSync(`/proc/${pid}/task/${task}/stat`, "utf8")),
    );
  } catch {
    return false; // a thread has ended since
  }
}
