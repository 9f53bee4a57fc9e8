/** A front door in a process of its own, on a port that the kernel chooses. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CounterName } from "../../src/door/counters.js";
import { Child } from "./child.js";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

export interface LogLine {
  readonly level: string;
  readonly event: string;
  readonly message: string;
  readonly [field: string]: unknown;
}

export interface DoorOptions {
  readonly port?: number;
  readonly host?: string;
  readonly workers?: number;
  /** More keys of the listener: "deferAccept: 0". */
  readonly listener?: string;
  /** A command that runs it: ["prlimit", "--nofile=64"]. */
  readonly prefix?: readonly string[];
}

let count = 0;

export class DoorProcess {
  readonly child: Child;
  port = 0;

  private constructor(child: Child) {
    this.child = child;
  }

  get pid(): number {
    return this.child.pid;
  }

  /**
   * `configuration` is YAML without `listeners`, `workers` and `log`; paths in it are absolute. Resolves when the door
   * accepts.
   */
  static async start(folder: string, configuration: string, options: DoorOptions = {}): Promise<DoorProcess> {
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `door-${process.pid}-${count++}.yaml`);
    const address = `${options.host ?? "127.0.0.1"}:${options.port ?? 0}`;
    const listener = `{ address: "${address}"${options.listener === undefined ? "" : `, ${options.listener}`} }`;
    const { workers = 1 } = options;
    writeFileSync(file, `listeners: [${listener}]\nworkers: ${workers}\nlog: { level: debug }\n${configuration}`);
    const [command, ...args] = [...(options.prefix ?? []), process.execPath, program, "serve", "--config", file];
    const door = new DoorProcess(new Child(command!, args));
    const ready = await door.event("ready");
    door.port = Number(/:(\d+)$/.exec((ready.listeners as string[])[0]!)![1]);
    return door;
  }

  get log(): LogLine[] {
    return this.child.lines.filter((line) => line.startsWith("{")).map((line) => JSON.parse(line) as LogLine);
  }

  /** The first log line of this event, from the `from`-th line on, that `matches` accepts. */
  event(event: string, matches: (line: LogLine) => boolean = () => true, from = 0): Promise<LogLine> {
    return this.child.line(
      `the door's log line "${event}"`,
      (line) => {
        if (!line.startsWith("{")) return undefined;
        const parsed = JSON.parse(line) as LogLine;
        return parsed.event === event && matches(parsed) ? parsed : undefined;
      },
      from,
    );
  }

  /** Resolves when `instances` instances of a backend are ready (since the start of the log). */
  async instances(backend: string, instances: number): Promise<void> {
    const paths = new Set<unknown>();
    await this.event("channel.ready", (line) => line.backend === backend && paths.add(line.path).size >= instances);
  }

  /** SIGTERM; the counters that it logs at its end. Throws if it does not exit with 0, or had a defect. */
  async stop(): Promise<Record<CounterName, number>> {
    const { status, signal } = await this.child.end("SIGTERM");
    if (status !== 0) throw new Error(`the door ended with ${status ?? signal}: ${this.child.stderr}`);
    const stopped = this.log.findLast((line) => line.event === "stopped")!;
    const counters = stopped.counters as Record<CounterName, number>;
    const defect = this.log.find((line) => line.event === "connection.defect");
    if (counters.defect > 0) throw new Error(`a defect of the door: ${defect?.message} ${defect?.stack}`);
    return counters;
  }

  async kill(): Promise<void> {
    await this.child.end("SIGKILL");
  }
}
