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

/** Connections a second: few, so that what makes them wait is not they themselves. */
const RATE = 300;
const SECONDS = 1;
/** How long the slowest hundredth may take although the machine is in use: milliseconds. */
const BEARABLE = 2000;

export interface Fared {
  readonly due: number;
  /** By kind; those that there were none of are left out. */
  readonly failed: Readonly<Record<string, number>>;
  /** From when a connection was due to the first byte of its answer: milliseconds. */
  readonly p50: number;
  readonly p99: number;
  readonly longest: number;
}

export class Others {
  /** Of the socket of their backend. */
  readonly path: string;
  private readonly receiver: Child;
  private readonly load: string;
  private readonly hello: string;

  private constructor(receiver: Child, path: string, load: string, hello: string) {
    this.receiver = receiver;
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
    const path = join(own, "door.sock");
    const receiver = new Child(programs.receiver, ["-p", path]);
    await receiver.line("the others' backend", (line) => line.includes('"ready"'));
    return new Others(receiver, path, programs.load, hello);
  }

  /** For a configuration's `backends`. */
  get backend(): string {
    return `others: { handoff: "${this.path}" }`;
  }

  /** How they fare now. `prefix` runs the clients: in another network, for example. */
  async fare(address: string, { seconds = SECONDS, prefix = [] as readonly string[] } = {}): Promise<Fared> {
    const options = ["-R", `${RATE}`, "-c", "256", "-s", "0", "-w", "0.2", "-d", `${seconds}`];
    const [command, ...args] = [...prefix, this.load, "-f", this.hello, ...options, address];
    const load = new Child(command!, args);
    expect(await load.ended, load.stderr).toEqual({ status: 0, signal: null });
    const { failed, latencyMicroseconds, open } = JSON.parse(load.lines[0]!);
    const milliseconds = (microseconds: number) => Math.round(microseconds / 10) / 100;
    return {
      due: open.due,
      failed: Object.fromEntries(Object.entries<number>(failed).filter(([, times]) => times > 0)),
      p50: milliseconds(latencyMicroseconds.p50),
      p99: milliseconds(latencyMicroseconds.p99),
      longest: milliseconds(latencyMicroseconds.max),
    };
  }

  async end(): Promise<void> {
    await this.receiver.end("SIGKILL");
  }
}

/** All of them were served, none much later; says how they fared beside what, and before it. */
export function expectServed(beside: string, fared: Fared, before?: Fared): void {
  const text = ({ p50, p99, longest }: Fared) => `p50 ${p50}, p99 ${p99}, longest ${longest} ms`;
  console.log(`others beside ${beside}: ${text(fared)}${before === undefined ? "" : `; before: ${text(before)}`}`);
  expect(fared.failed, `others that failed beside ${beside}`).toEqual({});
  expect(fared.due).toBeGreaterThan(0);
  expect(fared.p99).toBeLessThan(BEARABLE);
}
