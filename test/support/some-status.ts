/** A status as a daemon would give it, with a bit of everything. */

import type { BackendStatus, InstanceStatus, Status } from "../../src/daemon/status.js";
import { counterNames } from "../../src/door/counters.js";

export function someInstance(changes: Partial<InstanceStatus> = {}): InstanceStatus {
  return {
    path: "/run/app/door.sock",
    pid: 4242,
    uid: 1000,
    state: "ready",
    window: 64,
    weight: 1,
    open: 12,
    outstanding: 1,
    channels: 2,
    lastFailure: "",
    ...changes,
  };
}

export function someBackend(changes: Partial<BackendStatus> = {}): BackendStatus {
  return {
    name: "app",
    kind: "handoff",
    targets: [],
    drained: false,
    held: 0,
    counters: { handed_over: 1201, acknowledged: 1200, held: 3 },
    latency: { p50: 0.42, p99: 12.3, count: 1200 },
    instances: [someInstance()],
    ...changes,
  };
}

export function someStatus(changes: Partial<Status> = {}): Status {
  const counters = Object.fromEntries(counterNames.map((name) => [name, 0])) as Record<string, number>;
  return {
    version: "1.2.3",
    pid: 4000,
    startedAt: "2026-01-02T03:04:05.000Z",
    uptime: 93_784,
    state: "running",
    node: "v20.20.2",
    kernel: "6.8.0",
    configuration: {
      file: "/etc/sni-handoff/front-door.yaml",
      generation: 3,
      loadedAt: "2026-01-02T03:04:05.000Z",
      names: 12,
      tableBytes: 65_536,
      lastReload: undefined,
    },
    listeners: [
      { name: "*:443", address: "*:443", protocol: "tls", source: "configuration" },
      { name: "*:80", address: "*:80", protocol: "http", source: "configuration" },
      { name: "inside", address: "[::1]:8443", protocol: "tls", source: "systemd" },
    ],
    workers: [
      { index: 0, responsive: true, utilisation: 0.123, connections: 5, waiting: 3, held: 1, unacknowledged: 1 },
      { index: 1, responsive: false, utilisation: 1, connections: 123_456, waiting: 0, held: 0, unacknowledged: 0 },
    ],
    backends: [
      someBackend(),
      someBackend({
        name: "pool",
        counters: { acknowledged: 1_234_567 },
        instances: [
          someInstance({ path: "/run/pool.d/17-0a1b.sock", pid: 17, open: 23_456 }),
          someInstance({
            path: "/run/pool.d/18-0a1b.sock",
            pid: -1,
            state: "absent",
            open: 0,
            outstanding: 0,
            lastFailure: "connect: Connection refused (ECONNREFUSED)",
          }),
        ],
      }),
      someBackend({ name: "empty", latency: { p50: 0, p99: 0, count: 0 }, counters: {}, instances: [], held: 7 }),
      someBackend({
        name: "sorry",
        kind: "reject",
        counters: { rejected: 9 },
        latency: { p50: 0, p99: 0, count: 0 },
        instances: [],
      }),
    ],
    counters: {
      ...counters,
      accepted: 1_240_000,
      handed_over: 1_235_768,
      acknowledged: 1_235_767,
      rejected: 9,
      held: 3,
    } as Status["counters"],
    privileges: {
      user: "sni-handoff",
      uid: 998,
      gid: 997,
      noNewPrivileges: true,
      capabilities: [],
      landlock: "abi 6: 5 folders",
    },
    process: { rss: 85_000_000, descriptors: 120, descriptorLimit: 65_536, cpuSeconds: 12.34, eventLoopLag: 1.2 },
    relay: { state: "off", control: "/run/sni-handoff/control.relay/.control.sock", starts: true, reason: "" },
    systemd: { notify: true, watchdog: 30 },
    control: "/run/sni-handoff/control.sock",
    metrics: "127.0.0.1:9443",
    accessLog: { mode: "errors", dropped: 0 },
    ...changes,
  };
}
