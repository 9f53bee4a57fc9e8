/** What the daemon tells about itself: its status, from which the metrics are rendered too. */

import { readdirSync, readFileSync } from "node:fs";
import { release } from "node:os";
import { readGauges } from "../door/gauges.js";
import { latencyBounds } from "../door/latency.js";
import type { BackendSettings, ChannelStatus } from "../door/settings.js";
import { RouteTable } from "../routing/table.js";
import { type Configuration, configuredBackends } from "./configuration/index.js";
import { descriptorLimit } from "./descriptor-limit.js";
import type { Heartbeats } from "./heartbeats.js";
import type { LoopLag } from "./loop-lag.js";
import type { Attempts, MetricsSource } from "./metrics.js";
import { type PrivilegesInForce, privilegesInForce } from "./privileges/index.js";
import type { KeptRelay } from "./relay/keeper.js";
import type { BackendStatus, InstanceStatus, ListenerStatus, Status } from "./status.js";
import { quantile, type Totals } from "./totals.js";
import type { Workers } from "./workers.js";

/** What is reported, of which the daemon has one. */
export interface Reported {
  readonly configuration: Configuration;
  readonly loadedAt: string;
  readonly lastReload: Status["configuration"]["lastReload"];
  readonly state: Status["state"];
  readonly workers: Workers;
  readonly totals: Totals;
  readonly listeners: readonly ListenerStatus[];
  /** "backend" or "backend path". */
  readonly drained: ReadonlySet<string>;
  readonly relay: KeptRelay;
  readonly control: string;
  readonly metrics: string;
  readonly landlock: string;
  readonly systemd: Status["systemd"];
  readonly accessLogDropped: number;
  readonly logDropped: number;
  readonly reloads: Attempts;
  readonly upgrades: Attempts;
}

const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
const startedAt = new Date(Date.now() - process.uptime() * 1000).toISOString();
const limit = descriptorLimit();

export class Reporting {
  private readonly lag: LoopLag;
  private readonly heartbeats: Heartbeats;
  private privileges: PrivilegesInForce | undefined;
  private busyBefore: { readonly at: number; readonly milliseconds: readonly number[] } = { at: 0, milliseconds: [] };

  constructor(lag: LoopLag, heartbeats: Heartbeats) {
    this.lag = lag;
    this.heartbeats = heartbeats;
  }

  /** `now` is asked again when the workers have answered: the configuration may be another one by then. */
  async status(now: () => Reported): Promise<Status> {
    // A stuck worker does not answer, and what is known without it is worth knowing all the more.
    const channels = (await this.heartbeats.unlessStuck(now().workers.snapshot(), () => [])).flat();
    return this.statusOf(now(), channels);
  }

  private statusOf(reported: Reported, channels: readonly ChannelStatus[]): Status {
    const { configuration, workers, totals } = reported;
    this.privileges ??= privilegesInForce(reported.landlock);
    return {
      version,
      pid: process.pid,
      startedAt,
      uptime: process.uptime(),
      state: reported.state,
      node: process.version,
      kernel: release(),
      configuration: {
        file: configuration.file,
        generation: configuration.door.generation,
        loadedAt: reported.loadedAt,
        names: configuration.names,
        tableBytes: new RouteTable(configuration.routes).bytes,
        lastReload: reported.lastReload,
      },
      listeners: reported.listeners,
      workers: this.workers(workers),
      counters: totals.counters,
      backends: configuredBackends(configuration.door).map((backend) => backendStatus(backend, reported, channels)),
      privileges: this.privileges,
      process: {
        rss: process.memoryUsage.rss(),
        descriptors: readdirSync("/proc/self/fd").length,
        descriptorLimit: limit,
        cpuSeconds: (process.cpuUsage().user + process.cpuUsage().system) / 1e6,
        eventLoopLag: this.lag.p99,
      },
      relay: reported.relay,
      systemd: reported.systemd,
      control: reported.control,
      metrics: reported.metrics,
      accessLog: { mode: configuration.door.accessLog.mode, dropped: reported.accessLogDropped },
    };
  }

  async metrics(now: () => Reported): Promise<{ contentType: string; text: string }> {
    const { renderMetrics } = await import("./metrics.js");
    const status = await this.status(now);
    const reported = now();
    const { backends, limits } = reported.configuration.door;
    const source: MetricsSource = {
      status,
      latencyBounds,
      latencies: reported.totals.latencies,
      busy: reported.workers.memories.map(({ gauges }) => readGauges(gauges).busy_milliseconds),
      reloads: reported.reloads,
      upgrades: reported.upgrades,
      lag: this.lag,
      limits: {
        waiting: limits.waiting,
        held: limits.held,
        heldOfBackend: new Map(backends.flatMap((each) => (each.kind === "reject" ? [] : [[each.name, each.maxHeld]]))),
      },
      logDropped: reported.logDropped,
    };
    return renderMetrics(source);
  }

  private workers(workers: Workers): Status["workers"] {
    const gauges = workers.memories.map((memory) => readGauges(memory.gauges));
    const now = performance.now();
    const before = this.busyBefore;
    this.busyBefore = { at: now, milliseconds: gauges.map((each) => each.busy_milliseconds) };
    return gauges.map((each, index) => ({
      index,
      responsive: this.heartbeats.answered(index),
      utilisation: Math.min(1, (each.busy_milliseconds - (before.milliseconds[index] ?? 0)) / (now - before.at)),
      connections: each.connections,
      waiting: each.waiting,
      held: each.held,
      unacknowledged: each.unacknowledged,
    }));
  }
}

function backendStatus(
  backend: BackendSettings,
  { totals, drained, workers, configuration }: Reported,
  channels: readonly ChannelStatus[],
): BackendStatus {
  const { name, kind } = backend;
  const latencies = totals.latencies.get(name);
  const index = configuration.door.backends.findIndex((backend) => backend.name === name);
  return {
    name,
    kind,
    targets: backend.kind === "handoff" ? (backend.relay ?? []) : [],
    drained: drained.has(name),
    held: workers.held(index),
    counters: totals.backend(name),
    latency:
      latencies === undefined
        ? { p50: 0, p99: 0, count: 0 }
        : { p50: quantile(latencies, 0.5), p99: quantile(latencies, 0.99), count: latencies.count },
    instances: instancesOf(channels.filter((channel) => channel.backend === name)),
  };
}

/** Each worker has a channel of its own to an instance. */
function instancesOf(channels: readonly ChannelStatus[]): InstanceStatus[] {
  const paths = new Set(channels.map(({ path }) => path));
  return [...paths].map((path) =>
    instanceOf(
      path,
      channels.filter((channel) => channel.path === path),
    ),
  );
}

function instanceOf(path: string, channels: readonly ChannelStatus[]): InstanceStatus {
  const connected = channels.filter(({ state }) => state !== "absent");
  const [first] = [...connected, ...channels] as [ChannelStatus];
  return {
    path,
    pid: first.pid,
    uid: first.uid,
    state: stateOf(channels),
    window: first.window,
    weight: first.weight,
    open: Math.max(...channels.map(({ open }) => open)),
    outstanding: channels.reduce((sum, { outstanding }) => sum + outstanding, 0),
    channels: connected.length,
    lastFailure: channels.map(({ lastFailure }) => lastFailure).find((failure) => failure !== "") ?? "",
  };
}

/** The best that any worker has, but for what concerns the instance whoever looks. */
function stateOf(channels: readonly ChannelStatus[]): InstanceStatus["state"] {
  const some = (matches: (channel: ChannelStatus) => boolean) => channels.some(matches);
  if (some(({ drained }) => drained)) return "drained";
  if (some(({ state, stalled, resting }) => state === "ready" && !stalled && !resting)) return "ready";
  if (some(({ stalled }) => stalled)) return "stalled";
  if (some(({ resting }) => resting)) return "resting";
  for (const wanted of ["draining", "revoking", "greeting"] as const)
    if (some(({ state }) => state === wanted)) return wanted;
  return "absent";
}
