/** `maxConnections` of a backend: who would be one too many waits in the door. */
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, expect, it } from "vitest";
import { answerOf, DataPlane } from "../support/data-plane.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";

let plane: DataPlane;

beforeEach(() => {
  plane = new DataPlane();
});

afterEach(() => plane.end());

const open = async () => (await plane.snapshot()).reduce((sum, channel) => sum + channel.open, 0);

it("as many as allowed are handed over, whoever of its instances has them; the next ones as those end", async () => {
  mkdirSync(`${plane.folder}/pool`);
  const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
  for (const path of paths) await plane.raw("one", path);
  await plane.start([{ name: "pool", path: `${plane.folder}/pool/`, maxConnections: 3 }], { instances: [paths] });
  await plane.channels("ready", 2);
  const clients = [];
  for (let i = 0; i < 6; i++) clients.push(await plane.client("pool"));
  await until("the held ones", () => plane.totals.held === 3 && plane.totals.acknowledged === 3);
  expect(await open()).toBe(3);
  for (let finished = 1; finished <= 3; finished++) {
    expect(await answerOf(clients.shift()!)).toBe("one");
    await until("the next one", () => plane.totals.acknowledged === 3 + finished);
  }
  for (const client of clients) expect(await answerOf(client)).toBe("one");
  expect(plane.totals).toMatchObject({ handed_over: 6, defect: 0, hold_timeout: 0 });
});

it("those of an instance whose socket is gone do not count: the next clients go to the others", async () => {
  mkdirSync(`${plane.folder}/pool`);
  const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
  for (const path of paths) await plane.raw("one", path);
  await plane.start([{ name: "pool", path: `${plane.folder}/pool/`, maxConnections: 1 }], { instances: [paths] });
  await plane.channels("ready", 2);
  await plane.client("pool");
  await until("the first one", () => plane.totals.acknowledged === 1);
  const full = (await plane.snapshot()).find((channel) => channel.open === 1)!;
  const second = await plane.client("pool");
  await until("the held one", () => plane.totals.held === 1);
  plane.command({ type: "instances", backend: 0, paths: paths.filter((path) => path !== full.path) });
  expect(await answerOf(second)).toBe("one");
});

it("one that has been full for long lets the next client in soon after a connection has ended", async () => {
  await plane.raw("app");
  await plane.start([{ name: "app", path: plane.at("app"), maxConnections: 1 }]);
  await plane.channels("ready", 1);
  let open = await plane.client("app");
  await until("the first one", () => plane.totals.acknowledged === 1);
  await below("milliseconds", 1500, async (trial) => {
    const since = performance.now();
    // The instance looks at its count less often by now.
    await until("a steady count", () => performance.now() > since + 2500);
    const next = await plane.client("app");
    await until("the held one", () => plane.totals.held === trial);
    await answerOf(open);
    const freed = performance.now();
    await until("its handoff", () => plane.totals.acknowledged === 1 + trial);
    const took = performance.now() - freed;
    open = next;
    return took;
  });
  await answerOf(open);
});

it("who has waited for the hold time goes to the fallback", async () => {
  for (const name of ["app", "spare"]) await plane.raw(name);
  await plane.start([
    { name: "app", path: plane.at("app"), maxConnections: 1, fallback: 1, hold: 100 },
    { name: "spare", path: plane.at("spare") },
  ]);
  await plane.channels("ready", 2);
  const first = await plane.client("app");
  await until("the first one", () => plane.totals.acknowledged === 1);
  expect(await plane.ask("app")).toBe("spare");
  expect(await answerOf(first)).toBe("app");
  expect(plane.totals.fallback).toBe(1);
});

it("an instance that is gone counts no longer", async () => {
  mkdirSync(`${plane.folder}/pool`);
  const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
  const a = await plane.raw("a", paths[0]);
  await plane.start([{ name: "pool", path: `${plane.folder}/pool/`, maxConnections: 2 }], { instances: [paths] });
  await plane.channels("ready", 1);
  for (let i = 0; i < 2; i++) await plane.client("pool");
  await until("both", () => plane.totals.acknowledged === 2);
  const waiting = await plane.client("pool");
  await until("the held one", () => plane.totals.held === 1);
  await plane.raw("b", paths[1]);
  plane.command({ type: "appeared", path: paths[1]! });
  await plane.channels("ready", 2);
  expect(plane.totals.handed_over).toBe(2);
  await a.kill();
  expect(await answerOf(waiting)).toBe("b");
});
