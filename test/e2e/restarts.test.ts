/** Backends that are restarted in order, or overloaded: nobody notices but by a slower handshake. */
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { get } from "../support/https-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";

const RESTARTS = 4;
const CLIENTS = 20;

let scene: Scene;
let app: Certificate;
let answered: number;
let over: boolean;

beforeEach(async () => {
  scene = new Scene();
  app = await certificate("app.test");
  answered = 0;
  over = false;
});

afterEach(async () => {
  over = true;
  await scene.end();
});

/** Asks again and again. Fails at the first client that is not answered. */
async function load(): Promise<void> {
  while (!over) {
    await get(scene.door.port, app, `/${answered}`);
    answered++;
  }
}

async function answeredMore(): Promise<void> {
  const before = answered;
  await until("more answers", () => answered > before + 2 * CLIENTS);
}

const start = (path: string) => scene.backend({ kind: "https", path, certificate: app });

/** server.close(), and its end. */
async function stop(backend: BackendProcess): Promise<void> {
  expect(await backend.child.end("SIGINT")).toEqual({ status: 0, signal: null });
}

async function expectNobodyLost(clients: Promise<unknown>): Promise<void> {
  over = true;
  await clients;
  const counters = await scene.door.stop();
  expect(counters).toMatchObject({ accepted: answered, acknowledged: answered, hold_timeout: 0, lost_after_read: 0 });
  const served = () => scene.backends.flatMap((backend) => backend.served);
  await until("the backends' lines", () => served().length >= answered);
  expect(served()).toHaveLength(answered);
}

it("the only instance, at its one path: clients wait for the next one", async () => {
  let backend = await start(scene.at("app"));
  await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\ndefault: app\n`, {
    workers: 2,
    channels: 2,
  });
  const clients = Promise.all(Array.from({ length: CLIENTS }, load));
  for (let i = 0; i < RESTARTS; i++) {
    await Promise.race([answeredMore(), clients]);
    await stop(backend);
    backend = await start(scene.at("app"));
  }
  await Promise.race([answeredMore(), clients]);
  await expectNobodyLost(clients);
});

it("a pool, one after the other: the others serve meanwhile", async () => {
  const path = `${scene.folder}/pool/`;
  mkdirSync(path, { mode: 0o755 });
  const pool = [await start(path), await start(path), await start(path)];
  await scene.startDoor(`backends: { app: { handoff: "${path}", hold: 60s } }\ndefault: app\n`, {
    workers: 2,
    channels: 6,
  });
  const clients = Promise.all(Array.from({ length: CLIENTS }, load));
  for (let i = 0; i < RESTARTS; i++) {
    await Promise.race([answeredMore(), clients]);
    await stop(pool.shift()!);
    pool.push(await start(path));
  }
  await Promise.race([answeredMore(), clients]);
  await expectNobodyLost(clients);
});

it("an only instance that takes three connections at a time serves them all, one after the other", async () => {
  await scene.backend({ kind: "https", path: scene.at("app"), certificate: app, maxConnections: 3 });
  await scene.startDoor(`backends: { app: { handoff: "${scene.at("app")}", hold: 30s } }\ndefault: app\n`, {
    channels: 1,
  });
  await Promise.all(Array.from({ length: 60 }, (_, i) => get(scene.door.port, app, `/${i}`)));
  const counters = await scene.door.stop();
  expect(counters).toMatchObject({ acknowledged: 60, hold_timeout: 0 });
  expect(counters.refused_by_instance).toBeGreaterThan(0);
});
