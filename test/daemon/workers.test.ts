/** Configurations that change while connections come: the swap of the route table is atomic, and nothing is lost. */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
// Compiled: the workers are threads, which cannot run TypeScript.
import { Workers } from "../../dist/daemon/workers.js";
import type { DoorSettings, HandoffBackendSettings } from "../../src/door/settings.js";
import { native } from "../../src/native/addon.js";
import { RouteTableBuilder } from "../../src/routing/table.js";
import { BackendProcess } from "../support/backend-process.js";
import { noRules } from "../support/no-rules.js";
import { exchange } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const NAME = "app.test";
const pieces = [buildHello({ serverName: NAME }), Buffer.from("END\n")];

let folder: string;
let backends: BackendProcess[];
let workers: Workers;
let listener: number;
let port: number;
const ready: string[] = [];

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-workers-"));
  backends = [];
  for (const name of ["blue", "green"]) {
    backends.push(await BackendProcess.start({ kind: "raw", path: `${folder}/${name}.sock`, name }));
  }
  listener = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 1024, deferAccept: 1 });
  port = native.localAddress(listener).port;
  workers = await Workers.start(
    {
      count: 2,
      settings: settings(1),
      routes: routesTo(0),
      listeners: [listener],
      accepting: true,
      instances: [[], [], []],
    },
    {
      log: (line) => line.event === "channel.ready" && ready.push(String(line.fields.backend)),
      died: (error) => {
        throw error;
      },
    },
  );
});

afterEach(async () => {
  await workers.terminate();
  native.close(listener);
  for (const backend of backends) await backend.kill();
  rmSync(folder, { recursive: true });
  ready.length = 0;
});

function settings(generation: number): DoorSettings {
  const backend = (name: string): HandoffBackendSettings => ({
    kind: "handoff",
    name,
    path: `${folder}/${name}.sock`,
    balance: "round-robin",
    hold: 60_000,
    maxHeld: 1000,
    maxHeldPerClient: 1000,
    acknowledgeTimeout: 60_000,
    fallback: -1,
    uid: -1,
    connect: "eagerly",
    maxConnections: 0,
  });
  const backends = ["blue", "green", "nobody"].map(backend);
  return {
    generation,
    helloTimeout: 60_000,
    helloLimit: 16384,
    limits: { waiting: 1000, waitingPerClient: 1000, held: 1000, acceptRate: 0, acceptBurst: 0 },
    accessLog: { mode: "errors", sample: 1 },
    backends,
    rules: noRules,
  };
}

function routesTo(target: number, region?: SharedArrayBuffer): SharedArrayBuffer {
  const builder = new RouteTableBuilder({ names: 1, nameBytes: NAME.length }, undefined, region);
  builder.add(NAME, target);
  return builder.finish();
}

async function servedBy(): Promise<string> {
  return JSON.parse((await exchange(port, pieces)).toString()).name;
}

it("switches all workers to new routes while clients come: none fails, and after the switch none goes to the old ones", async () => {
  await until("channels", () => ready.length === 4);
  let stop = false;
  const seen: string[] = [];
  const clients = Array.from({ length: 8 }, async () => {
    while (!stop) seen.push(await servedBy());
  });
  const regions = [routesTo(0), routesTo(1)];
  for (let generation = 2; generation < 60; generation++) {
    const target = generation % 2;
    // Two regions in turn, as the daemon has them: one is written while the workers read the other.
    const region = routesTo(target, regions[target]!);
    await workers.configure(settings(generation), region, [[], [], []], [listener]);
    expect(await servedBy()).toBe(["blue", "green"][target]);
  }
  stop = true;
  await Promise.all(clients);
  expect(new Set(seen)).toEqual(new Set(["blue", "green"]));
  expect(workers.totals).toMatchObject({ defect: 0, no_route: 0, client_gone: 0 });
  // Channels of backends that stayed were kept.
  expect(ready).toHaveLength(4);
});

it("lets held connections follow the new routes", async () => {
  await until("channels", () => ready.length === 4);
  await workers.configure(settings(2), routesTo(2), [[], [], []], [listener]);
  const answers = Array.from({ length: 20 }, () => servedBy());
  await until("20 held connections", () => workers.totals.held === 20);
  await workers.configure(settings(3), routesTo(1), [[], [], []], [listener]);
  expect(new Set(await Promise.all(answers))).toEqual(new Set(["green"]));
});

it("finishes what is outstanding at an instance that is no longer configured", async () => {
  await until("channels", () => ready.length === 4);
  backends[0]!.signal("SIGSTOP");
  const answers = Array.from({ length: 10 }, () => servedBy());
  await until("10 handoffs", () => workers.totals.handed_over === 10);
  const { generation, ...rest } = settings(2);
  const only = rest.backends.slice(1).map((backend) => backend);
  await workers.configure({ ...rest, generation, backends: only }, routesTo(0), [[], []], [listener]);
  backends[0]!.signal("SIGCONT");
  expect(new Set(await Promise.all(answers))).toEqual(new Set(["blue"]));
  expect(await servedBy()).toBe("green");
});
