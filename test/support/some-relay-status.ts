/** A relay's status as GET /status gives it, for what shows it. */
import type { RelayStatus } from "../../src/daemon/relay/status.js";
import { type RelayCounterName, relayCounterNames } from "../../src/relay/counters.js";
import { type TargetStatName, targetStatNames } from "../../src/relay/target-stats.js";

function zeros<Name extends string>(names: readonly Name[]): Record<Name, number> {
  return Object.fromEntries(names.map((name) => [name, 0])) as Record<Name, number>;
}

export const someTotals = (changes: Partial<Record<TargetStatName, number>> = {}) => ({
  ...zeros(targetStatNames),
  ...changes,
});

export function someRelayStatus(counters: Partial<Record<RelayCounterName, number>> = {}): RelayStatus {
  return {
    kind: "relay",
    version: "1.2.3",
    pid: 4711,
    startedAt: "2026-01-02T03:04:05.000Z",
    uptime: 93_784,
    state: "running",
    node: "v20.20.2",
    kernel: "6.8.0",
    configuration: {
      file: "/etc/sni-handoff/front-door.yaml",
      generation: 2,
      loadedAt: "2026-01-02T03:04:05.000Z",
      lastReload: { at: "2026-01-02T03:04:05.000Z", ok: false, message: "generation 2 of the relay stays in force" },
    },
    folder: "/run/sni-handoff/control.relay/",
    whileNeeded: true,
    workers: [
      { index: 0, responsive: true, connections: 12, established: 10, dialing: 2, pipes: 3, busy: 1.5 },
      { index: 1, responsive: false, connections: 0, established: 0, dialing: 0, pipes: 0, busy: 0.25 },
    ],
    backends: [
      {
        name: "app",
        targets: [
          {
            name: "10.0.0.1:8443",
            addresses: ["10.0.0.1:8443"],
            state: "well",
            lastFailure: "ECONNREFUSED",
            totals: someTotals({ active: 10, connections: 1234, bytes_to_target: 2048, bytes_to_client: 5 * 2 ** 20 }),
          },
          {
            name: "app.internal:443",
            addresses: ["[2001:db8::1]:443", "192.0.2.1:443"],
            state: "resting",
            lastFailure: "ETIMEDOUT",
            totals: someTotals({ connect_failures: 3, connect_timeouts: 4 }),
          },
        ],
      },
      {
        name: "gone",
        targets: [
          {
            name: "gone.internal:443",
            addresses: [],
            state: "unresolved",
            lastFailure: "the name has no address",
            totals: someTotals(),
          },
        ],
      },
    ],
    counters: { ...zeros(relayCounterNames), received: 1240, connected: 1234, refused: 6, ...counters },
    process: { user: 998, rss: 85_000_000, descriptors: 60, descriptorLimit: 65_536, cpuSeconds: 12.34 },
  };
}
