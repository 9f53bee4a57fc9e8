/** Restarts under real TLS clients in a closed loop: of all instances of a backend in turn, and of the door. */
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { ownLoopback } from "../support/own-loopback.js";
import { Scene } from "../support/scene.js";
import { TlsLoad } from "../support/tls-load.js";

const CLIENTS = 32;
const INSTANCES = 3;
const ROUNDS = 5;

let scene: Scene;
let app: Certificate;
let pool: BackendProcess[];

beforeEach(async () => {
  scene = new Scene();
  app = await certificate("app.test");
  mkdirSync(`${scene.folder}/pool`, { mode: 0o755 });
  pool = [];
  for (let i = 0; i < INSTANCES; i++) pool.push(await instance());
});

afterEach(() => scene.end());

const instance = () => scene.backend({ kind: "https", path: `${scene.folder}/pool/`, certificate: app });
const configuration = () =>
  `backends: { app: { handoff: "${scene.folder}/pool/", hold: 60s } }\nroutes: { app.test: app }\n`;
const startLoad = (host = "127.0.0.1") =>
  TlsLoad.start({ port: scene.door.port, host, ca: app.cert, names: ["app.test"], clients: CLIENTS });

it("all instances are restarted, one after the other, five times: no client fails", async () => {
  await scene.startDoor(configuration(), { workers: 2, channels: 2 * INSTANCES });
  const load = await startLoad();
  for (let round = 1; round <= ROUNDS; round++) {
    for (let i = 0; i < INSTANCES; i++) {
      // server.close(): what it has is finished, then it ends.
      expect(await pool.shift()!.child.end("SIGINT")).toEqual({ status: 0, signal: null });
      pool.push(await instance());
      await scene.channels(2 * (INSTANCES * round + i + 1));
    }
    await load.mark(CLIENTS);
  }
  const { requests, failures } = await load.stop();
  expect(failures).toEqual({});
  await scene.doorHas(0);
  expect(await scene.door.stop()).toMatchObject({
    accepted: requests,
    acknowledged: requests,
    hold_timeout: 0,
    lost_after_read: 0,
    defect: 0,
  });
});

it("the door is killed, and started again: clients that come after it are all served", async () => {
  const options = { host: ownLoopback, workers: 2, channels: 2 * INSTANCES };
  const killed = await scene.startDoor(configuration(), options);
  const load = await startLoad(ownLoopback);
  await load.mark(200);
  await killed.kill();
  await scene.startDoor(configuration(), { ...options, port: killed.port });
  await load.mark(); // what was refused meanwhile
  // Each client has begun anew since.
  await load.mark(4 * CLIENTS);
  const after = await load.mark(200);
  expect(after.failures).toEqual({});
  const { failed } = await load.stop();
  expect(failed).toBeGreaterThan(0); // they were there in between
  const { accepted, ...counters } = await scene.door.stop();
  expect(counters).toMatchObject({ acknowledged: accepted, hold_timeout: 0, lost_after_read: 0, defect: 0 });
});
