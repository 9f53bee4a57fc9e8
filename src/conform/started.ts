/** A receiver that the kit starts itself: a shell's command in a process group of its own. */
import { type ChildProcess, spawn } from "node:child_process";

/** What is kept of its output. Characters. */
const MAX_OUTPUT = 65_536;

export class Started {
  readonly child: ChildProcess;
  /** Both of its streams, the last of it. */
  output: string = "";
  /** "status 1", "signal SIGTERM"; undefined while the shell, or what it became by exec, runs. */
  ended: string | undefined;

  constructor(command: string) {
    this.child = spawn("/bin/sh", ["-c", command], { detached: true, stdio: ["ignore", "pipe", "pipe"] });
    const keep = (data: Buffer) => {
      this.output = (this.output + data.toString()).slice(-MAX_OUTPUT);
    };
    this.child.stdout!.on("data", keep);
    this.child.stderr!.on("data", keep);
    this.child.once("exit", (status, signal) => {
      this.ended = signal === null ? `status ${status}` : `signal ${signal}`;
    });
    this.child.once("error", (error) => {
      this.ended = error.message;
    });
  }

  /** The process group, by the number of its first process. */
  get group(): number | undefined {
    return this.child.pid;
  }

  /** Whether the command has failed. One that ended with 0 may have left a service running. */
  get failed(): boolean {
    return this.ended !== undefined && this.ended !== "status 0";
  }

  /** Signals the whole group; one that is gone is no error. */
  signal(signal: NodeJS.Signals): void {
    if (this.group === undefined) return;
    try {
      process.kill(-this.group, signal);
    } catch {
      // All of them have ended.
    }
  }
}
