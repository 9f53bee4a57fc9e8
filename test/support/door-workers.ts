/** A door's workers in this process, without its control plane: their memory can be read, their settings are free. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
// Compiled: the workers are threads, which cannot run TypeScript.
import { Workers } from "../../dist/daemon/workers.js";
import { type AccessEvent, AccessReader } from "../../src/door/access-events.js";
import type { GaugeName } from "../../src/door/gauges.js";
import type {
  BackendSettings,
  DoorLimits,
  DoorSettings,
  HandoffBackendSettings,
  WorkerReport,
} from "../../src/door/settings.js";
import { native } from "../../src/native/addon.js";
import { RouteTableBuilder } from "../../src/routing/table.js";
import { BackendProcess } from "./backend-process.js";
import { noRules } from "./no-rules.js";
import { expectNothingCounted, sumGauges } from "./nothing-counted.js";
import { RawClient } from "./raw-client.js";
import { until } from "./wait.js";

type LogLine = Extract<WorkerReport, { type: "log" }>;

/** No limit that a test would meet. */
export const unlimited: DoorLimits = {
  waiting: 1e6,
  waitingPerClient: 1e6,
  held: 1e6,
  acceptRate: 0,
  acceptBurst: 0,
};

export interface WorkersOptions {
  readonly workers?: number;
  readonly backends: readonly BackendSettings[];
  /** Server names, or "*." and a parent domain, to the index of a backend. */
  readonly routes: Readonly<Record<string, number>>;
  /** Other settings than the usual ones. */
  readonly settings?: Partial<DoorSettings>;
  /** Listening sockets beside the usual one, which is the last of all. */
  readonly listeners?: readonly number[];
}

export class DoorWorkers {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  readonly log: LogLine[] = [];
  /** Events that were read so far. */
  readonly events: AccessEvent[] = [];
  workers!: Workers;
  port = 0;
  private listener = -1;
  private generation = 0;
  private backendCount = 0;
  private readers: AccessReader[] = [];
  private readonly backends: BackendProcess[] = [];
  private readonly clients: RawClient[] = [];

  /** A backend of this name, with its socket in the folder, that holds for long. */
  handoff(name: string, over: Partial<HandoffBackendSettings> = {}): HandoffBackendSettings {
    return {
      kind: "handoff",
      name,
      path: `${this.folder}/${name}.sock`,
      balance: "round-robin",
      hold: 600_000,
      maxHeld: 1e6,
      maxHeldPerClient: 1e6,
      acknowledgeTimeout: 20_000,
      connect: "eagerly",
      maxConnections: 0,
      fallback: -1,
      uid: -1,
      ...over,
    };
  }

  /** Resolves when the workers accept. */
  async start(options: WorkersOptions): Promise<void> {
    this.listener = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 4096, deferAccept: 1 });
    this.port = native.localAddress(this.listener).port;
    this.workers = await Workers.start(
      {
        count: options.workers ?? 1,
        settings: this.settings(options),
        routes: routeTable(options.routes),
        listeners: [...(options.listeners ?? []), this.listener],
        accepting: true,
        instances: options.backends.map(() => []),
      },
      {
        log: (line) => this.log.push(line),
        died: (error) => {
          throw error;
        },
      },
    );
    this.readers = this.workers.memories.map(({ accessRing }) => new AccessReader(accessRing));
  }

  /** Resolves when the new settings are in force. */
  async configure(options: WorkersOptions): Promise<void> {
    const instances = options.backends.map(() => []);
    const listeners = [...(options.listeners ?? []), this.listener];
    await this.workers.configure(this.settings(options), routeTable(options.routes), instances, listeners);
  }

  private settings({ backends, settings }: WorkersOptions): DoorSettings {
    this.backendCount = backends.length;
    return {
      generation: ++this.generation,
      helloTimeout: 600_000,
      helloLimit: 16_384,
      limits: unlimited,
      accessLog: { mode: "all", sample: 1 },
      backends,
      rules: noRules,
      ...settings,
    };
  }

  /** A process that answers as `RawClient.reply` tells: its name, and the digest of what it read up to "END\n". */
  async instance(name: string): Promise<BackendProcess> {
    const backend = await BackendProcess.start({ kind: "raw", path: `${this.folder}/${name}.sock`, name });
    this.backends.push(backend);
    return backend;
  }

  /** Resolves when the workers have opened so many channels since their start. */
  async channels(count: number): Promise<void> {
    await until(`${count} channels`, () => this.workers.totals.channels_ready >= count);
  }

  async client(bytes?: Uint8Array, localAddress?: string): Promise<RawClient> {
    const client = await RawClient.connect(this.port, localAddress);
    this.clients.push(client);
    if (bytes !== undefined) client.send(bytes);
    return client;
  }

  /** Sums of the workers' gauges. */
  get gauges(): Record<GaugeName, number> {
    return sumGauges(this.workers);
  }

  /** Resolves when a gauge's sum has this value. */
  async gauge(name: GaugeName, value: number): Promise<void> {
    await until(`${name} to be ${value}`, () => this.gauges[name] === value);
  }

  /** As `expectNothingCounted` of nothing-counted.ts. */
  expectNothingCounted(): Promise<void> {
    return expectNothingCounted(this.workers, this.backendCount);
  }

  /** Resolves to all events, when there are at least so many. */
  async eventsOf(count: number): Promise<AccessEvent[]> {
    await until(`${count} events`, () => {
      for (const reader of this.readers) reader.read((event) => this.events.push(event));
      return this.events.length >= count;
    });
    return this.events;
  }

  /** Ends everything; nothing may be counted any more when clients and backends are gone. */
  async end(): Promise<void> {
    for (const client of this.clients) client.close();
    for (const backend of this.backends) await backend.kill();
    try {
      if (this.workers !== undefined) await this.expectNothingCounted();
    } finally {
      await this.workers?.terminate();
      if (this.listener >= 0) native.close(this.listener);
      rmSync(this.folder, { recursive: true });
    }
  }
}

function routeTable(routes: Readonly<Record<string, number>>): SharedArrayBuffer {
  const names = Object.keys(routes);
  const builder = new RouteTableBuilder({ names: names.length, nameBytes: names.join("").length }, undefined);
  for (const name of names) builder.add(name, routes[name]!);
  return builder.finish();
}
