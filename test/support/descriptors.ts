/** Open descriptors of a process, from /proc: what each one is. */
import { execFileSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { program } from "./programs.js";

export function openDescriptors(pid: number | "self" = "self"): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return [readlinkSync(`/proc/${pid}/fd/${fd}`).replace(/\[\d+\]$/, "")];
    } catch {
      return []; // closed since, such as the one of this very look
    }
  });
}

/** How many of them are sockets. */
export function openSockets(pid: number | "self" = "self"): number {
  return openDescriptors(pid).filter((target) => target.startsWith("socket:")).length;
}

/** What each of them is, as ss(8) has it: a path, addresses, who is at the other end. For messages. */
export function socketsOf(pid: number): string {
  const text = execFileSync(program("ss"), ["-Hanptx"], { encoding: "utf8", maxBuffer: 2 ** 26 });
  const lines = text.split("\n").map((line) => line.replace(/\s+/g, " ").trim());
  const owned = new RegExp(`\\bpid=${pid},fd=(\\d+)`);
  return lines.flatMap((line) => (owned.test(line) ? [`${owned.exec(line)![1]}: ${line}`] : [])).join("\n");
}
