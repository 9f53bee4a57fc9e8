/** What all workers of the relay have counted: totals that never go down, over wrapping counters and over generations. */
import { type RelayCounterName, relayCounterNames } from "../../relay/counters.js";
import type { RelayMemory, RelaySettings } from "../../relay/settings.js";
import { sumTargetStats, type TargetStatName, targetStatNames } from "../../relay/target-stats.js";

export type TargetTotals = Readonly<Record<TargetStatName, number>>;

export class RelayTotals {
  private readonly memories: readonly Uint32Array[];
  private readonly before: readonly Uint32Array[];
  private readonly sums: Float64Array = new Float64Array(relayCounterNames.length);
  /** Of generations that are over, by backend and target. */
  private readonly earlier: Map<string, TargetTotals> = new Map();
  private generation: { readonly settings: RelaySettings; readonly memories: readonly SharedArrayBuffer[] } | undefined;

  constructor(memories: readonly RelayMemory[]) {
    this.memories = memories.map(({ counters }) => new Uint32Array(counters));
    this.before = this.memories.map(({ length }) => new Uint32Array(length));
  }

  /** All workers count in this memory from now on. Targets that are gone are forgotten. */
  use(settings: RelaySettings, memories: readonly SharedArrayBuffer[]): void {
    const known = this.targets();
    this.generation = { settings, memories };
    this.earlier.clear();
    for (const key of keysOf(settings)) {
      const totals = known.get(key);
      if (totals !== undefined) this.earlier.set(key, { ...totals, active: 0 });
    }
  }

  /** Takes in what the workers have counted since: often enough that no counter wraps twice in between. */
  look(): void {
    this.memories.forEach((values, worker) => {
      const before = this.before[worker]!;
      for (let i = 0; i < this.sums.length; i++) {
        const value = Atomics.load(values, i);
        this.sums[i]! += (value - before[i]!) >>> 0;
        before[i] = value;
      }
    });
  }

  get counters(): Record<RelayCounterName, number> {
    this.look();
    return Object.fromEntries(relayCounterNames.map((name, i) => [name, this.sums[i]!])) as Record<
      RelayCounterName,
      number
    >;
  }

  target(backend: string, target: string): TargetTotals {
    return this.targets().get(keyOf(backend, target)) ?? NOTHING;
  }

  private targets(): Map<string, TargetTotals> {
    const { generation } = this;
    if (generation === undefined) return new Map();
    const rows = sumTargetStats(generation.memories, generation.settings);
    return new Map(keysOf(generation.settings).map((key, row) => [key, add(rows[row]!, this.earlier.get(key))]));
  }
}

/** In the order of the rows. */
function keysOf({ backends }: RelaySettings): string[] {
  return backends.flatMap(({ name, targets }) => targets.map((target) => keyOf(name, target.name)));
}

function keyOf(backend: string, target: string): string {
  return `${backend} ${target}`;
}

function add(a: TargetTotals, b: TargetTotals = NOTHING): TargetTotals {
  return totals((name) => a[name] + b[name]);
}

function totals(value: (name: TargetStatName) => number): TargetTotals {
  return Object.fromEntries(targetStatNames.map((name) => [name, value(name)])) as Record<TargetStatName, number>;
}

const NOTHING: TargetTotals = totals(() => 0);
