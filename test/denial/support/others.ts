/**
 * The others: clients and a backend that have nothing to do with an attack, and how they fare beside it. The benchmark's
 * load generator in an open loop (what waits is counted from when it was due), and its receiver.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect } from "vitest";
import { compilePrograms } from "../../../bench/compile.mjs";
import { clientHello } from "../../../bench/hello.mjs";
import { Child } from "../../support/child.js";
import { DoorProcess } from "../../support/door-process.js";

/** Connections a second: few, so that what makes them wait is not they themselves. */
const RATE = 300;
const SECONDS = 1;
/** How much longer the slowest hundredth may take than at a door that nobody attacks, at the same time: milliseconds. */
const BEARABLE = 2000;
/** Milliseconds until one is given up: what only a hang takes, on a machine that stands still for a while, too. */
const PATIENCE = 60_000;

export interface Fared {
  readonly due: number;
  /** By kind; those that there were none of are left out. */
  readonly failed: Readonly<Record<string, number>>;
  /** From when a connection was due to the first byte of its answer: milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
  /** The slowest hundredth, in the same time, of such clients of a door of their own: what the machine does to everybody. */
  readonly anyhow: number;
}

interface Loaded {
  readonly due: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly quantiles: Readonly<Record<"p50" | "p99" | "max", number>>;
}

export class Others {
  /** Of the socket of their backend. */
  readonly path: string;
  private readonly receivers: readonly Child[];
  private readonly quiet: DoorProcess;
  private readonly load: string;
  private readonly hello: string;

  private constructor(receivers: readonly Child[], quiet: DoorProcess, path: string, load: string, hello: string) {
    this.receivers = receivers;
    this.quiet = quiet;
    this.path = path;
    this.load = load;
    this.hello = hello;
  }

  /** Their name is others.test. */
  static async start(folder: string): Promise<Others> {
    const programs = await compilePrograms();
    const own = join(folder, "others");
    mkdirSync(own, { mode: 0o755 });
    const hello = join(own, "hello");
    writeFileSync(hello, clientHello("others.test", 517));
    const [path, quietPath] = [join(own, "door.sock"), join(own, "quiet.sock")];
    const receivers = [path, quietPath].map((each) => new Child(programs.receiver, ["-p", each]));
    for (const receiver of receivers) {
      await receiver.line("the others' backend", (line) => line.includes('"ready"'));
    }
    const configuration = `backends: { others: { handoff: "${quietPath}" } }\nroutes: { others.test: others }\naccessLog: off\n`;
    const quiet = await DoorProcess.start(own, configuration);
    await quiet.instances("others", 1);
    return new Others(receivers, quiet, path, programs.load, hello);
  }

  /** For a configuration's `backends`. */
  get backend(): string {
    return `others: { handoff: "${this.path}" }`;
  }

  /** How they fare now. `prefix` runs the clients: in another network, for example. */
  async fare(address: string, { seconds = SECONDS, prefix = [] as readonly string[] } = {}): Promise<Fared> {
    const [{ due, failed, quantiles }, quiet] = await Promise.all([
      this.clients(address, seconds, prefix),
      this.clients(`127.0.0.1:${this.quiet.port}`, seconds, []),
    ]);
    const milliseconds = (microseconds: number) => Math.round(microseconds / 10) / 100;
    return {
      due,
      failed: Object.fromEntries(Object.entries(failed).filter(([, times]) => times > 0)),
      p50: milliseconds(quantiles.p50),
      p99: milliseconds(quantiles.p99),
      longest: milliseconds(quantiles.max),
      anyhow: milliseconds(quiet.quantiles.p99),
    };
  }

  private async clients(address: string, seconds: number, prefix: readonly string[]): Promise<Loaded> {
    const options = ["-R", `${RATE}`, "-c", "256", "-s", "0", "-w", "0.2", "-d", `${seconds}`];
    const patience = ["-T", `${PATIENCE}`, "-D", `${PATIENCE}`];
    const [command, ...args] = [...prefix, this.load, "-f", this.hello, ...options, ...patience, address];
    const load = new Child(command!, args);
    expect(await load.ended, load.stderr).toEqual({ status: 0, signal: null });
    const { failed, latencyMicroseconds, open } = JSON.parse(load.lines[0]!);
    return { due: open.due, failed, quantiles: latencyMicroseconds };
  }

  async end(): Promise<void> {
    await this.quiet.kill();
    for (const receiver of this.receivers) await receiver.end("SIGKILL");
  }
}

/** All of them were served, none much later; says how they fared beside what, and before it. */
export function expectServed(beside: string, fared: Fared, before?: Fared): void {
  const text = ({ p50, p99, longest, anyhow }: Fared) =>
    `p50 ${p50}, p99 ${p99} (anyhow ${anyhow}), longest ${longest} ms`;
  console.log(`others beside ${beside}: ${text(fared)}${before === undefined ? "" : `; before: ${text(before)}`}`);
  expect(fared.failed, `others that failed beside ${beside}`).toEqual({});
  expect(fared.due).toBeGreaterThan(0);
  expect(fared.p99).toBeLessThan(fared.anyhow + BEARABLE);
}
