/** The demonstration's processes: started, killed, and all ended when it ends. */
import { type ChildProcess, fork, spawn } from "node:child_process";
import { once } from "node:events";
import { within } from "./deadline.js";

/** How long a process may take to end after SIGTERM, until it is killed. Milliseconds. */
const PATIENCE = 3000;

export class Children {
  readonly #running = new Set<ChildProcess>();

  /** Starts a Node program with a channel for messages; it ends when this process does. Its errors are shown. */
  fork(file: string, args: readonly string[]): ChildProcess {
    return this.#add(fork(file, args, { stdio: ["ignore", "inherit", "inherit", "ipc"] }));
  }

  /** Starts a Node program whose standard output is read. Its errors are shown. */
  spawn(file: string, args: readonly string[]): ChildProcess {
    return this.#add(spawn(process.execPath, [file, ...args], { stdio: ["ignore", "pipe", "inherit"] }));
  }

  /** Sends a signal and waits for the end. */
  async end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
    if (!this.#running.has(child)) return;
    const ended = once(child, "exit");
    child.kill(signal);
    await within(PATIENCE, `the end of process ${child.pid}`, ended);
  }

  /** Ends them all; those that don't end are killed. */
  async endAll(): Promise<void> {
    await Promise.all(
      [...this.#running].map((child) => this.end(child, "SIGTERM").catch(() => this.end(child, "SIGKILL"))),
    );
  }

  #add(child: ChildProcess): ChildProcess {
    this.#running.add(child);
    child.once("exit", () => this.#running.delete(child));
    child.once("error", () => this.#running.delete(child));
    return child;
  }
}
