/** What workers write and the control plane reads: sums over workers. */
import fc from "fast-check";
import { expect, it } from "vitest";
import {
  BACKEND_COUNTERS,
  BackendCounter,
  createBackendCounters,
  sumBackendCounters,
} from "../../src/door/backend-counters.js";
import { createGauges, Gauge, gaugeNames, readGauges } from "../../src/door/gauges.js";
import { countLatency, createLatencies, latencyBounds, sumLatencies } from "../../src/door/latency.js";

it("adds up the counters of each backend, each as an unsigned number", () => {
  const workers = [createBackendCounters(3), createBackendCounters(3)];
  new Uint32Array(workers[0]!)[2 * BACKEND_COUNTERS + BackendCounter.revoked] = 0xffffffff;
  new Uint32Array(workers[1]!)[2 * BACKEND_COUNTERS + BackendCounter.revoked] = 2;
  new Uint32Array(workers[1]!)[BackendCounter.handed_over] = 5;
  const sums = sumBackendCounters(workers, 3);
  expect(sums).toHaveLength(3);
  expect(sums[2]).toMatchObject({ revoked: 0x100000001, handed_over: 0 });
  expect(sums[0]).toMatchObject({ revoked: 0, handed_over: 5 });
});

it("a configuration without backends has memory too, and no rows", () => {
  expect(sumBackendCounters([createBackendCounters(0)], 0)).toEqual([]);
  expect(sumLatencies([createLatencies(0)], 0)).toEqual([]);
});

it("counts each latency in the first bucket whose bound it does not exceed", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.tuple(
          fc.nat(1),
          fc.nat(2),
          fc.oneof(fc.double({ min: 0, max: 1e5, noNaN: true }), fc.constantFrom(...latencyBounds)),
        ),
      ),
      (measured) => {
        const workers = [createLatencies(3), createLatencies(3)];
        const views = workers.map((memory) => new Float64Array(memory));
        for (const [worker, backend, latency] of measured) countLatency(views[worker]!, backend, latency);
        sumLatencies(workers, 3).forEach(({ buckets, count, sum }, backend) => {
          const mine = measured.filter(([, of]) => of === backend).map(([, , latency]) => latency);
          expect(count).toBe(mine.length);
          expect(sum).toBeCloseTo(
            mine.reduce((total, latency) => total + latency, 0),
            3,
          );
          expect(buckets).toHaveLength(latencyBounds.length + 1);
          let below = 0;
          latencyBounds.forEach((bound, bucket) => {
            below += buckets[bucket]!;
            expect(below).toBe(mine.filter((latency) => latency <= bound).length);
          });
        });
      },
    ),
  );
});

it("the bounds of latencies ascend", () => {
  expect([...latencyBounds].sort((a, b) => a - b)).toEqual(latencyBounds);
});

it("reads gauges by their names", () => {
  const memory = createGauges();
  new Float64Array(memory)[Gauge.busy_milliseconds] = 1.5;
  expect(readGauges(memory)).toEqual({
    ...Object.fromEntries(gaugeNames.map((name) => [name, 0])),
    busy_milliseconds: 1.5,
  });
});
