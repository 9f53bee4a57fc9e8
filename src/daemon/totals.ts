/**
 * What all workers have counted, added up over wrapping counters and over generations: totals that never go down. The
 * workers' memory is read often enough that no counter wraps twice in between: `look` at least every few minutes.
 */
import { BACKEND_COUNTERS, type BackendCounterName, backendCounterNames } from "../door/backend-counters.js";
import { type CounterName, counterNames } from "../door/counters.js";
import { latencyBounds, sumLatencies } from "../door/latency.js";
import type { BackendMemory, BackendSettings, WorkerMemory } from "../door/settings.js";

export interface Latencies {
  /** Each by itself; one more than there are bounds. */
  readonly buckets: readonly number[];
  readonly count: number;
  /** Milliseconds. */
  readonly sum: number;
}

export type BackendTotals = Readonly<Record<BackendCounterName, number>>;

/** Adds up what a region of 32-bit counters has grown by since it was looked at last. */
class Growth {
  private readonly values: Uint32Array;
  private readonly before: Uint32Array;

  constructor(memory: SharedArrayBuffer) {
    this.values = new Uint32Array(memory);
    this.before = new Uint32Array(this.values.length);
  }

  addTo(sums: Float64Array, from: number): void {
    for (let i = 0; i < sums.length; i++) {
      const value = Atomics.load(this.values, from + i);
      sums[i] += (value - this.before[from + i]!) >>> 0;
      this.before[from + i] = value;
    }
  }
}

/** One generation's memory of all workers. */
interface Generation {
  readonly names: readonly string[];
  readonly memories: readonly BackendMemory[];
  readonly growths: readonly Growth[];
}

const NO_LATENCIES: Latencies = { buckets: new Array(latencyBounds.length + 1).fill(0), count: 0, sum: 0 };

export class Totals {
  private readonly workers: readonly Growth[];
  private readonly sums: Float64Array = new Float64Array(counterNames.length);
  private readonly byBackend: Map<string, Float64Array> = new Map();
  /** Of the generations before the present one, which are over. */
  private readonly earlierLatencies: Map<string, Latencies> = new Map();
  private generation: Generation | undefined;

  constructor(memories: readonly WorkerMemory[]) {
    this.workers = memories.map(({ counters }) => new Growth(counters));
  }

  /** All workers count in this memory from now on; in that of the generation before, none does any more. */
  use(backends: readonly BackendSettings[], memories: readonly BackendMemory[]): void {
    this.look();
    for (const [name, latencies] of this.latenciesNow()) this.earlierLatencies.set(name, latencies);
    const names = backends.map(({ name }) => name);
    this.generation = { names, memories, growths: memories.map(({ counters }) => new Growth(counters)) };
    for (const each of [this.byBackend, this.earlierLatencies]) {
      for (const name of each.keys()) if (!names.includes(name)) each.delete(name);
    }
  }

  /** Takes in what the workers have counted since. */
  look(): void {
    for (const worker of this.workers) worker.addTo(this.sums, 0);
    this.generation?.names.forEach((name, index) => {
      let sums = this.byBackend.get(name);
      if (sums === undefined) {
        sums = new Float64Array(BACKEND_COUNTERS);
        this.byBackend.set(name, sums);
      }
      for (const growth of this.generation!.growths) growth.addTo(sums, index * BACKEND_COUNTERS);
    });
  }

  get counters(): Record<CounterName, number> {
    this.look();
    return named(counterNames, this.sums);
  }

  backend(name: string): BackendTotals {
    return named(backendCounterNames, this.byBackend.get(name) ?? new Float64Array(BACKEND_COUNTERS));
  }

  /** From accept to acknowledgement, by backend. */
  get latencies(): ReadonlyMap<string, Latencies> {
    return this.latenciesNow();
  }

  private latenciesNow(): Map<string, Latencies> {
    const { generation } = this;
    if (generation === undefined) return new Map();
    const present = sumLatencies(
      generation.memories.map(({ latencies }) => latencies),
      generation.names.length,
    );
    return new Map(
      generation.names.map((name, index) => [
        name,
        add(present[index]!, this.earlierLatencies.get(name) ?? NO_LATENCIES),
      ]),
    );
  }
}

/** The bound under which this part of the handoffs lies: milliseconds; 0 if there was none. */
export function quantile({ buckets, count }: Latencies, part: number): number {
  if (count === 0) return 0;
  let seen = 0;
  const index = buckets.findIndex((bucket) => {
    seen += bucket;
    return seen >= count * part;
  });
  return latencyBounds[Math.min(index, latencyBounds.length - 1)]!;
}

function add(a: Latencies, b: Latencies): Latencies {
  return {
    buckets: a.buckets.map((bucket, index) => bucket + b.buckets[index]!),
    count: a.count + b.count,
    sum: a.sum + b.sum,
  };
}

function named<Name extends string>(names: readonly Name[], values: Float64Array): Record<Name, number> {
  return Object.fromEntries(names.map((name, index) => [name, values[index]!])) as Record<Name, number>;
}
