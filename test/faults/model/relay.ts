/** The relay, which the model starts: the door doesn't. */
import { fileURLToPath } from "node:url";
import { askRelayStatus } from "../../../src/daemon/control/client.js";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { PATIENCE } from "./door.js";
import { type Deaths, killing } from "./history.js";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

export class Relay {
  private readonly file: string;
  private readonly control: string;
  private readonly deaths: Deaths;
  private child!: Child;
  /** Processes that were told to make room, and have not ended. */
  private readonly leaving: Set<Child> = new Set();

  /** `file` is the door's configuration. */
  constructor(file: string, control: string, deaths: Deaths) {
    this.file = file;
    this.control = control;
    this.deaths = deaths;
  }

  get pid(): number {
    return this.child.pid;
  }

  get running(): boolean {
    return this.child.running;
  }

  /** Those before it are gone. */
  get isAlone(): boolean {
    return this.leaving.size === 0;
  }

  /** Starts one; if one is there, it takes its place. Resolves when it serves. */
  async run(environment: Readonly<Record<string, string>> = {}): Promise<void> {
    const before = this.child;
    if (before?.running) {
      this.leaving.add(before);
      before.ended.finally(() => this.leaving.delete(before));
    }
    const child = new Child(process.execPath, [program, "relay", "--config", this.file], {
      env: { ...process.env, ...environment },
    });
    this.child = child;
    await until(
      "the relay to serve",
      async () => {
        if (!child.running) throw new Error(`the relay ended at its start: ${child.lines.slice(-3)} ${child.stderr}`);
        return (await askRelayStatus(this.control).catch(() => ({ pid: 0 }))).pid === child.pid;
      },
      PATIENCE,
    );
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  async kill(): Promise<void> {
    if (this.child.running) await killing(this.deaths, this.pid, () => this.child.end("SIGKILL"));
  }

  /** Whatever is left of it. */
  async end(): Promise<void> {
    for (const each of [...this.leaving, this.child]) await each?.end("SIGKILL");
  }
}
