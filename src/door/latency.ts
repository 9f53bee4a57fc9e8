/**
 * How long handoffs take, from accept to acknowledgement: one worker's histograms for each backend of one generation, in
 * shared memory with one writer (the worker). Counts are floats, exact up to 2^53.
 */

/** Upper bounds of the buckets in milliseconds, ascending, each inclusive; one more bucket is for all above. */
export const latencyBounds: readonly number[] = [
  0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10_000, 30_000,
];

const BUCKETS = latencyBounds.length + 1;
/** A row: the buckets' counts, then the sum in milliseconds. */
const ROW = BUCKETS + 1;
const bounds = Float64Array.from(latencyBounds);

/** Shared memory for one worker's histograms of a generation with so many backends. */
export function createLatencies(backends: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, backends) * ROW * Float64Array.BYTES_PER_ELEMENT);
}

/** Adds one handoff to a backend's histogram, over a view of what `createLatencies` made. */
export function countLatency(rows: Float64Array, backend: number, milliseconds: number): void {
  const row = backend * ROW;
  let bucket = 0;
  while (bucket < BUCKETS - 1 && milliseconds > bounds[bucket]!) bucket++;
  rows[row + bucket]!++;
  rows[row + BUCKETS]! += milliseconds;
}

/** Sums over workers, by backend index. `buckets` are counts of their own, not of all below. */
export function sumLatencies(
  workers: readonly SharedArrayBuffer[],
  backends: number,
): { buckets: number[]; count: number; sum: number }[] {
  const views = workers.map((memory) => new Float64Array(memory));
  const sumOf = (index: number) => views.reduce((total, values) => total + values[index]!, 0);
  return Array.from({ length: backends }, (_, backend) => {
    const buckets = Array.from({ length: BUCKETS }, (_, bucket) => sumOf(backend * ROW + bucket));
    return {
      buckets,
      count: buckets.reduce((total, count) => total + count, 0),
      sum: sumOf(backend * ROW + BUCKETS),
    };
  });
}
