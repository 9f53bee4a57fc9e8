/** Names that are answered while the workers are busy with a configuration that has them. */
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { loadRelay } from "../../../src/daemon/configuration/load-relay.js";
import { createLog, type DaemonLog } from "../../../src/daemon/log.js";
import { Relay } from "../../../src/daemon/relay/relay.js";
import { RelayWorkers } from "../../../src/daemon/relay/workers.js";
import type { RelayCommand } from "../../../src/relay/settings.js";
import { DnsServer } from "../../support/dns-server.js";
import { Folder } from "../../support/folder.js";
import { until } from "../../support/wait.js";

const home = new Folder();
const file = () => join(home.path, "door.yaml");
let dns: DnsServer;
let log: DaemonLog;
let commands: RelayCommand[];
let relay: Relay | undefined;

/** The name has an answer from now on; resolves when the relay knows it. */
async function answer(): Promise<void> {
  dns.names.set("late.test", { addresses: ["127.0.0.9"] });
  await until("the answer", () => vi.mocked(log.info).mock.calls.some(([what]) => isResolved(what)));
}

const isResolved = (what: unknown) => (what as { event: string }).event === "name.resolved";

function configure(target: string): void {
  const lines = [
    `control: ${home.path}/control.sock`,
    `relay: { resolvers: ["127.0.0.1:${dns.port}"] }`,
    `backends: { app: { relay: "${target}" } }`,
    "routes: { app.test: app }",
  ];
  writeFileSync(file(), lines.join("\n"));
}

/** Workers that note what they are told. */
function workers(configured: () => Promise<void>): RelayWorkers {
  const command = (each: RelayCommand) => commands.push(each);
  const all = { memories: [], targetMemories: [], command, configure: configured, drain: async () => 0 };
  return { ...all, terminate: async () => true } as unknown as RelayWorkers;
}

async function start(): Promise<Relay> {
  const parts = { notifier: undefined, watchdogPeriod: undefined, whileNeeded: false, logLevel: "error" as const };
  return Relay.start({ ...parts, configuration: await loadRelay(file()), log });
}

beforeEach(async () => {
  commands = [];
  dns = await DnsServer.start();
  dns.names.set("late.test", "silent");
  log = await createLog({ level: "error" });
  vi.spyOn(log, "info");
});

afterEach(async () => {
  await relay?.stopNow();
  relay = undefined;
  dns.close();
  vi.restoreAllMocks();
});

const told = { backend: "app", target: "late.test:443", addresses: [{ address: "127.0.0.9", port: 443 }], failure: "" };

test("at the start they are told when the workers run", async () => {
  configure("late.test:443");
  vi.spyOn(RelayWorkers, "start").mockImplementation(async () => {
    await answer();
    return workers(async () => {});
  });
  relay = await start();
  expect(commands).toContainEqual({ type: "addresses", ...told });
});

test("a stop that comes meanwhile: nothing new comes into force", async () => {
  configure("127.0.0.1:443");
  const configured = vi.fn(async () => {});
  vi.spyOn(RelayWorkers, "start").mockImplementation(async () => workers(configured));
  relay = await start();
  configure("late.test:443");
  const reloaded = relay.reload();
  await until("the question", () => dns.asked.includes("late.test"));
  await relay.stop();
  expect(await reloaded).toMatchObject({ ok: false, details: ["the relay is draining"] });
  expect(configured).not.toHaveBeenCalled();
});

test("at a reload they are told when it is in force", async () => {
  configure("127.0.0.1:443");
  vi.spyOn(RelayWorkers, "start").mockImplementation(async () => workers(answer));
  relay = await start();
  configure("late.test:443");
  expect((await relay.reload()).ok).toBe(true);
  expect(commands).toContainEqual({ type: "addresses", ...told });
});
