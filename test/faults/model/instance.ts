/** An instance of a backend that is killed, stopped and started again at its one place: instance.mjs, or instance.c. */
import { fileURLToPath } from "node:url";
import { Child } from "../../support/child.js";
import { until } from "../../support/wait.js";
import { type Deaths, killing } from "./history.js";

const program = fileURLToPath(new URL("./instance.mjs", import.meta.url));

export interface InstanceStart {
  /** The backend's name. */
  readonly name: string;
  /** Absent: a target of the relay. */
  readonly path?: string;
  readonly protocol?: "datagram";
  /** instance.c, compiled, in place of instance.mjs. */
  readonly program?: string;
  readonly journal: string;
  /** Added to the process's. */
  readonly environment?: Readonly<Record<string, string>>;
}

export class Instance {
  readonly start: InstanceStart;
  private readonly deaths: Deaths;
  private child!: Child;
  port = 0;

  private constructor(start: InstanceStart, deaths: Deaths) {
    this.start = start;
    this.deaths = deaths;
  }

  /** Resolves when it listens. `deaths` gets those of its processes; `more` as of `run`. */
  static async start(
    start: InstanceStart,
    deaths: Deaths,
    more: Readonly<Record<string, string>> = {},
  ): Promise<Instance> {
    const instance = new Instance(start, deaths);
    await instance.run(more);
    return instance;
  }

  /** Starts the next process, which has more in its environment than others. */
  async run(more: Readonly<Record<string, string>> = {}): Promise<void> {
    const { environment, program: own, ...argument } = this.start;
    const env = { ...process.env, ...environment, ...more };
    this.child =
      own === undefined
        ? new Child(process.execPath, [program, JSON.stringify(argument)], { env })
        : new Child(own, [argument.name, argument.path!, argument.journal], { env });
    const { child } = this;
    const ready = await until(
      `an instance of ${this.start.name} to be ready`,
      () => {
        const line = child.lines.find((each) => each.startsWith('{"ready"'));
        if (line === undefined && !child.running) throw new Error(`an instance ended at its start: ${child.stderr}`);
        return line;
      },
      60_000,
    );
    this.port = JSON.parse(ready).port ?? 0;
  }

  get pid(): number {
    return this.child.pid;
  }

  get running(): boolean {
    return this.child.running;
  }

  get stderr(): string {
    return this.child.stderr;
  }

  signal(signal: NodeJS.Signals): void {
    process.kill(this.pid, signal);
  }

  async kill(): Promise<void> {
    if (this.child.running) await killing(this.deaths, this.pid, () => this.child.end("SIGKILL"));
  }

  /** SIGTERM: drains. Throws if it does not end in order. */
  async drain(): Promise<void> {
    const { status, signal } = await this.child.end("SIGTERM");
    if (status !== 0)
      throw new Error(`an instance of ${this.start.name} ended with ${status ?? signal}: ${this.stderr}`);
  }
}
