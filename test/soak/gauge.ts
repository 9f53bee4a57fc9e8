/** What a process takes, over time: proc(5). */
import { readFileSync } from "node:fs";
import { openDescriptors } from "../support/descriptors.js";

const PAGE = 4096;
const MIB = 2 ** 20;

interface Sample {
  /** Seconds since the gauge's begin. */
  readonly at: number;
  /** Resident memory, MiB. */
  readonly memory: number;
  readonly descriptors: number;
}

/**
 * What must hold of resident memory: between two parts of a run it grows by no more than this, in MiB. In less than five
 * minutes a Node process's heap is still on its way to what it works with: then only what nobody would take for that is refused.
 */
export const room = (minutes: number): number => (minutes < 5 ? 64 : 8);

export class Gauge {
  readonly name: string;
  private readonly pidNow: () => number;
  private readonly begun = performance.now();
  private readonly samples: Sample[] = [];
  /** Processor time in seconds of each process that it looked at. */
  private readonly times = new Map<number, number>();

  /** `pidNow`: another one after an upgrade. */
  constructor(name: string, pidNow: () => number) {
    this.name = name;
    this.pidNow = pidNow;
  }

  look(): void {
    const pid = this.pidNow();
    try {
      const memory = (Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * PAGE) / MIB;
      this.times.set(pid, processorTime(pid));
      const at = (performance.now() - this.begun) / 1000;
      this.samples.push({ at, memory, descriptors: openDescriptors(pid).length });
    } catch {
      // Gone since: between two processes.
    }
  }

  /** Seconds, of all its processes. */
  get time(): number {
    return [...this.times.values()].reduce((sum, each) => sum + each, 0);
  }

  get processes(): number {
    return this.times.size;
  }

  /** Medians of resident memory, MiB: of the second quarter of the time, and of the last. */
  get memory(): { readonly early: number; readonly late: number } {
    const of = (from: number, to: number) => median(this.part(from, to).map(({ memory }) => memory));
    return { early: of(0.25, 0.5), late: of(0.75, 1) };
  }

  /** MiB an hour, from a quarter of the time on: the median of the slopes between all pairs of samples (Theil-Sen). */
  get slope(): number {
    const samples = this.part(0.25, 1);
    const slopes = samples.flatMap((a, i) =>
      samples.slice(i + 1).map((b) => ((b.memory - a.memory) / (b.at - a.at)) * 3600),
    );
    return median(slopes);
  }

  get mostDescriptors(): number {
    return Math.max(...this.samples.map(({ descriptors }) => descriptors));
  }

  private part(from: number, to: number): Sample[] {
    const end = this.samples.at(-1)?.at ?? 0;
    return this.samples.filter(({ at }) => at >= from * end && at <= to * end);
  }
}

/** User and system time of all threads, in seconds; the kernel tells it in hundredths (USER_HZ). */
function processorTime(pid: number): number {
  const afterName = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ").at(-1)!.split(" ");
  return (Number(afterName[11]) + Number(afterName[12])) / 100;
}

function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] ?? Number.NaN;
}
