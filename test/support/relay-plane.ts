/** A relay's worker without a relay process around it: in a thread, told what its control plane would tell it. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Worker } from "node:worker_threads";
import { expect } from "vitest";
import { native } from "../../src/native/addon.js";
import { createRelayCounters, type RelayCounterName, sumRelayCounters } from "../../src/relay/counters.js";
import { createRelayGauges, readRelayGauges } from "../../src/relay/gauges.js";
import type {
  RelayBackendSettings,
  RelayCommand,
  RelayReport,
  RelaySettings,
  RelayTargetStatus,
  TargetAddress,
} from "../../src/relay/settings.js";
import { createTargetStats, sumTargetStats, type TargetStatName } from "../../src/relay/target-stats.js";
import { FakeDoor, type Told } from "./fake-door.js";
import { TcpListener } from "./tcp.js";
import { until } from "./wait.js";

/** A backend's targets by their names, and what differs from the defaults. */
export type RelayChange = Partial<RelayBackendSettings> & { readonly name: string };

type LogLine = Extract<RelayReport, { type: "log" }>;

export class RelayPlane {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  readonly reports: RelayReport[] = [];
  private readonly doors: Map<string, FakeDoor> = new Map();
  private readonly counters: SharedArrayBuffer = createRelayCounters();
  private readonly gaugeMemory: SharedArrayBuffer = createRelayGauges();
  private targetMemory: SharedArrayBuffer = new SharedArrayBuffer(8);
  private readonly listener: TcpListener = new TcpListener();
  /** Clients connect here. */
  readonly port: number = this.listener.port;
  private settings: RelaySettings | undefined;
  private worker: Worker | undefined;
  private snapshots = 0;
  /** What ended the worker. */
  private failure: Error | undefined;

  async start(
    backends: readonly RelayChange[],
    { capacity = 1000, pipes = 64 }: { capacity?: number; pipes?: number } = {},
  ): Promise<void> {
    const settings = this.settingsOf(backends);
    const worker = new Worker(new URL("../fixtures/relay-worker.mjs", import.meta.url));
    this.worker = worker;
    worker.on("message", (report: RelayReport) => this.reports.push(report));
    worker.on("error", (error) => {
      this.failure = error;
    });
    worker.postMessage({
      index: 0,
      settings,
      memory: { counters: this.counters, gauges: this.gaugeMemory },
      targetMemory: this.targetMemory,
      capacity,
      pipes,
    });
    await this.configured(settings);
    await Promise.all(backends.map(({ name }) => this.openDoor(name)));
  }

  /** Tells the worker, and no more. */
  reload(backends: readonly RelayChange[]): RelaySettings {
    const settings = this.settingsOf(backends);
    this.command({ type: "configure", settings, targetMemory: this.targetMemory });
    return settings;
  }

  async configure(backends: readonly RelayChange[]): Promise<void> {
    await this.configured(this.reload(backends));
    const missing = backends.filter(({ name }) => !this.doors.has(name));
    await Promise.all(missing.map(({ name }) => this.openDoor(name)));
  }

  private settingsOf(backends: readonly RelayChange[]): RelaySettings {
    const filled = backends.map((each) => ({ ...defaults, folder: this.folderOf(each.name), ...each }));
    for (const { name } of filled) mkdirSync(this.folderOf(name), { recursive: true });
    this.settings = {
      generation: (this.settings?.generation ?? 0) + 1,
      sockets: { mode: 0o600, uid: -1, gid: -1, allowedUsers: undefined },
      backends: filled,
    };
    this.targetMemory = createTargetStats(this.settings);
    return this.settings;
  }

  private folderOf(name: string): string {
    return `${join(this.folder, name)}/`;
  }

  private configured({ generation }: RelaySettings): Promise<RelayReport> {
    return this.reported((report) => report.type === "configured" && report.generation === generation);
  }

  private async openDoor(name: string): Promise<void> {
    const [socket] = readdirSync(this.folderOf(name)).filter((file) => file.endsWith(".sock"));
    this.doors.set(name, await FakeDoor.open(join(this.folderOf(name), socket!)));
  }

  door(name: string): FakeDoor {
    return this.doors.get(name)!;
  }

  command(command: RelayCommand): void {
    this.worker!.postMessage(command);
  }

  reported(matches: (report: RelayReport) => boolean): Promise<RelayReport> {
    return until("a report of the worker", () => {
      if (this.failure !== undefined) throw this.failure;
      return this.reports.find(matches);
    });
  }

  logged(event: string): Promise<LogLine> {
    return this.reported((report) => report.type === "log" && report.event === event) as Promise<LogLine>;
  }

  /** Accepts a connection that has come to `port` and hands it to the relay, as a door would. Resolves to its sequence. */
  async handOver(backend: string, told: Told = {}): Promise<number> {
    const descriptor = await this.listener.accept();
    const sequence = this.door(backend).handOver(descriptor, told);
    native.close(descriptor);
    return sequence;
  }

  /** Accepts a connection that has come to `port`; the caller `release`s it. */
  accept(): Promise<number> {
    return this.listener.accept();
  }

  release(descriptor: number): void {
    native.close(descriptor);
  }

  get totals(): Record<RelayCounterName, number> {
    return sumRelayCounters([this.counters]);
  }

  get gauges(): ReturnType<typeof readRelayGauges> {
    return readRelayGauges(this.gaugeMemory);
  }

  /** Numbers of the targets of all backends, in their order. */
  get targets(): Record<TargetStatName, number>[] {
    return sumTargetStats([this.targetMemory], this.settings!);
  }

  async snapshot(): Promise<readonly RelayTargetStatus[]> {
    const id = ++this.snapshots;
    this.command({ type: "snapshot", id });
    const report = await this.reported((each) => each.type === "snapshot" && each.id === id);
    return (report as Extract<RelayReport, { type: "snapshot" }>).targets;
  }

  /** Resolves when it has no connection. */
  async idle(): Promise<void> {
    await until("the relay to be idle", () => this.gauges.connections === 0 && this.totals.received > 0);
    const { established, dialing, parting } = this.gauges;
    expect({ established, dialing, parting }).toEqual({ established: 0, dialing: 0, parting: 0 });
  }

  /** Resolves when the worker has slept for most of half a second: one that spins never does. */
  async sleeps(): Promise<void> {
    await until("the worker to sleep", async () => {
      const before = this.gauges.busy_milliseconds;
      await new Promise((resolve) => setTimeout(resolve, 500));
      return this.gauges.busy_milliseconds - before < 100;
    });
  }

  async end(): Promise<void> {
    for (const door of this.doors.values()) door.close();
    await this.worker?.terminate();
    this.listener.close();
    rmSync(this.folder, { recursive: true });
    if (this.failure !== undefined) throw this.failure;
  }
}

/** A target on the loopback. */
export function target(port: number, address = "127.0.0.1"): { name: string; addresses: TargetAddress[] } {
  return { name: `${address}:${port}`, addresses: [{ address, port }] };
}

const defaults: Omit<RelayBackendSettings, "name" | "folder"> = {
  targets: [],
  balance: "round-robin",
  proxyProtocol: "none",
  connectTimeout: 60_000,
  hold: 0,
  idleTimeout: 0,
  lifetime: 0,
  keepAlive: true,
  fallback: { kind: "reject", reject: "internal_error" },
};
