/** Instances that stop acknowledging, or have enough to do, and come back. */
import { mkdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { answerOf, DataPlane } from "../support/data-plane.js";
import { openSockets } from "../support/descriptors.js";
import type { RawClient } from "../support/raw-client.js";
import { until } from "../support/wait.js";

const rogueProgram = fileURLToPath(new URL("../fixtures/rogue.mjs", import.meta.url));

let plane: DataPlane;

beforeEach(() => {
  plane = new DataPlane();
});

afterEach(() => plane.end());

describe("an instance that stops acknowledging", () => {
  it("and is the only one: its clients are refused at the end of the hold, and when it comes back it serves new ones only", async () => {
    const app = await plane.raw("app");
    const settings = { name: "app", path: plane.at("app") };
    await plane.start([{ ...settings, acknowledgeTimeout: 50, hold: 300 }]);
    await plane.channels("ready", 1);
    const idle = openSockets();
    const idleApp = openSockets(app.pid);
    app.signal("SIGSTOP");
    const clients = await plane.clientsAtOnce("app", 2);
    await plane.event("channel.stalled");
    const late = await plane.client("app");
    for (const client of [...clients, late]) {
      const { received } = await client.reply;
      expect(received.subarray(-2)).toEqual(Buffer.of(2, 80)); // fatal internal_error
      client.close();
    }
    expect(plane.totals).toMatchObject({ handed_over: 2, hold_timeout: 3, channels_revoked: 1 });
    // Nothing more before a new READY.
    expect(await plane.channels("greeting", 1)).toMatchObject([{ lastFailure: "it did not acknowledge in time" }]);
    const held = await plane.client("app");
    await until("the held one", () => plane.totals.held > 0);
    // It runs again, and has time for an answer, whatever else the machine does.
    await plane.configure([settings]);
    app.signal("SIGCONT");
    const first = await answerOf(held).catch(() => "refused");
    if (first === "refused") expect(await plane.ask("app")).toBe("app");
    expect(app.served).toHaveLength(1);
    expect(await plane.snapshot()).toMatchObject([{ state: "ready", stalled: false, lastFailure: "" }]);
    await until("the door's descriptors to be as before", () => openSockets() === idle);
    await until("the instance's descriptors to be as before", () => openSockets(app.pid) === idleApp);
    expect(plane.totals).toMatchObject({ lost_after_read: 0, defect: 0 });
  });

  it("loses them to the fallback at the end of the hold", async () => {
    const [app] = [await plane.raw("app"), await plane.raw("spare")];
    const settings = { name: "app", path: plane.at("app"), fallback: 1 };
    const spare = { name: "spare", path: plane.at("spare") };
    await plane.start([{ ...settings, acknowledgeTimeout: 50, hold: 200 }, spare]);
    await plane.channels("ready", 2);
    app.signal("SIGSTOP");
    expect(await Promise.all([plane.ask("app"), plane.ask("app")])).toEqual(["spare", "spare"]);
    await plane.configure([settings, spare]);
    app.signal("SIGCONT");
    await plane.channels("ready", 2);
    expect(await plane.ask("app")).toBe("app");
    expect(app.served).toHaveLength(1);
  });

  it("gets no more while others serve, until it says READY on a new channel", async () => {
    mkdirSync(`${plane.folder}/pool`);
    const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
    const a = await plane.raw("a", paths[0]);
    await plane.raw("b", paths[1]);
    // The other one is to be in time, whatever else the machine does.
    const pool = { name: "pool", path: `${plane.folder}/pool/`, acknowledgeTimeout: 1000 };
    await plane.start([pool], { instances: [paths] });
    await plane.channels("ready", 2);
    a.signal("SIGSTOP");
    const answers = await Promise.all(Array.from({ length: 20 }, () => plane.ask("pool")));
    expect(new Set(answers)).toEqual(new Set(["b"]));
    await plane.channels("greeting", 1);
    expect(await plane.ask("pool")).toBe("b");
    a.signal("SIGCONT");
    await plane.channels("ready", 2);
    expect(new Set([await plane.ask("pool"), await plane.ask("pool")])).toEqual(new Set(["a", "b"]));
    expect(a.served).toHaveLength(1);
    expect(plane.totals).toMatchObject({ channels_revoked: 1, lost_after_read: 0, defect: 0 });
  });
});

describe("an instance that is overloaded", () => {
  const overload = async (backend: Awaited<ReturnType<DataPlane["raw"]>>, overloaded: boolean) => {
    const line = JSON.stringify({ overloaded });
    const from = backend.child.lines.length;
    backend.signal("SIGUSR2");
    await backend.child.line("its word", (each) => each === line, from);
  };

  it("refuses, and its clients wait until it has room again", async () => {
    const app = await plane.raw("app");
    await plane.start([{ name: "app", path: plane.at("app") }]);
    await plane.channels("ready", 1);
    const idle = openSockets();
    await overload(app, true);
    const client = await plane.client("app");
    await until("the held one", () => plane.totals.held === 1);
    expect(plane.totals).toMatchObject({ refused_by_instance: 1, acknowledged: 0 });
    await overload(app, false);
    expect(await answerOf(client)).toBe("app");
    expect(await plane.ask("app")).toBe("app");
    // Its client has an answer before the door reads that.
    await until("the acknowledgements", () => plane.totals.acknowledged >= 2);
    expect(plane.totals).toMatchObject({ acknowledged: 2, lost_after_read: 0 });
    await until("the door's descriptors to be as before", () => openSockets() === idle);
  });

  it("for longer than it rests: who was refused comes to it all the same when it has room again", async () => {
    const app = await plane.raw("app");
    await plane.start([{ name: "app", path: plane.at("app") }]);
    await plane.channels("ready", 1);
    await overload(app, true);
    const client = await plane.client("app");
    await until("the held one", () => plane.totals.held === 1);
    await until("the end of its rest", async () => (await plane.snapshot()).every(({ resting }) => !resting));
    await overload(app, false);
    expect(await answerOf(client)).toBe("app");
    expect(plane.totals).toMatchObject({ refused_by_instance: 1, hold_timeout: 0 });
  });

  it("since before the door came, and ends: that it drains without having been ready is no violation", async () => {
    const app = await plane.raw("app");
    await overload(app, true);
    await plane.start([{ name: "app", path: plane.at("app") }]);
    await plane.channels("greeting", 1);
    await app.stop();
    await plane.channels("absent", 1);
    expect(plane.totals).toMatchObject({ violations: 0, channels_ready: 0 });
    expect(plane.log.filter(({ level }) => level === "error")).toEqual([]);
  });

  it("loses them to another instance at once", async () => {
    mkdirSync(`${plane.folder}/pool`);
    const paths = ["a", "b"].map((name) => `${plane.folder}/pool/${name}.sock`);
    const a = await plane.raw("a", paths[0]);
    await plane.raw("b", paths[1]);
    await plane.start([{ name: "pool", path: `${plane.folder}/pool/` }], { instances: [paths] });
    await plane.channels("ready", 2);
    await overload(a, true);
    const answers = await Promise.all(Array.from({ length: 20 }, () => plane.ask("pool")));
    expect(new Set(answers)).toEqual(new Set(["b"]));
    await overload(a, false);
    const channels = await until("the end of its rest", async () => {
      const all = await plane.snapshot();
      return all.every(({ resting }) => !resting) && all;
    });
    expect(channels).toHaveLength(2);
    expect(new Set([await plane.ask("pool"), await plane.ask("pool")])).toEqual(new Set(["a", "b"]));
  });
});

describe("an instance that refuses a client, and never says that it has room again", () => {
  let rogue: Child;

  afterEach(() => rogue.end("SIGKILL"));

  /** With a client that it has refused. */
  async function refusing(behaviour: string): Promise<RawClient> {
    rogue = new Child(process.execPath, [
      rogueProgram,
      JSON.stringify({ path: plane.at("app"), behaviour, window: 1 }),
    ]);
    await rogue.line("the rogue's being ready", (line) => line.startsWith('{"ready"'));
    await plane.start([{ name: "app", path: plane.at("app") }]);
    await plane.channels("ready", 1);
    const refused = await plane.client("app");
    await until("the refused one", () => plane.totals.refused_by_instance === 1 && plane.totals.held === 1);
    return refused;
  }

  it("gets those who wait behind that client once it has rested", async () => {
    await refusing("refuses the first for want of room");
    const others = [await plane.client("app"), await plane.client("app")];
    for (const client of others) expect(await answerOf(client)).toBe("rogue");
    expect(plane.totals).toMatchObject({ refused_by_instance: 1, hold_timeout: 0, violations: 0 });
  });

  it("gets that client, too, if it wanted a descriptor: it cannot know when it has one", async () => {
    const client = await refusing("refuses the first for want of descriptors");
    expect(await answerOf(client)).toBe("rogue");
    expect(plane.totals).toMatchObject({ refused_by_instance: 1, hold_timeout: 0, violations: 0 });
  });
});
