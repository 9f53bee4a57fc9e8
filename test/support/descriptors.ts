/** Open descriptors of a process, from /proc: what each one is. */
import { readdirSync, readlinkSync } from "node:fs";

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
