/** Instances come at any moment, also while the door's workers start: none is overlooked. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, it } from "vitest";
import { loadConfiguration } from "../../dist/daemon/configuration/index.js";
// Compiled: the workers are threads, which cannot run TypeScript.
import { Daemon } from "../../dist/daemon/daemon.js";
import { Endpoints } from "../../dist/daemon/endpoints.js";
import { Listeners } from "../../dist/daemon/listeners.js";
import { createLog } from "../../dist/daemon/log.js";
import { type Receiver, receive } from "../../src/backend/index.js";
import { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const folder = new Folder();
let daemon: Daemon | undefined;
let receiver: Receiver | undefined;

afterEach(async () => {
  await daemon?.stop();
  await daemon?.ended;
  await receiver?.close();
});

it("connects to an instance that comes to a folder between the first look there and the workers' start", async () => {
  const pool = join(folder.path, "pool/");
  mkdirSync(pool, { mode: 0o700 });
  const file = folder.at("door.yaml");
  const listener = 'listeners: [{ address: "127.0.0.1:0" }]\nworkers: 4\n';
  writeFileSync(file, `${listener}backends: { pool: { handoff: "${pool}" } }\nroutes: { app.test: pool }\n`);
  const configuration = await loadConfiguration(file);
  const listeners = new Listeners([]);
  listeners.prepare(configuration.listeners).commit();
  const started = Daemon.start({
    configuration,
    listeners,
    endpoints: new Endpoints(configuration, { control: -1, metrics: -1, isManaged: false }),
    log: await createLog({ level: "error", pretty: false }),
    notifier: undefined,
    watchdogPeriod: undefined,
    givenUp: undefined,
    accepting: true,
    drained: [],
    logLevel: undefined,
    staysInCharge: () => {},
  });
  // It has looked, and waits for its threads.
  receiver = await receive({ path: pool }, (socket) => socket.destroy());
  const doors: unknown[] = [];
  receiver.on("peer", (peer) => doors.push(peer));
  daemon = await started;
  await until("a channel of each worker", () => doors.length >= 4);
  expect(doors.length).toBe(4);
});
