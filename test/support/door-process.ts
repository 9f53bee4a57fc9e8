/** A front door in a process of its own, on a port that the kernel chooses. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { CounterName } from "../../src/door/counters.js";
import { Child, type Ended } from "./child.js";
import { isAlive, kill } from "./process-status.js";
import { until } from "./wait.js";

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
  /** The program, in place of the one that was built here. */
  readonly program?: string;
}

/** Clients that begin a hello, and go on when something else has been done, have time for that unless a test says how much. */
const patient = (configuration: string) =>
  /^timeouts:/m.test(configuration) ? configuration : `timeouts: { hello: 60s }\n${configuration}`;

let count = 0;
/** Processes that took over in an upgrade: nobody's children. */
const successors = new Set<number>();
process.on("exit", () => {
  for (const pid of successors) kill(pid);
});

export class DoorProcess {
  readonly child: Child;
  port = 0;
  /** Its configuration file. */
  readonly file: string;
  /** What `start` and `write` put before the configuration. */
  readonly head: string;
  private current: number;

  private constructor(child: Child, file: string, head: string) {
    this.child = child;
    this.file = file;
    this.head = head;
    this.current = child.pid;
  }

  /** The process that is in charge: after an upgrade another one than was started. */
  get pid(): number {
    return this.current;
  }

  /**
   * `configuration` is YAML without `listeners`, `workers` and `log`; paths in it are absolute. Resolves when the door
   * accepts.
   */
  static async start(folder: string, configuration: string, options: DoorOptions = {}): Promise<DoorProcess> {
    mkdirSync(folder, { recursive: true });
    const file = join(folder, `door-${process.pid}-${count++}.yaml`);
    const address = `${options.host ?? "127.0.0.1"}:${options.port ?? 0}`;
    const { workers = 1 } = options;
    const listener = `{ address: "${address}"${options.listener === undefined ? "" : `, ${options.listener}`} }`;
    const head = `listeners: [${listener}]\nworkers: ${workers}\nlog: { level: debug }\n`;
    writeFileSync(file, `${head}${patient(configuration)}`);
    const [command, ...args] = [
      ...(options.prefix ?? []),
      process.execPath,
      options.program ?? program,
      "serve",
      "--config",
      file,
    ];
    const door = new DoorProcess(new Child(command!, args), file, head);
    const ready = await door.event("ready");
    door.port = Number(/:(\d+)$/.exec((ready.listeners as string[])[0]!)![1]);
    return door;
  }

  /** Whether the process in charge is there. */
  get running(): boolean {
    return this.current === this.child.pid ? this.child.running : isAlive(this.current);
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

  /** Rewrites the configuration file: as of `start`, or, with `whole`, everything. */
  write(configuration: string, options: { whole?: boolean } = {}): void {
    // Renamed into its place: whoever reads it meanwhile finds one of the two.
    writeFileSync(`${this.file}.new`, options.whole === true ? configuration : `${this.head}${patient(configuration)}`);
    renameSync(`${this.file}.new`, this.file);
  }

  /** SIGHUP: the line that tells how it went. */
  async reload(): Promise<LogLine> {
    const from = this.child.lines.length;
    process.kill(this.pid, "SIGHUP");
    return this.eventOf(["reloaded", "reload.failed"], from);
  }

  /** SIGUSR2: the line that tells how it went. After that `pid` is the process in charge. */
  async upgrade(): Promise<LogLine> {
    const from = this.child.lines.length;
    const before = this.pid;
    process.kill(before, "SIGUSR2");
    const line = await this.eventOf(["upgraded", "upgrade.failed"], from);
    if (line.event === "upgraded") {
      this.current = line.successor as number;
      successors.add(this.current);
      await until("the end of the process before", () => !isAlive(before));
    }
    return line;
  }

  private eventOf(events: readonly string[], from: number): Promise<LogLine> {
    return until(`the door's log line ${events.join(" or ")}`, () => {
      for (const line of this.child.lines.slice(from)) {
        if (!line.startsWith("{")) continue;
        const parsed = JSON.parse(line) as LogLine;
        if (events.includes(parsed.event)) return parsed;
      }
      return undefined;
    });
  }

  /** SIGTERM; the counters that it logs at its end. Throws if it does not exit with 0, or had a defect. */
  async stop(): Promise<Record<CounterName, number>> {
    const { status, signal } = await this.end("SIGTERM");
    if (status !== 0) throw new Error(`the door ended with ${status ?? signal}: ${this.child.stderr}`);
    const stopped = this.log.findLast((line) => line.event === "stopped")!;
    const counters = stopped.counters as Record<CounterName, number>;
    const defect = this.log.find((line) => line.event === "connection.defect");
    if (counters.defect > 0) throw new Error(`a defect of the door: ${defect?.message} ${defect?.stack}`);
    return counters;
  }

  async kill(): Promise<void> {
    await this.end("SIGKILL");
  }

  private end(signal: NodeJS.Signals): Promise<Ended> {
    if (this.current === this.child.pid) return this.child.end(signal);
    if (isAlive(this.current)) process.kill(this.current, signal);
    // Of the process that was started; its output ends with the last one that writes there.
    return this.child.ended;
  }
}
