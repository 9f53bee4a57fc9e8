/** Processes and unix sockets of a server that was started in a folder of its own, daemons and helpers among them. */
import { readdirSync, readFileSync } from "node:fs";
import { isAlive, kill } from "../../support/process-status.js";

/** As proc(5) has it: 15 bytes of "sni-handoff-helper". Beside it is a keeper, which starts it again. */
const HELPER = "sni-handoff-hel";

/** Those whose command line or environment, as they were started, names the folder. */
export function processesOf(folder: string): number[] {
  return readdirSync("/proc")
    .map(Number)
    .filter((pid) => pid > 0 && pid !== process.pid && isAlive(pid) && names(pid, folder));
}

/** Of these the helpers, which hand connections from the door to servers. */
export function helpersOf(folder: string): number[] {
  return processesOf(folder).filter((pid) => commandOf(pid) === HELPER);
}

/** Paths of the unix sockets within the folder that somebody has: unix(7), /proc/net/unix. */
export function unixSocketsOf(folder: string): string[] {
  return readFileSync("/proc/net/unix", "utf8")
    .split("\n")
    .map((line) => line.slice(line.indexOf("/")))
    .filter((path) => path.startsWith(folder));
}

/** Ends what a failed test has left. */
export function killAllOf(folder: string): void {
  for (const pid of processesOf(folder)) kill(pid);
}

function names(pid: number, folder: string): boolean {
  try {
    return ["cmdline", "environ"].some((file) => readFileSync(`/proc/${pid}/${file}`, "latin1").includes(folder));
  } catch {
    return false; // gone
  }
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/comm`, "utf8").trim();
  } catch {
    return "";
  }
}
