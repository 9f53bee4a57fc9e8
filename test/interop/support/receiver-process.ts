/** A backend of whatever language, in a process group of its own. */
import type { SpawnOptions } from "node:child_process";
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { Child, type Ended } from "../../support/child.js";
import { openDescriptors } from "../../support/descriptors.js";
import { until } from "../../support/wait.js";

/** What a receiver is started with. */
export interface ReceiverFiles {
  /** The path of its socket, or, if it wants a folder, of that with "/" at its end. */
  readonly socket: string;
  /** Files of the certificate and its key, in PEM. */
  readonly cert: string;
  readonly key: string;
}

export interface ReceiverProgram {
  /** For the names of tests: "go". */
  readonly name: string;
  /** The command and its arguments. */
  readonly command: (files: ReceiverFiles) => readonly string[];
  /** Its environment and folder. */
  readonly options?: Pick<SpawnOptions, "cwd" | "env">;
  /** The socket is in a folder: several processes, each with its own. Default false. */
  readonly inFolder?: boolean;
  /** How many sockets it has there. Default 1. */
  readonly sockets?: number;
  /** What it says, on either output, when it listens. Default: a line that begins with "listening on ". */
  readonly listening?: RegExp;
  /**
   * The client's address and port, "192.0.2.1:1234", as an answer's body tells it. Default: the body's end.
   * For a server that cannot tell the port: the address alone.
   */
  readonly seen?: (body: string) => string | undefined;
  /** Ends it in order, with status 0. Default SIGTERM. */
  readonly stopSignal?: NodeJS.Signals;
}

const groups = new Set<number>();
process.on("exit", () => {
  for (const group of groups) killGroup(group);
});

export class ReceiverProcess {
  readonly child: Child;

  private constructor(child: Child) {
    this.child = child;
    groups.add(child.pid);
  }

  /** Resolves when it listens. */
  static async start(program: ReceiverProgram, files: ReceiverFiles): Promise<ReceiverProcess> {
    const [command, ...args] = program.command(files);
    const { listening = /^listening on /m } = program;
    const receiver = new ReceiverProcess(new Child(command!, args, { ...program.options, detached: true }));
    const { child } = receiver;
    await until(`${program.name} to listen`, () => {
      if (!child.running) throw new Error(`${program.name} ended: ${child.lines.join("\n")}\n${child.stderr}`);
      return listening.test(child.lines.join("\n")) || listening.test(child.stderr);
    });
    return receiver;
  }

  /** It and its children. */
  get pids(): number[] {
    return readdirSync("/proc")
      .filter((name) => /^\d+$/.test(name) && groupOf(name) === this.child.pid)
      .map(Number);
  }

  /** Open descriptors of all of them. */
  get descriptors(): number {
    return this.pids.reduce((sum, pid) => sum + openDescriptors(pid).length, 0);
  }

  /** The other ends of its TCP connections, "192.0.2.1:1234", in the network namespace of this process. IPv4. */
  get clients(): Set<string> {
    const inodes = new Set(this.pids.flatMap(socketsOf));
    const rows = readFileSync("/proc/self/net/tcp", "utf8").trim().split("\n").slice(1);
    const fields = rows.map((row) => row.trim().split(/\s+/));
    return new Set(fields.filter((row) => inodes.has(row[9]!)).map((row) => readable(row[2]!)));
  }

  /** Stops all of its threads: SIGSTOP. */
  async freeze(): Promise<void> {
    process.kill(-this.child.pid, "SIGSTOP");
    await until("all threads to be stopped", () => this.pids.flatMap(statesOf).every((state) => state === "T"));
  }

  /** SIGKILL, to all of its processes. */
  async kill(): Promise<void> {
    killGroup(this.child.pid);
    await this.child.ended;
    groups.delete(this.child.pid);
  }

  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> {
    const ended = await this.child.end(signal);
    killGroup(this.child.pid);
    groups.delete(this.child.pid);
    return ended;
  }
}

function killGroup(group: number): void {
  try {
    process.kill(-group, "SIGKILL");
  } catch {} // all of them have ended
}

function groupOf(pid: string): number {
  return Number(afterName(`/proc/${pid}/stat`)[2]);
}

/** Of each of its threads. */
function statesOf(pid: number): string[] {
  try {
    return readdirSync(`/proc/${pid}/task`).map((task) => afterName(`/proc/${pid}/task/${task}/stat`)[0] ?? "T");
  } catch {
    return [];
  }
}

/** The fields of proc_pid_stat(5) from the third on; none of a process that is gone. */
function afterName(file: string): string[] {
  try {
    return readFileSync(file, "latin1").split(") ").at(-1)!.split(" ");
  } catch {
    return [];
  }
}

/** Inodes. */
function socketsOf(pid: number): string[] {
  return readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
    try {
      return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
    } catch {
      return []; // closed since
    }
  });
}

/** Of /proc/net/tcp: the address as a number of this (little-endian) machine, in hex, and the port: "0200007F:1F90". */
function readable(address: string): string {
  const [host, port] = address.split(":") as [string, string];
  return `${host
    .match(/../g)!
    .reverse()
    .map((byte) => Number.parseInt(byte, 16))
    .join(".")}:${Number.parseInt(port, 16)}`;
}
