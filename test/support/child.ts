/** Child processes of tests: their lines of output, and their end. */
import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { createInterface } from "node:readline";
import { until } from "./wait.js";

const alive = new Set<ChildProcess>();
process.on("exit", () => {
  for (const child of alive) child.kill("SIGKILL");
});

export interface Ended {
  readonly status: number | null;
  readonly signal: NodeJS.Signals | null;
}

export class Child {
  readonly process: ChildProcess;
  readonly pid: number;
  readonly lines: string[] = [];
  stderr = "";
  readonly ended: Promise<Ended>;

  constructor(command: string, args: readonly string[], options: SpawnOptions = {}) {
    this.process = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], ...options });
    this.pid = this.process.pid ?? -1;
    alive.add(this.process);
    this.ended = new Promise((resolve, reject) => {
      this.process.once("error", reject);
      this.process.once("close", (status, signal) => {
        alive.delete(this.process);
        resolve({ status, signal });
      });
    });
    this.ended.catch(() => {});
    if (this.process.stdout !== null) {
      createInterface({ input: this.process.stdout }).on("line", (line) => this.lines.push(line));
    }
    this.process.stderr?.on("data", (data) => {
      this.stderr += data;
    });
  }

  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** The first line that `matches` accepts, from the `from`-th on; an error if the process ends before. */
  line<T>(what: string, matches: (line: string) => T | undefined | false, from = 0): Promise<T> {
    return until(what, () => {
      for (let i = from; i < this.lines.length; i++) {
        const value = matches(this.lines[i]!);
        if (value !== undefined && value !== false) return value;
      }
      if (!this.running) throw new Error(`ended before ${what}: ${this.lines.join("\n")}\n${this.stderr}`);
      return undefined;
    });
  }

  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<Ended> {
    if (this.running) this.process.kill(signal);
    return this.ended;
  }
}
