/** What the kernel says of a process: proc(5). */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

export { isAlive } from "../../src/conform/process.js";

export type Fields = ReadonlyMap<string, string>;

/** The fields of /proc/PID/status of each of its threads. */
export function threadsOf(pid: number): Fields[] {
  return readdirSync(`/proc/${pid}/task`).map((task) => fieldsOf(`/proc/${pid}/task/${task}/status`));
}

/**
 * Whether it has a handler for a signal, by its number, which it would run now: a process that has just been forked has
 * its parent's handlers, until it executes its own program, and blocks all signals meanwhile.
 */
export function catches(pid: number, signal: number): boolean {
  try {
    const fields = fieldsOf(`/proc/${pid}/status`);
    const isIn = (mask: string) => ((BigInt(`0x${fields.get(mask)}`) >> BigInt(signal - 1)) & 1n) === 1n;
    return isIn("SigCgt") && !isIn("SigBlk");
  } catch {
    return false; // gone
  }
}

/** Its children, of its first thread; none if it is gone. */
export function childrenOf(pid: number): number[] {
  try {
    return readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim().split(" ").filter(Boolean).map(Number);
  } catch {
    return [];
  }
}

/** Ports of the TCP sockets that it listens on. */
export function listeningPorts(pid: number): number[] {
  return tcpSockets(pid)
    .filter(({ isListening }) => isListening)
    .map(({ port }) => port);
}

/** How many connections over TCP it has, those included whose other side has ended. */
export function connectionsOf(pid: number): number {
  return tcpSockets(pid).filter(({ isListening }) => !isListening).length;
}

function tcpSockets(pid: number): { port: number; isListening: boolean }[] {
  const inodes = new Set(readdirSync(`/proc/${pid}/fd`).flatMap((fd) => inodeOf(`/proc/${pid}/fd/${fd}`) ?? []));
  return ["tcp", "tcp6"].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, "utf8")
      .split("\n")
      .slice(1)
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => inodes.has(fields[9] ?? ""))
      .map((fields) => ({
        port: Number.parseInt(fields[1]!.split(":")[1]!, 16),
        // TCP_LISTEN: include/net/tcp_states.h.
        isListening: fields[3] === "0A",
      })),
  );
}

function inodeOf(link: string): string | undefined {
  try {
    return /^socket:\[(\d+)\]$/.exec(readlinkSync(link))?.[1];
  } catch {
    return undefined; // closed since
  }
}

function fieldsOf(file: string): Fields {
  const lines = readFileSync(file, "utf8").split("\n");
  return new Map(lines.map((line) => line.split(":\t") as [string, string]));
}

/** Whether it stands still (SIGSTOP). */
export function isStopped(pid: number): boolean {
  try {
    return /^\d+ \(.*\) T/s.test(readFileSync(`/proc/${pid}/stat`, "latin1"));
  } catch {
    return false;
  }
}

/** Sends a signal, unless it has ended. */
export function kill(pid: number, signal: NodeJS.Signals = "SIGKILL"): void {
  try {
    process.kill(pid, signal);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ESRCH") throw error;
  }
}
