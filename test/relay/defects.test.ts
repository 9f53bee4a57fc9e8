/** What the kernel refuses while a time is up ends one connection, not the worker. */
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { native } from "../../src/native/addon.js";
import { createRelayCounters, sumRelayCounters } from "../../src/relay/counters.js";
import type { Delivery } from "../../src/relay/delivery.js";
import { createRelayGauges, readRelayGauges } from "../../src/relay/gauges.js";
import { Relay } from "../../src/relay/relay.js";
import type { RelayBackendSettings, RelayMemory, RelaySettings } from "../../src/relay/settings.js";
import { createTargetStats } from "../../src/relay/target-stats.js";
import { FakeDoor } from "../support/fake-door.js";
import { RawClient } from "../support/raw-client.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

let folder: string;
let memory: RelayMemory;
let listener: TcpListener;
/** Answers no SYN: its backlog is full. */
let deaf: number;
let port: number;
let relay: Relay | undefined;
let door: FakeDoor | undefined;
let clients: RawClient[];

beforeEach(async () => {
  folder = `${mkdtempSync(join(tmpdir(), "sni-handoff-"))}/`;
  memory = { counters: createRelayCounters(), gauges: createRelayGauges() };
  listener = new TcpListener();
  deaf = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 0 });
  port = native.localAddress(deaf).port;
  clients = [await RawClient.connect(port)];
});

afterEach(() => {
  for (const client of clients) client.close();
  door?.close();
  relay?.loop.stop();
  relay?.drain(0);
  listener.close();
  native.close(deaf);
  rmSync(folder, { recursive: true });
});

const base = { connectTimeout: 100, idleTimeout: 0, lifetime: 0, keepAlive: true, balance: "round-robin" } as const;

/** A worker in this thread, whose kernel lets it watch no more clients. */
async function start(change: Pick<RelayBackendSettings, "hold" | "fallback">, delivery: Delivery): Promise<void> {
  const name = `127.0.0.1:${port}`;
  const targets = [{ name, addresses: [{ address: "127.0.0.1", port }] }];
  const settings: RelaySettings = {
    generation: 1,
    sockets: { mode: 0o600, uid: -1, gid: -1, allowedUsers: undefined },
    backends: [{ ...base, name: "app", folder, targets, proxyProtocol: "none", ...change }],
  };
  const data = { index: 0, settings, memory, targetMemory: createTargetStats(settings), capacity: 10, pipes: 2 };
  relay = new Relay(data, delivery, () => {});
  const full = () => {
    throw new Error("ENOSPC: no space left on device, epoll_ctl");
  };
  // The dialer has the whole one.
  Object.assign(relay, { loop: Object.create(relay.loop, { add: { value: full } }) });
  relay.loop.run(() => relay!.turns());
  door = await FakeDoor.open(join(folder, readdirSync(folder).find((file) => file.endsWith(".sock"))!));
}

/** Resolves when a client that was handed over has been closed. */
async function end(): Promise<void> {
  const { client, descriptor } = await listener.pair();
  const ended = new Promise<void>((resolve) => client.on("error", () => {}).once("close", () => resolve()));
  client.resume();
  door!.handOver(descriptor);
  native.close(descriptor);
  await ended;
  await until("the end", () => readRelayGauges(memory.gauges).connections === 0);
}

const nothing: Delivery = { deliver: async () => false, configure: () => {}, close: () => {} };

test("after connectTimeout", async () => {
  await start({ hold: 5000, fallback: { kind: "reject", reject: "internal_error" } }, nothing);
  await end();
  expect(sumRelayCounters([memory.counters]).defect).toBe(1);
});

test("after a delivery that nobody took", async () => {
  const reject = { kind: "reject", reject: "internal_error" } as const;
  const b = { kind: "handoff", backend: "b", path: "/", uid: -1, acknowledgeTimeout: 1000, hold: 0 } as const;
  await start({ hold: 0, fallback: { ...b, fallback: reject } }, nothing);
  await end();
  expect(sumRelayCounters([memory.counters]).defect).toBe(1);
});
