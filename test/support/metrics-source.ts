/** A door's counts, for tests of what is made from them. */
import type { MetricsSource } from "../../src/daemon/metrics.js";
import { counterNames } from "../../src/door/counters.js";

const backendCounters = {
  handed_over: 1000,
  acknowledged: 990,
  refused_by_instance: 4,
  redelivered: 3,
  lost_after_read: 2,
  held: 20,
  fallback: 1,
  hold_timeout: 5,
  hold_full: 6,
  rejected: 0,
  client_gone: 7,
  revoked: 1,
};

export function metricsSource(): MetricsSource {
  return {
    status: {
      version: "0.1.0",
      node: "v20.19.0",
      startedAt: "2025-01-01T00:00:00.000Z",
      configuration: {
        generation: 3,
        loadedAt: "2025-01-02T00:00:00.500Z",
        names: 1_000_000,
        tableBytes: 50_000_000,
        lastReload: { ok: false },
      },
      workers: [0, 1].map((index) => ({
        index,
        responsive: index === 0,
        connections: 10 + index,
        waiting: 5,
        held: 3,
        unacknowledged: 2,
      })),
      backends: [
        {
          name: "app",
          kind: "handoff",
          drained: false,
          held: 6,
          counters: backendCounters,
          instances: [{ state: "ready" }, { state: "ready" }, { state: "stalled" }],
        },
        { name: "spare", kind: "handoff", drained: true, held: 0, counters: {}, instances: [] },
        { name: "no", kind: "reject", drained: false, held: 0, counters: { rejected: 8 }, instances: [] },
      ],
      counters: Object.fromEntries(counterNames.map((name, index) => [name, 100 + index])),
      process: { rss: 80_000_000, descriptors: 50, descriptorLimit: 1024, cpuSeconds: 1.5 },
      accessLog: { dropped: 9 },
    },
    latencyBounds: [0.3, 1, 10],
    latencies: new Map([["app", { buckets: [1, 2, 3, 4], sum: 1234.5 }]]),
    busy: [1500, 2500],
    reloads: { succeeded: 2, failed: 1 },
    upgrades: { succeeded: 1, failed: 0 },
    lag: { p50: 0.1, p99: 12 },
    limits: { waiting: 10_000, held: 20_000, heldOfBackend: new Map([["app", 1000]]) },
    logDropped: 0,
  };
}
