import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { ClientCounts, ClientRates, COUNTS_BYTES, RATES_BYTES, SKETCH_CELLS } from "../../src/door/client-sketch.js";

/** Keys of few places, so that clients share them. */
const crowded = fc.tuple(fc.nat(3), fc.nat(3)).map(([first, second]) => ((second << 16) | first) >>> 0);
const anyKey = fc.integer({ min: 0, max: 2 ** 32 - 1 });

/** As many clients as there may be before two share a place in both rows: keys that differ in each. */
const apart = (client: number) => ((client << 16) | client) >>> 0;

describe("counts", () => {
  const counts = () => new ClientCounts(new SharedArrayBuffer(COUNTS_BYTES));

  it("are never less than what a client has, and nothing is left when all is taken away", () => {
    fc.assert(
      fc.property(fc.array(fc.oneof(crowded, anyKey), { maxLength: 200 }), fc.nat(), (keys, seed) => {
        const sketch = counts();
        const truth = new Map<number, number>();
        const left: number[] = [];
        for (const [i, key] of keys.entries()) {
          if ((i + seed) % 3 === 0 && left.length > 0) {
            const gone = left.splice((i * seed) % left.length, 1)[0]!;
            sketch.subtract(gone);
            truth.set(gone, truth.get(gone)! - 1);
          } else {
            expect(sketch.add(key, Number.POSITIVE_INFINITY)).toBe(true);
            left.push(key);
            truth.set(key, (truth.get(key) ?? 0) + 1);
          }
          for (const [key, count] of truth) expect(sketch.of(key)).toBeGreaterThanOrEqual(count);
        }
        for (const key of left) sketch.subtract(key);
        for (const key of truth.keys()) expect(sketch.of(key)).toBe(0);
      }),
    );
  });

  it("never let a client have more than the limit", () => {
    fc.assert(
      fc.property(fc.array(crowded, { maxLength: 200 }), fc.integer({ min: 0, max: 5 }), (keys, limit) => {
        const sketch = counts();
        const truth = new Map<number, number>();
        for (const key of keys) {
          if (sketch.add(key, limit)) truth.set(key, (truth.get(key) ?? 0) + 1);
          expect(truth.get(key) ?? 0).toBeLessThanOrEqual(limit);
        }
        // What was refused is not counted.
        for (const [key, count] of truth) for (let i = 0; i < count; i++) sketch.subtract(key);
        for (const key of keys) expect(sketch.of(key)).toBe(0);
      }),
    );
  });

  it("are exact for clients that share no place in both rows: each has the whole limit", () => {
    const sketch = counts();
    for (let client = 0; client < 1000; client++) {
      for (let i = 0; i < 5; i++) expect(sketch.add(apart(client), 5)).toBe(true);
      expect(sketch.add(apart(client), 5)).toBe(false);
      expect(sketch.of(apart(client))).toBe(5);
    }
  });

  it("do not wrong a client who shares one place with another that is at its limit", () => {
    const sketch = counts();
    for (let i = 0; i < 5; i++) sketch.add(apart(1), 5);
    for (const neighbour of [(2 << 16) | 1, (1 << 16) | 2]) {
      for (let i = 0; i < 5; i++) expect(sketch.add(neighbour, 5)).toBe(true);
    }
  });

  it("take the same memory for a million clients, few of whom are wronged", () => {
    const sketch = counts();
    let wronged = 0;
    // Each has one connection for a while, ten thousand at a time, beside a flood of one client.
    for (let i = 0; i < 1000; i++) sketch.add(apart(7), 1000);
    const key = (client: number) => Math.imul(client, 0x9e3779b1) >>> 0;
    for (let client = 0; client < 1_000_000; client++) {
      if (!sketch.add(key(client), 1000)) wronged++;
      if (client >= 10_000) sketch.subtract(key(client - 10_000));
    }
    expect(wronged).toBeLessThan(2);
    expect(SKETCH_CELLS * 8).toBe(COUNTS_BYTES);
  });
});

describe("rates", () => {
  const rates = () => new ClientRates(new SharedArrayBuffer(RATES_BYTES));

  it("let a burst come at once, then as many a second as permitted", () => {
    const sketch = rates();
    const at = (now: number) => sketch.admit(1, now, 10, 5);
    for (let i = 0; i < 6; i++) expect(at(1000)).toBe(true);
    expect([at(1000), at(1099), at(1100), at(1100)]).toEqual([false, false, true, false]);
    // Ten more in a second, whenever they come.
    let admitted = 0;
    for (let now = 1101; now <= 2100; now++) if (at(now)) admitted++;
    expect(admitted).toBe(10);
    // After silence the burst is there again, and no more.
    for (let i = 0; i < 6; i++) expect(at(10_000)).toBe(true);
    expect(at(10_000)).toBe(false);
  });

  it("never admit more of a client than one that has places of its own", () => {
    const step = fc.tuple(crowded, fc.nat(30));
    const permitted = fc.tuple(fc.integer({ min: 1, max: 200 }), fc.nat(5));
    fc.assert(
      fc.property(fc.array(step, { maxLength: 300 }), permitted, (steps, [rate, burst]) => {
        const shared = rates();
        const admitted = new Map<number, number[]>();
        let now = 5000;
        for (const [key, passed] of steps) {
          now += passed;
          if (!shared.admit(key, now, rate, burst)) continue;
          const times = admitted.get(key) ?? [];
          admitted.set(key, [...times, now]);
          for (const [i, since] of times.entries()) {
            const most = burst + 1 + ((now - since) * rate) / 1000 + 0.01;
            expect(times.length + 1 - i).toBeLessThanOrEqual(most);
          }
        }
      }),
    );
  });

  it("that are raised hold for those who had used up the lower one", () => {
    const sketch = rates();
    while (sketch.admit(1, 1000, 0.1, 100));
    expect(sketch.admit(1, 1000, 100, 100)).toBe(false);
    expect(sketch.admit(1, 1100, 100, 100)).toBe(true);
  });

  it("are not lost by fractions: a thousand a second is what comes in a second", () => {
    const sketch = rates();
    let admitted = 0;
    for (let i = 0; i < 3000; i++) if (sketch.admit(1, 1e9 + i / 3, 1000, 0)) admitted++;
    expect(admitted).toBeGreaterThanOrEqual(999);
    expect(admitted).toBeLessThanOrEqual(1001);
  });

  it("do not wrong a client who shares one place with another that is at its limit", () => {
    const sketch = rates();
    while (sketch.admit(apart(1), 1000, 1, 5));
    for (let i = 0; i < 6; i++) expect(sketch.admit((2 << 16) | 1, 1000, 1, 5)).toBe(true);
  });
});
