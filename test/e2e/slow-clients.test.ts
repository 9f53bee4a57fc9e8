/** Clients that never complete their hello: they take little, and keep nobody else from being served. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { get } from "../support/https-client.js";
import { inParallel } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { buildHello } from "../tls/hello-builder.js";

const SLOW = 2000;
/** Bytes that the slow ones send, one at a time: less than a record's header, all of it, and into the hello. */
const BYTES = 12;
/** What a door's heap grows by anyhow, and half a kilobyte for each of them at most. */
const ROOM = 8 * 1024 * 1024 + SLOW * 512;

const hello = buildHello({ serverName: "app.test" });
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

/** Memory of a process that is in use (proc_pid_statm(5)). */
function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4096;
}

it("2,000 that say nothing, or a byte now and then: others are served with each byte", async () => {
  const app = await certificate("app.test");
  await scene.backend({ kind: "https", path: scene.at("app"), certificate: app });
  const door = await scene.startDoor(
    `backends: { app: { handoff: "${scene.at("app")}" } }\nroutes: { app.test: app }\ntimeouts: { hello: 10m }\n`,
    { channels: 1 },
  );
  const before = residentBytes(door.pid);
  const addresses = Array.from({ length: SLOW }, (_, i) => `127.0.${1 + (i % 2)}.${1 + (i % 200)}`);
  await inParallel(addresses, 200, async (address) => {
    await scene.client(undefined, address);
  });
  // Those that say nothing are the kernel's for a second (TCP_DEFER_ACCEPT).
  const trickling = scene.clients.filter((_, i) => i % 2 === 0);
  let answered = 0;
  for (let i = 0; i < BYTES; i++) {
    for (const client of trickling) client.send(hello.subarray(i, i + 1));
    const answers = await Promise.all(Array.from({ length: 5 }, (_, j) => get(door.port, app, `/${i}-${j}`)));
    answered += answers.length;
  }
  await scene.doorHas(SLOW);
  expect(residentBytes(door.pid) - before).toBeLessThan(ROOM);

  // One of them was only slow, and is served when it has said all.
  const [patient] = trickling as [(typeof trickling)[number]];
  patient.send(hello.subarray(BYTES));
  expect((await get(door.port, app, "/last")).status).toBe(200);
  await scene.doorHas(SLOW - 1);

  for (const client of scene.clients) client.reset();
  expect(await scene.counters()).toMatchObject({
    accepted: SLOW + answered + 1,
    acknowledged: answered + 2,
    client_gone: SLOW - 1,
    waiting_full: 0,
    client_full: 0,
    hello_timeout: 0,
    defect: 0,
  });
});
