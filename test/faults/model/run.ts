/** A run of the model: clients, faults, and what became of each connection. */
import { readFileSync } from "node:fs";
import { processorShare } from "../../support/process-limits.js";
import { until } from "../../support/wait.js";
import { play, type Seen } from "./client.js";
import { acts, secondaries } from "./faults.js";
import { type Kind, type Plan, planOf } from "./plan.js";
import { sequence } from "./random.js";
import { Scene, type SceneOptions } from "./scene.js";
import { type Fault, type FaultKind, mayFail, scheduleOf } from "./schedule.js";
import { now, sleep } from "./time.js";
import { judge } from "./verdict.js";

export interface RunOptions extends SceneOptions {
  readonly seed: number;
  /** Those of bursts come on top. */
  readonly connections: number;
  /** For each fault. Default 100. */
  readonly connectionsPerFault?: number;
  /** So many faults of the schedule are left out. Default 0. */
  readonly from?: number;
  /** Which faults there are. Default: all. */
  readonly kinds?: readonly FaultKind[];
  /** Told what happens. */
  readonly say?: (line: string) => void;
}

export interface Summary {
  readonly seed: number;
  connections: number;
  faults: number;
  /** How many ended in which way (verdict.ts). */
  readonly verdicts: Record<string, number>;
  /** Each that ended in a way that the rules do not have, with all that is known of it. */
  readonly wrong: string[];
  /** Of the door, in MiB, each time when nothing was to do. */
  readonly memory: number[];
  /** The most of one processor that a process took when nothing was to do. */
  busiest: number;
  seconds: number;
}

/** Faults between two looks at what has become of everything. */
const FAULTS_AN_ACT = 8;
/** Clients of bursts are numbered from here on. */
const BURSTS = 4_000_000;
/** Most at once; more than the pool's windows together. */
const MOST_CLIENTS = 2500;
/** Of one processor, by a process that has nothing to do but wait. */
const IDLE_SHARE = 0.2;

export async function runModel(options: RunOptions): Promise<Summary> {
  const run = new Run(options);
  try {
    return await run.all();
  } finally {
    await run.end();
  }
}

class Run {
  private readonly options: RunOptions;
  private readonly scene: Scene = new Scene();
  private readonly summary: Summary;
  private readonly say: (line: string) => void;
  private readonly playing: Set<Promise<void>> = new Set();
  private seen: Seen[] = [];
  private readonly happened: string[] = [];
  private next = 0;
  private nextOfBurst = BURSTS;

  constructor(options: RunOptions) {
    this.options = options;
    this.say = options.say ?? (() => {});
    const { seed } = options;
    this.summary = { seed, connections: 0, faults: 0, verdicts: {}, wrong: [], memory: [], busiest: 0, seconds: 0 };
  }

  async all(): Promise<Summary> {
    const { scene, summary, options } = this;
    const { seed, connections, connectionsPerFault = 100, from = 0, kinds } = options;
    const begun = now();
    await scene.start(options);
    const schedule = scheduleOf(seed, from + Math.ceil(connections / connectionsPerFault), kinds);
    // What is opened with the first client stays.
    await this.clients(connectionsPerFault, 500);
    await this.reckon("before the first fault");
    for (let at = from; at < schedule.length; at += FAULTS_AN_ACT) {
      const faults = schedule.slice(at, at + FAULTS_AN_ACT);
      for (const [i, fault] of faults.entries()) {
        const count = Math.min(connectionsPerFault, connections + connectionsPerFault - this.next);
        const coming = this.clients(count, fault.milliseconds + 200);
        await this.happen(fault, at + i);
        await coming;
        summary.faults++;
      }
      await this.reckon(`faults ${at + 1} to ${at + faults.length} of ${schedule.length}`);
    }
    summary.seconds = (now() - begun) / 1000;
    return summary;
  }

  async end(): Promise<void> {
    await this.scene.end();
  }

  /** So many come, over so many milliseconds. Resolves when the last has come. */
  private async clients(count: number, milliseconds: number): Promise<void> {
    const random = sequence(this.options.seed, 3, this.next);
    const begun = now();
    const times = Array.from({ length: count }, () => random() * milliseconds).sort((a, b) => a - b);
    for (const time of times) {
      const wait = begun + time - now();
      if (wait > 1) await sleep(wait);
      await until("fewer clients", () => this.playing.size < MOST_CLIENTS, 200_000);
      this.begin(planOf(this.options.seed, this.next++));
    }
  }

  private burst(count: number): void {
    for (let i = 0; i < count; i++) this.begin(planOf(this.options.seed, this.nextOfBurst++));
  }

  private begin(plan: Plan): void {
    const playing = play(plan, this.scene.port).then((seen) => {
      this.seen.push(seen);
      this.playing.delete(playing);
    });
    this.playing.add(playing);
  }

  private async happen(fault: Fault, index: number): Promise<void> {
    const { scene } = this;
    const { kind, secondary, milliseconds, choice } = fault;
    const beside = secondary === undefined ? "" : `, ${secondary.what} ${secondary.after} ms after`;
    const line = `${(now() / 1000).toFixed(3)} fault ${index + 1}: ${kind} (${milliseconds} ms, ${choice}${beside})`;
    this.happened.push(line);
    const stage = { scene, burst: (clients: number) => this.burst(clients) };
    const pause = Math.max(0, -(secondary?.after ?? 0));
    const also = async () => {
      if (secondary === undefined) return;
      if (secondary.after > 0) await sleep(secondary.after);
      await secondaries[secondary.what](scene, mayFail(fault));
    };
    try {
      const both = [also(), sleep(pause).then(() => acts[kind](stage, fault))];
      const failed = (await Promise.allSettled(both)).find(({ status }) => status === "rejected");
      if (failed !== undefined) throw (failed as PromiseRejectedResult).reason;
      scene.check();
      // What could not be done beside the fault is done now.
      if (secondary?.what === "reload" && mayFail(fault)) await secondaries.reload(scene, false);
    } catch (error) {
      throw new Error(this.told(`${(error as Error).message}\nin: ${line}`), { cause: error });
    }
  }

  /** When nothing is left to do: looks at what has become of every connection since the last time. */
  private async reckon(title: string): Promise<void> {
    const { scene, summary } = this;
    try {
      await until("the clients' ends", () => this.playing.size === 0, 200_000);
      await scene.isIdle();
      await this.isStill();
    } catch (error) {
      throw new Error(this.told((error as Error).message), { cause: error });
    }
    await this.logIsThere();
    const seen = this.seen;
    this.seen = [];
    const counts: Record<string, number> = {};
    for (const each of seen) {
      const word = this.judged(each);
      counts[word] = (counts[word] ?? 0) + 1;
      summary.verdicts[word] = (summary.verdicts[word] ?? 0) + 1;
    }
    summary.connections += seen.length;
    summary.memory.push(residentOf(scene.door.pid));
    const memory = `door ${Math.round(summary.memory.at(-1)!)} MiB`;
    this.say(`${title}: ${seen.length} connections: ${JSON.stringify(counts)}, ${memory}`);
    this.complain();
  }

  private judged(seen: Seen): string {
    const { scene, summary } = this;
    const { address } = seen.plan;
    const record = scene.journal.of(address);
    const said = scene.door.said(address);
    const verdict = judge(seen, record, said, scene.history);
    scene.journal.forget(address);
    scene.door.forget(address);
    if ("as" in verdict) return verdict.as;
    summary.wrong.push(
      this.told(
        `${verdict.wrong}: ${JSON.stringify({ ...seen, plan: shown(seen.plan), received: undefined, record, said })}`,
      ),
    );
    return "wrong";
  }

  /** Waits until the door has written what there is to be written: its log is read a quarter of a second late. */
  private async logIsThere(): Promise<void> {
    const { door, journal } = this.scene;
    if (this.options.log !== undefined) return journal.read();
    const begun = now();
    await until("the end of the door's log", () => {
      door.read();
      return now() - Math.max(begun, door.heardAt) > 700;
    });
    journal.read();
  }

  /** Nobody spins. */
  private async isStill(): Promise<void> {
    for (let tries = 1; ; tries++) {
      const shares = await Promise.all(this.scene.pids.map((pid) => processorShare(pid, 400)));
      const busiest = Math.max(...shares);
      if (busiest < IDLE_SHARE) {
        this.summary.busiest = Math.max(this.summary.busiest, busiest);
        return;
      }
      if (tries === 5)
        throw new Error(`a process is busy with nothing to do: ${shares.map((share) => share.toFixed(2))}`);
    }
  }

  /** What the log says that no fault explains. */
  private complain(): void {
    const { complaints } = this.scene.door;
    const expected = ["reload.failed", "upgrade.failed", "accept.rested"];
    const wrong = complaints.splice(0).filter(({ event }) => !expected.includes(event));
    if (wrong.length > 0) throw new Error(this.told(`the door complains: ${JSON.stringify(wrong.slice(0, 5))}`));
  }

  /** With what led to it, and how to have it again. */
  private told(what: string): string {
    const { seed, connections, connectionsPerFault } = this.options;
    const per = connectionsPerFault === undefined ? "" : ` --per-fault ${connectionsPerFault}`;
    const again = `node test/faults/run.mjs --seed ${seed} --connections ${connections}${per}`;
    return [what, ...this.happened.slice(-2 * FAULTS_AN_ACT), `again: ${again}`].join("\n  ");
  }
}

function shown({ number, address, kind, name, pieces, pauses, requests, end }: Plan): object {
  const lengths = pieces.map(({ length }) => length);
  return { number, address, kind: kind satisfies Kind, name, pieces: lengths, pauses, requests, end };
}

/** In MiB: proc(5), VmRSS. */
function residentOf(pid: number): number {
  return Number(/^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))![1]) / 1024;
}
