/** The receiver under trial: where it is, which processes it is, and, with a command, its being started and ended. */
import { execFileSync } from "node:child_process";
import { lstatSync, readdirSync, readFileSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { HandoffError, SystemCallError } from "../errors.js";
import { Channel, type Violation } from "./channel.js";
import { familyOf, isAlive, openIn, stateOf } from "./process.js";
import { Broken, Skip } from "./rule.js";
import { Started } from "./started.js";
import { eventually } from "./wait.js";

/** How long a command may take until its receiver says READY. Milliseconds. */
const START = 20_000;
/** How long the list of its processes may be used. Milliseconds. */
const FAMILY = 100;

export class Receiver {
  readonly command: string | undefined;
  started: Started | undefined;
  /** The process that said READY. */
  pid: number = -1;
  /** The socket where it was met last. */
  private met: string;
  private readonly asked: string;
  private readonly timeout: number;
  /** What doors would call violations, of all channels so far. */
  readonly violations: Violation[] = [];
  private wasStarted: boolean = false;
  /** The process that is stopped for a moment. */
  private stopped: number | undefined;
  private family: { readonly at: number; readonly pids: readonly number[] } = { at: -FAMILY, pids: [] };

  constructor(path: string, command: string | undefined, timeout: number) {
    this.asked = path;
    this.met = path;
    this.command = command;
    this.timeout = timeout;
  }

  /** Whether a folder was asked for, in which each process has a socket of its own. */
  get isFolder(): boolean {
    return this.asked.endsWith("/") || (!this.asked.startsWith("@") && isKind(this.asked, "isDirectory"));
  }

  /** The socket itself. Of a folder: one that somebody listens at. */
  get path(): string {
    if (!this.isFolder) return this.asked;
    const sockets = socketsIn(this.asked);
    return sockets.find((path) => this.listensAt(path)) ?? sockets[0] ?? join(this.asked, "*.sock");
  }

  /** A channel that nothing was waited for on. Throws a SystemCallError. The caller closes it. */
  dial(): Channel {
    return new Channel(this.path, this.timeout, (violation) => this.violations.push(violation));
  }

  get listens(): boolean {
    return this.listensAt(this.path);
  }

  listensAt(path: string): boolean {
    try {
      new Channel(path, this.timeout, () => {}).close();
      return true;
    } catch (error) {
      if (error instanceof SystemCallError) return false;
      throw error;
    }
  }

  /** Finds the receiver, or starts it. Throws ERR_USAGE if it is not there. */
  async begin(): Promise<void> {
    process.once("exit", this.abandon);
    if (this.command !== undefined) {
      if (this.listens) {
        throw new HandoffError("ERR_USAGE", `somebody listens at ${this.path} already: end it, or leave --start out`);
      }
      await this.start();
      return;
    }
    try {
      this.dial().close();
    } catch (error) {
      const remedy = "start the receiver first, or give its command with --start";
      throw new HandoffError("ERR_USAGE", `no receiver at ${this.path}: ${(error as Error).message}; ${remedy}`);
    }
    await this.greet();
  }

  /** Starts the command, and waits until somebody listens. Throws ERR_USAGE. */
  async start(): Promise<void> {
    const started = new Started(this.command!);
    this.wasStarted = true;
    this.started = started;
    await eventually(() => started.failed || this.listens, START);
    if (!this.listens) {
      const what = started.failed ? `ended with ${started.ended}` : `does not listen after ${START / 1000} s`;
      const output = started.output.trim();
      throw new HandoffError(
        "ERR_USAGE",
        `the command of --start ${what}, and nobody is at ${this.path}${output === "" ? "" : `:\n${output}`}`,
      );
    }
    await this.greet();
  }

  /** Ends whatever is left of it, and removes the socket file that it leaves, being killed. */
  async end(): Promise<void> {
    if (!this.wasStarted) return;
    await this.kill();
    // Others that a rule has started may be on their way out.
    const { met } = this;
    const isFree = await eventually(() => !this.listensAt(met), this.timeout);
    if (isFree && isKind(met, "isSocket")) unlinkSync(met);
  }

  /** The kit itself ends early, by a signal: nothing stays stopped, and nothing of what was started stays. */
  readonly abandon = (): void => {
    if (this.stopped !== undefined) sendSignal(this.stopped, "SIGCONT");
    if (this.started === undefined) return;
    for (const pid of this.pids) sendSignal(pid, "SIGKILL");
    this.started.signal("SIGKILL");
    if (isKind(this.met, "isSocket")) unlinkSync(this.met);
  };

  /** Starts it where nothing is left of the one before. Throws ERR_USAGE. */
  async startAfresh(): Promise<void> {
    await this.end();
    await this.start();
  }

  /** Whether the process that said READY before says it still. */
  async isThere(): Promise<boolean> {
    let channel: Channel;
    try {
      channel = this.dial();
    } catch {
      return false;
    }
    await eventually(() => channel.peer ?? channel.ended, this.timeout);
    channel.close();
    return channel.peer?.pid === this.pid;
  }

  /** Learns who it is; a receiver that says nothing is the rules' business. */
  private async greet(): Promise<void> {
    this.met = this.path;
    const channel = this.dial();
    await eventually(() => channel.peer ?? channel.ended, this.timeout);
    this.pid = channel.peer?.pid ?? -1;
    this.family = { at: -FAMILY, pids: [] };
    channel.close();
  }

  /** All its processes: who said READY, those of the command, and all of their children. */
  get pids(): readonly number[] {
    const now = performance.now();
    if (now - this.family.at >= FAMILY) {
      const roots = this.pid > 0 ? [this.pid] : [];
      this.family = { at: now, pids: familyOf(roots, this.started?.group) };
    }
    return this.family.pids;
  }

  /** Those of these that one of its processes has open. Throws `Skip` if that cannot be seen. */
  holding(identities: readonly string[]): string[] {
    this.needVisible();
    const open = new Set(this.pids.flatMap((pid) => openIn(pid) ?? []));
    return identities.filter((identity) => open.has(identity));
  }

  /** Sockets that its processes have open. Throws `Skip` if that cannot be seen. */
  get openSockets(): string[] {
    this.needVisible();
    return this.pids.flatMap((pid) => openIn(pid) ?? []).filter((target) => target.startsWith("socket:"));
  }

  /** How many sockets the process that reads the channels has open. Throws `Skip` if that cannot be seen. */
  get sockets(): number {
    this.needVisible();
    return (openIn(this.pid) ?? []).filter((target) => target.startsWith("socket:")).length;
  }

  /** Throws `Skip` if what its process has open cannot be seen. */
  needVisible(): void {
    if (this.pid <= 0) throw new Skip("the receiver's process is not visible: it is in another pid namespace");
    if (isAlive(this.pid) && openIn(this.pid) === undefined) {
      throw new Skip(`what process ${this.pid} has open cannot be seen: run this as its user, or as root`);
    }
  }

  /** Throws `Broken` if its process has ended. */
  private needAlive(): void {
    if (!this.isAlive) throw new Broken("the receiver to live on", `process ${this.pid} has ended`);
  }

  /** Runs `act` while the process that reads the channels is stopped: everything waits in their queues. */
  async whileStopped(act: () => void | Promise<void>): Promise<void> {
    if (this.pid <= 0) throw new Skip("the receiver's process is not visible: it is in another pid namespace");
    try {
      process.kill(this.pid, "SIGSTOP");
    } catch (error) {
      this.needAlive();
      throw new Skip(`process ${this.pid} cannot be stopped for a moment: ${(error as Error).message}`);
    }
    const { pid } = this;
    this.stopped = pid;
    try {
      await eventually(() => stateOf(this.pid) === "T", this.timeout);
      await act();
    } finally {
      this.stopped = undefined;
      sendSignal(pid, "SIGCONT");
    }
  }

  /**
   * Leaves the process that reads the channels only so many free descriptors, until the function that this returns is
   * called: prlimit(1), of util-linux.
   */
  limitDescriptors(free: number): () => void {
    this.needVisible();
    const limits = /^Max open files\s+(\d+)/m.exec(readFileSync(`/proc/${this.pid}/limits`, "utf8"));
    const set = (soft: number) => {
      try {
        execFileSync("prlimit", ["--pid", `${this.pid}`, `--nofile=${soft}:`], { stdio: "pipe" });
      } catch (error) {
        this.needAlive();
        throw new Skip(`its limit of descriptors cannot be set: ${(error as Error).message}`);
      }
    };
    const used = new Set(readdirSync(`/proc/${this.pid}/fd`).map(Number));
    let limit = 0;
    for (let left = free; used.has(limit) || left > 0; limit++) if (!used.has(limit)) left--;
    set(limit);
    return () => set(Number(limits![1]));
  }

  /** All its processes get the signal. */
  signal(signal: NodeJS.Signals): void {
    this.started?.signal(signal);
    if (!this.pids.includes(this.pid) || this.pid <= 0) return;
    if (this.started !== undefined && inGroup(this.pid, this.started.group)) return;
    sendSignal(this.pid, signal);
  }

  get isAlive(): boolean {
    return this.pid > 0 && isAlive(this.pid);
  }

  /** With --start: ends all its processes, at once. */
  async kill(): Promise<void> {
    if (this.started === undefined) return;
    const all = this.pids;
    for (const pid of all) sendSignal(pid, "SIGKILL");
    this.started.signal("SIGKILL");
    await eventually(() => !all.some(isAlive) && !this.listens, this.timeout);
    this.started = undefined;
  }
}

function sendSignal(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(pid, signal);
  } catch {
    // Gone already.
  }
}

function inGroup(pid: number, group: number | undefined): boolean {
  return group !== undefined && familyOf([], group).includes(pid);
}

function isKind(path: string, kind: "isDirectory" | "isSocket"): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.[kind]() === true;
}

function socketsIn(folder: string): string[] {
  try {
    return readdirSync(folder)
      .map((name) => join(folder, name))
      .filter((path) => isKind(path, "isSocket"));
  } catch {
    return [];
  }
}
