/**
 * What each client has, without memory for each client: two rows of cells, in each of which a client shares one with
 * whoever has the same hash there (a count-min sketch: Cormode and Muthukrishnan, J. Algorithms 55(1), 2005). The lesser
 * of a client's two cells is never less than what is its own, so a limit holds for everybody; a client is wronged only
 * if others fill both of its cells. A key (client-key.ts) is 32 bits: the place in one row, and that in the other.
 */

/** Cells a row. */
export const SKETCH_CELLS = 1 << 16;
const CELLS = SKETCH_CELLS;
const CELL = CELLS - 1;

/** Bytes of a `ClientCounts` region, and of a `ClientRates` one. Memory that nobody has touched costs nothing. */
export const COUNTS_BYTES: number = 2 * CELLS * Int32Array.BYTES_PER_ELEMENT;
export const RATES_BYTES: number = 2 * CELLS * Float64Array.BYTES_PER_ELEMENT;

/** How many each client has of something, all workers together. */
export class ClientCounts {
  private readonly cells: Int32Array;

  constructor(memory: SharedArrayBuffer, at: number = 0) {
    this.cells = new Int32Array(memory, at, 2 * CELLS);
  }

  /** Counts one more, unless the client has `limit` already: then false. */
  add(key: number, limit: number): boolean {
    const { cells } = this;
    const first = Atomics.add(cells, key & CELL, 1);
    const second = Atomics.add(cells, CELLS + (key >>> 16), 1);
    if (first < limit || second < limit) return true;
    this.subtract(key);
    return false;
  }

  /** Takes one that was counted away again. */
  subtract(key: number): void {
    Atomics.sub(this.cells, key & CELL, 1);
    Atomics.sub(this.cells, CELLS + (key >>> 16), 1);
  }

  /** At least how many the client has. */
  of(key: number): number {
    return Math.min(Atomics.load(this.cells, key & CELL), Atomics.load(this.cells, CELLS + (key >>> 16)));
  }
}

/**
 * How fast each client comes: the generic cell rate algorithm (ITU-T I.371). A cell holds the time up to which what has
 * come would have taken at the permitted rate. Workers share it without locks: of two that admit one client in the same
 * instant, one may go uncounted.
 */
export class ClientRates {
  private readonly cells: Float64Array;

  constructor(memory: SharedArrayBuffer, at: number = 0) {
    this.cells = new Float64Array(memory, at, 2 * CELLS);
  }

  /** Whether one more may come at `now` (milliseconds) at `rate` a second, with `burst` at once beyond it. Counts it, if so. */
  admit(key: number, now: number, rate: number, burst: number): boolean {
    const { cells } = this;
    const first = key & CELL;
    const second = CELLS + (key >>> 16);
    const interval = 1000 / rate;
    // Nobody gets further ahead than this, but at a lower rate, which was in force before.
    const furthest = now + (burst + 1) * interval;
    if (cells[first]! > furthest) cells[first] = furthest;
    if (cells[second]! > furthest) cells[second] = furthest;
    const due = Math.max(now, Math.min(cells[first]!, cells[second]!));
    // A thousandth of an interval: sums of fractions must not cost a client its last one.
    if (due - now > (burst + 0.001) * interval) return false;
    const next = due + interval;
    if (cells[first]! < next) cells[first] = next;
    if (cells[second]! < next) cells[second] = next;
    return true;
  }
}
