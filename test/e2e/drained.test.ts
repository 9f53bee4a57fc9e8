/** What the operator has drained: it gets nothing new, and finishes what it has. */
import { mkdirSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { answerOf, DataPlane } from "../support/data-plane.js";
import { openSockets } from "../support/descriptors.js";
import { until } from "../support/wait.js";

let plane: DataPlane;

beforeEach(() => {
  plane = new DataPlane();
});

afterEach(() => plane.end());

/** Resolves when the workers know it: they answer commands in their order. */
async function drain(...targets: string[]): Promise<void> {
  plane.command({ type: "drained", targets });
  await plane.snapshot();
}

function many(count: number, name: string): Promise<string[]> {
  return Promise.all(Array.from({ length: count }, () => plane.ask(name)));
}

describe("a drained instance", () => {
  it("gets nothing new while the others serve, keeps its channel, and serves again afterwards", async () => {
    mkdirSync(`${plane.folder}/pool`);
    const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
    for (const path of paths) await plane.raw(path.endsWith("a.sock") ? "a" : "b", path);
    await plane.start([{ name: "pool", path: `${plane.folder}/pool/` }], { instances: [paths] });
    await plane.channels("ready", 2);
    expect(new Set(await many(10, "pool"))).toEqual(new Set(["a", "b"]));
    await drain(`pool ${paths[0]}`);
    expect(new Set(await many(10, "pool"))).toEqual(new Set(["b"]));
    const status = (await plane.channels("ready", 2)).map(({ path, drained }) => ({ path, drained }));
    expect(status).toEqual([
      { path: paths[0], drained: true },
      { path: paths[1], drained: false },
    ]);
    await drain();
    expect(new Set(await many(10, "pool"))).toEqual(new Set(["a", "b"]));
    expect(plane.totals).toMatchObject({ defect: 0, redelivered: 0, channels_ready: 2 });
  });
});

describe("a drained backend", () => {
  it("finishes what is on its way, and holds who comes until it is drained no more", async () => {
    const app = await plane.raw("app");
    await plane.start([{ name: "app", path: plane.at("app"), acknowledgeTimeout: 60_000 }]);
    await plane.channels("ready", 1);
    const idle = openSockets();
    app.signal("SIGSTOP");
    const first = await plane.client("app");
    await until("the handoff", () => plane.totals.handed_over === 1);
    await drain("app");
    const second = await plane.client("app");
    await until("the held one", () => plane.totals.held === 1);
    app.signal("SIGCONT");
    expect(await answerOf(first)).toBe("app");
    // Its client has an answer before the door reads that.
    await until("the acknowledgement", () => plane.totals.acknowledged === 1);
    expect(plane.totals.handed_over).toBe(1);
    expect(await plane.snapshot()).toMatchObject([{ state: "ready", drained: true, outstanding: 0 }]);
    await drain("another");
    expect(await answerOf(second)).toBe("app");
    await until("the door's descriptors to be as before", () => openSockets() === idle);
    expect(plane.totals).toMatchObject({ acknowledged: 2, redelivered: 0, defect: 0 });
  });

  it("refuses who has waited for the hold time", async () => {
    await plane.raw("app");
    await plane.start([{ name: "app", path: plane.at("app"), hold: 100 }]);
    await plane.channels("ready", 1);
    await drain("app");
    const client = await plane.client("app");
    const { received } = await client.reply;
    expect(received.subarray(-2)).toEqual(Buffer.of(2, 80)); // fatal internal_error
    expect(plane.totals).toMatchObject({ hold_timeout: 1, handed_over: 0 });
  });

  it("sends its clients to its fallback at once, those held too, and past a drained fallback to the next", async () => {
    for (const name of ["second", "third"]) await plane.raw(name);
    await plane.start([
      { name: "first", path: plane.at("first"), fallback: 1, hold: 60_000 },
      { name: "second", path: plane.at("second"), fallback: 2, hold: 60_000 },
      { name: "third", path: plane.at("third") },
    ]);
    await plane.channels("ready", 2);
    const held = await plane.client("first");
    await until("the held one", () => plane.totals.held === 1);
    await drain("first");
    expect(await answerOf(held)).toBe("second");
    expect(await plane.ask("first")).toBe("second");
    await drain("first", "second");
    expect(await plane.ask("first")).toBe("third");
    expect(await plane.ask("second")).toBe("third");
    await drain();
    expect(await plane.ask("second")).toBe("second");
    expect(plane.totals).toMatchObject({ fallback: 5, hold_timeout: 0 });
  });

  it("stays drained in a new configuration, whatever its index is there", async () => {
    for (const name of ["app", "other"]) await plane.raw(name);
    const app = { name: "app", path: plane.at("app"), fallback: -1 };
    const other = { name: "other", path: plane.at("other") };
    await plane.start([app, other]);
    await plane.channels("ready", 2);
    await drain("app");
    const held = await plane.client("app");
    await until("the held one", () => plane.totals.held === 1);
    await plane.configure([other, app]);
    await until("it to be held again", () => plane.totals.held === 2);
    expect(await plane.ask("other")).toBe("other");
    await plane.configure([other, { ...app, fallback: 0 }]);
    expect(await answerOf(held)).toBe("other");
    await drain();
    expect(await plane.ask("app")).toBe("app");
  });
});

it("a snapshot tells every channel's state, and why there is none", async () => {
  const app = await plane.raw("app");
  const backends = ["app", "nobody"].map((name) => ({ name, path: plane.at(name) }));
  await plane.start(backends, { workers: 2 });
  await plane.channels("ready", 2);
  await plane.ask("app");
  await until("the acknowledgement", () => plane.totals.acknowledged === 1);
  const channels = await plane.snapshot();
  expect(channels).toHaveLength(4);
  for (const channel of channels) {
    if (channel.backend === "app") {
      const { pid } = app;
      const shared = { state: "ready", pid, uid: process.getuid!(), window: 128, weight: 1, lastFailure: "" };
      expect(channel).toMatchObject({ ...shared, outstanding: 0, stalled: false, resting: false, drained: false });
    } else {
      expect(channel).toMatchObject({ state: "absent", pid: -1, uid: -1, window: 0, open: 0, lastFailure: "ENOENT" });
    }
  }
  await app.kill();
  const gone = await plane.channels("absent", 4);
  expect(gone.map(({ open }) => open)).toEqual([0, 0, 0, 0]);
});
