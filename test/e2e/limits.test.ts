/** Short of descriptors, on either side: nobody is lost, and nothing spins. */
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { descriptorLimitOf, leaveDescriptors, limitDescriptors, processorShare } from "../support/process-limits.js";
import { program } from "../support/programs.js";
import type { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

/** A door that waits for descriptors may look for them now and then; a loop that never sleeps takes all of a processor. */
const BUSY = 0.5;

const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(`${scene.folder}/pool`, { mode: 0o755 });
});

afterEach(() => scene.end());

const configuration = () =>
  `backends: { app: { handoff: "${scene.folder}/pool/", hold: 10m } }\nroutes: { app.test: app }\n`;
const instance = (name: string) => scene.backend({ kind: "raw", path: `${scene.folder}/pool/`, name });
const clients = (count: number) => Promise.all(Array.from({ length: count }, () => scene.client(hello)));
const rests = () => scene.door.log.filter((line) => line.event === "accept.rested");

/** The names of the instances that answered. */
async function answeredBy(asked: readonly RawClient[]): Promise<string[]> {
  const replies = await Promise.all(asked.map((client) => client.reply));
  return replies.map(({ received }) => JSON.parse(received.toString()).name);
}

describe("the door has few descriptors", () => {
  it.each([
    ["128 in all", 128, 1],
    ["128 in all for two workers", 128, 2],
    ["600 in all", 600, 1],
  ])(
    "%s: it holds what it can, the rest waits in the backlog, and all are answered",
    async (_title, limit, workers) => {
      await scene.startDoor(configuration(), { workers, prefix: [program("prlimit"), `--nofile=${limit}:${limit}`] });
      const asked = await clients(limit + 50);
      await until("each worker to rest", () => rests().length === workers);
      expect(rests()[0]).toMatchObject({ level: "error", message: "cannot accept now; clients wait in the backlog" });
      expect(await processorShare(scene.door.pid)).toBeLessThan(BUSY);
      await instance("app");
      expect(await answeredBy(asked)).toEqual(asked.map(() => "app"));
      expect(rests()).toHaveLength(workers);
      scene.idle += workers;
      const counters = await scene.counters();
      expect(counters).toMatchObject({ accepted: asked.length, acknowledged: asked.length, client_gone: 0, defect: 0 });
      expect(counters.accept_rested).toBeGreaterThanOrEqual(workers);
    },
  );

  it("clients come and go at the limit: it says so once", async () => {
    await scene.startDoor(configuration(), { prefix: [program("prlimit"), "--nofile=128:128"] });
    const asked = await clients(120);
    await until("the worker to rest", () => rests().length === 1);
    const held = scene.clientsOfDoor;
    // Each that leaves makes room for one of those in the backlog.
    for (const client of asked.slice(0, 10)) {
      client.reset();
      await until("another one to take its place", () => scene.clientsOfDoor === held);
    }
    expect(rests()).toHaveLength(1);
  });

  it("their number sinks to what it has open: nothing is lost, and its instances stay", async () => {
    await instance("app");
    await scene.startDoor(configuration(), { channels: 1 });
    const enough = descriptorLimitOf(scene.door.pid);
    leaveDescriptors(scene.door.pid, 0);
    const asked = await clients(20);
    await until("the worker to rest", () => rests().length === 1);
    // Longer than the second after which it looks for instances again.
    expect(await processorShare(scene.door.pid, 2500)).toBeLessThan(BUSY);
    expect(rests()).toHaveLength(1);
    limitDescriptors(scene.door.pid, enough);
    expect(await answeredBy(asked)).toEqual(asked.map(() => "app"));
    const counters = await scene.counters();
    expect(counters).toMatchObject({ acknowledged: asked.length, channels_ready: 1, defect: 0 });
    expect(counters.accept_rested).toBeGreaterThan(1);
  });
});

describe("an instance has no descriptors left", () => {
  it("it refuses, the others serve all, and it serves again when it has some", async () => {
    const short = await instance("short");
    await instance("other");
    await scene.startDoor(configuration(), { channels: 2 });
    const enough = descriptorLimitOf(short.pid);
    leaveDescriptors(short.pid, 0);
    const asked = await clients(40);
    expect(new Set(await answeredBy(asked))).toEqual(new Set(["other"]));
    const refusals = scene.door.log.filter((line) => line.event === "handoff.refused");
    expect(refusals.length).toBeGreaterThan(0);
    for (const line of refusals) {
      expect(line).toMatchObject({ pid: short.pid, message: "instance refused: no descriptor" });
    }
    limitDescriptors(short.pid, enough);
    await until("the instance that was short to serve", async () => {
      return (await answeredBy(await clients(1)))[0] === "short";
    });
    expect(await scene.counters()).toMatchObject({
      refused_by_instance: refusals.length,
      redelivered: refusals.length,
      lost_after_read: 0,
      client_gone: 0,
      defect: 0,
    });
  });

  it("it is the only one: its clients wait for another one", async () => {
    const short = await instance("short");
    await scene.startDoor(configuration(), { channels: 1 });
    const enough = descriptorLimitOf(short.pid);
    leaveDescriptors(short.pid, 0);
    const asked = await clients(10);
    await until("a refusal", () => scene.door.log.some((line) => line.event === "handoff.refused"));
    expect(await processorShare(scene.door.pid)).toBeLessThan(BUSY);
    limitDescriptors(short.pid, enough);
    await instance("other");
    const answers = await answeredBy(asked);
    expect(answers).toContain("other");
    scene.idle += 1;
    expect(await scene.counters()).toMatchObject({ acknowledged: 10, lost_after_read: 0, client_gone: 0, defect: 0 });
  });
});
