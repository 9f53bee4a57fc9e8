/** Workers without a daemon around them: settings and commands as the control plane gives them, in threads of the test. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
// Compiled: the workers are threads, which cannot run TypeScript.
import { Workers } from "../../dist/daemon/workers.js";
import type {
  BackendSettings,
  ChannelStatus,
  DoorSettings,
  HandoffBackendSettings,
  WorkerCommand,
  WorkerReport,
} from "../../src/door/settings.js";
import { native } from "../../src/native/addon.js";
import { RouteTableBuilder } from "../../src/routing/table.js";
import { buildHello } from "../tls/hello-builder.js";
import { BackendProcess, type BackendStart } from "./backend-process.js";
import { noRules } from "./no-rules.js";
import { expectNothingCounted } from "./nothing-counted.js";
import { RawClient } from "./raw-client.js";
import { until } from "./wait.js";

type LogLine = Extract<WorkerReport, { type: "log" }>;

/** A backend's name and path, and what differs from the defaults. */
export type BackendChange = Pick<HandoffBackendSettings, "name" | "path"> & Partial<HandoffBackendSettings>;

export class DataPlane {
  readonly folder: string = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  readonly log: LogLine[] = [];
  readonly backends: BackendProcess[] = [];
  private readonly clients: RawClient[] = [];
  private readonly listener: number = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 511 });
  readonly port: number = native.localAddress(this.listener).port;
  private workers: Workers | undefined;
  private generation = 1;
  private backendCount = 0;

  /** Every backend gets a route of its name and ".test". `instances` are the paths in backends' folders. */
  async start(
    backends: readonly BackendChange[],
    { workers = 1, instances = [] }: { workers?: number; instances?: readonly (readonly string[])[] } = {},
  ): Promise<void> {
    const settings = this.settings(backends);
    const routes = routesOf(settings.backends);
    this.workers = await Workers.start(
      {
        count: workers,
        settings,
        routes,
        listeners: [this.listener],
        accepting: true,
        instances: filled(backends, instances),
      },
      {
        log: (line) => this.log.push(line),
        died: (error) => {
          throw error;
        },
      },
    );
  }

  async configure(backends: readonly BackendChange[], instances: readonly (readonly string[])[] = []): Promise<void> {
    const settings = this.settings(backends);
    await this.workers!.configure(settings, routesOf(settings.backends), filled(backends, instances), [this.listener]);
  }

  private settings(backends: readonly BackendChange[]): DoorSettings {
    this.backendCount = backends.length;
    return {
      generation: this.generation++,
      helloTimeout: 60_000,
      helloLimit: 16384,
      limits: { waiting: 10_000, waitingPerClient: 10_000, held: 10_000, acceptRate: 0, acceptBurst: 0 },
      accessLog: { mode: "off", sample: 1 },
      backends: backends.map((each) => ({ ...defaults, ...each })),
      rules: noRules,
    };
  }

  command(command: WorkerCommand): void {
    this.workers!.command(command);
  }

  get totals(): Workers["totals"] {
    return this.workers!.totals;
  }

  /** Every worker's channels. */
  async snapshot(): Promise<ChannelStatus[]> {
    return (await this.workers!.snapshot()).flat();
  }

  /** Resolves when so many channels are in this state. */
  async channels(state: ChannelStatus["state"], count: number): Promise<ChannelStatus[]> {
    return until(`${count} channels in state ${state}`, async () => {
      const all = await this.snapshot();
      return all.filter((channel) => channel.state === state).length === count && all;
    });
  }

  event(event: string, matches: (line: LogLine) => boolean = () => true): Promise<LogLine> {
    return until(`the log line "${event}"`, () => this.log.find((line) => line.event === event && matches(line)));
  }

  at(name: string): string {
    return join(this.folder, `${name}.sock`);
  }

  async backend(start: BackendStart): Promise<BackendProcess> {
    const backend = await BackendProcess.start(start);
    this.backends.push(backend);
    return backend;
  }

  /** A backend that reads up to "END\n", says so and closes. */
  raw(name: string, path: string = this.at(name)): Promise<BackendProcess> {
    return this.backend({ kind: "raw", path, name });
  }

  /** A client of a backend, whose hello is sent. */
  async client(name: string): Promise<RawClient> {
    const client = await RawClient.connect(this.port);
    this.clients.push(client);
    client.send(buildHello({ serverName: `${name}.test` }));
    return client;
  }

  /** Several, all of which are connected before the first one's hello is sent. */
  async clientsAtOnce(name: string, count: number): Promise<RawClient[]> {
    const clients = await Promise.all(Array.from({ length: count }, () => RawClient.connect(this.port)));
    this.clients.push(...clients);
    for (const client of clients) client.send(buildHello({ serverName: `${name}.test` }));
    return clients;
  }

  /** One whole exchange with a raw backend: the name of the instance that answered. */
  async ask(name: string): Promise<string> {
    return answerOf(await this.client(name));
  }

  /** Ends everything; nothing may be counted any more when clients and backends are gone. */
  async end(): Promise<void> {
    for (const client of this.clients) client.close();
    for (const backend of this.backends) {
      if (backend.child.running) backend.signal("SIGCONT");
      await backend.kill();
    }
    try {
      if (this.workers !== undefined) await expectNothingCounted(this.workers, this.backendCount);
    } finally {
      await this.workers?.terminate();
      native.close(this.listener);
      rmSync(this.folder, { recursive: true });
    }
  }
}

/** Ends a client's request to a raw backend: the name of the instance that answers. */
export async function answerOf(client: RawClient): Promise<string> {
  client.send(Buffer.from("END\n"));
  const { received, end } = await client.reply;
  client.close();
  if (received[0] !== 0x7b) throw new Error(`no answer but ${received.toString("hex")} and ${end}`);
  return JSON.parse(received.toString()).name;
}

const defaults: Omit<HandoffBackendSettings, "name" | "path"> = {
  kind: "handoff",
  balance: "round-robin",
  hold: 30_000,
  maxHeld: 1000,
  maxHeldPerClient: 1000,
  acknowledgeTimeout: 60_000,
  fallback: -1,
  uid: -1,
  connect: "eagerly",
  maxConnections: 0,
};

function routesOf(backends: readonly BackendSettings[]): SharedArrayBuffer {
  const names = backends.map(({ name }) => `${name}.test`);
  const builder = new RouteTableBuilder({ names: names.length, nameBytes: names.join("").length }, undefined);
  for (const [index, name] of names.entries()) builder.add(name, index);
  return builder.finish();
}

function filled(
  backends: readonly unknown[],
  instances: readonly (readonly string[])[],
): readonly (readonly string[])[] {
  return backends.map((_, i) => instances[i] ?? []);
}
