/** `connect: lazily`, and sockets of a service manager: a service is started by clients, and by nothing else. */
import { chmodSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { native, type Watch } from "../../src/native/addon.js";
import { answerOf, DataPlane } from "../support/data-plane.js";
import { openSockets } from "../support/descriptors.js";
import type { LogLine } from "../support/door-process.js";
import { FakeDoor } from "../support/fake-door.js";
import { ManagerProcess } from "../support/manager-process.js";
import { exchange } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

let plane: DataPlane;
let manager: ManagerProcess | undefined;

beforeEach(() => {
  plane = new DataPlane();
});

afterEach(async () => {
  await manager?.end();
  manager = undefined;
  await plane.end();
});

/** A service behind a socket that the manager holds. */
async function startManager(change: { idleTimeout?: number } = {}): Promise<void> {
  const path = plane.at("app");
  manager = await ManagerProcess.start({ path, service: { kind: "raw", path, name: "app", ...change } });
}

const lazy = (change: object = {}) => ({ name: "app", path: plane.at("app"), connect: "lazily" as const, ...change });

/** Longer than what connects eagerly would wait. */
async function longerThanBackOff(): Promise<void> {
  const since = performance.now();
  await until("the back-off's end", () => performance.now() > since + 1500);
}

describe("a backend that is connected lazily", () => {
  it("is started by the first client, which is held and served; its channel stays for the next ones", async () => {
    await startManager();
    await plane.start([lazy()]);
    await longerThanBackOff();
    expect(manager!.starts).toBe(0);
    expect(await plane.snapshot()).toMatchObject([{ state: "absent", lastFailure: "" }]);
    const idle = openSockets();
    for (let i = 0; i < 5; i++) expect(await plane.ask("app")).toBe("app");
    // Its client has an answer before the door reads that.
    await until("the acknowledgements", () => plane.totals.acknowledged >= 5);
    expect(plane.totals).toMatchObject({ held: 1, acknowledged: 5, channels_ready: 1, defect: 0 });
    expect(manager!.starts).toBe(1);
    await until("one channel more than before", () => openSockets() === idle + 1);
  });

  it("is connected by the worker whose client waits, and by no other", async () => {
    await startManager();
    await plane.start([lazy()], { workers: 2 });
    expect(await plane.ask("app")).toBe("app");
    const states = (await plane.snapshot()).map(({ state }) => state);
    expect(states.toSorted()).toEqual(["absent", "ready"]);
  });

  it("may end when it is idle: it stays ended until a client comes, who has it started at once", async () => {
    await startManager({ idleTimeout: 3000 });
    await plane.start([lazy()]);
    const idle = openSockets();
    expect(await plane.ask("app")).toBe("app");
    await until("its end", () => manager!.ends.length === 1);
    expect(manager!.ends[0]).toEqual({ status: 0, signal: null });
    await longerThanBackOff();
    expect(manager!.starts).toBe(1);
    expect(openSockets()).toBe(idle);
    expect(await plane.ask("app")).toBe("app");
    expect(manager!.starts).toBe(2);
    expect(plane.totals).toMatchObject({ redelivered: 0, lost_after_read: 0, violations: 0 });
  });

  it("is not started again by its being stopped", async () => {
    await startManager();
    await plane.start([lazy()]);
    await plane.ask("app");
    manager!.stopService();
    await until("its end", () => manager!.ends.length === 1);
    await plane.channels("absent", 1);
    await longerThanBackOff();
    expect(manager!.starts).toBe(1);
    expect(await plane.ask("app")).toBe("app");
  });

  it("that has an instance again is connected to at once while a client waits, and not at all without one", async () => {
    await plane.start([lazy()]);
    const appeared = () => plane.command({ type: "appeared", path: plane.at("app") });
    await plane.raw("app");
    appeared();
    expect(await plane.snapshot()).toMatchObject([{ state: "absent" }]);
    await plane.backends[0]!.kill();
    const waiting = await plane.client("app");
    await until("the failed connect", async () => (await plane.snapshot())[0]!.lastFailure === "ECONNREFUSED");
    const line = await plane.event("instance.unreachable");
    expect(line.message).toContain("tried again every second while a client waits");
    await plane.raw("app");
    appeared();
    expect(await answerOf(waiting)).toBe("app");
  });

  it("that has an instance again is connected to within a second, although nothing tells of its socket", async () => {
    await plane.start([lazy()]);
    const waiting = await plane.client("app");
    await until("the failed connect", async () => (await plane.snapshot())[0]!.lastFailure === "ENOENT");
    await plane.raw("app");
    expect(await answerOf(waiting)).toBe("app");
  });

  it("is connected to eagerly from the configuration on that says so", async () => {
    await plane.raw("app");
    await plane.start([lazy()]);
    expect(await plane.snapshot()).toMatchObject([{ state: "absent" }]);
    await plane.configure([lazy({ connect: "eagerly" })]);
    await plane.channels("ready", 1);
  });

  it("without a hold time refuses the client that starts it, and serves the next one", async () => {
    await startManager();
    await plane.start([lazy({ hold: 0 })]);
    const { reply } = await plane.client("app");
    expect((await reply).received.subarray(-2)).toEqual(Buffer.of(2, 80)); // fatal internal_error
    await plane.channels("ready", 1);
    expect(await plane.ask("app")).toBe("app");
    expect(manager!.starts).toBe(1);
  });

  it("that is drained by the operator is not started; drained no more, by those who wait", async () => {
    await startManager();
    await plane.start([lazy()]);
    plane.command({ type: "drained", targets: ["app"] });
    await plane.snapshot();
    const waiting = await plane.client("app");
    await until("the held one", () => plane.totals.held === 1);
    expect(await plane.snapshot()).toMatchObject([{ state: "absent", drained: true }]);
    expect(manager!.starts).toBe(0);
    plane.command({ type: "drained", targets: [] });
    expect(await answerOf(waiting)).toBe("app");
  });
});

describe("an instance that never becomes ready", () => {
  let listener: number;
  let watch: Watch;
  const connects: number[] = [];

  beforeEach(() => {
    connects.length = 0;
    listener = native.listenUnix(plane.at("app"), "seqpacket", { backlog: 16 });
    watch = native.watch(listener, () => {
      for (let channel = native.acceptUnix(listener); channel >= 0; channel = native.acceptUnix(listener)) {
        connects.push(performance.now());
        native.close(channel);
      }
    });
  });

  afterEach(() => {
    watch.close();
    native.close(listener);
  });

  it("is not connected to more often than systemd starts a service", async () => {
    await plane.start([lazy({ hold: 60_000 })]);
    // Not from what was seen of the one before, which may have been seen late.
    const begun = performance.now();
    const client = await plane.client("app");
    await until("the third time", () => connects.length === 3);
    client.reset();
    for (const [i, connected] of connects.entries()) expect(connected - begun).toBeGreaterThan(2400 * i);
    // Nor at all when nobody waits for it any more.
    await until("its leaving", () => plane.totals.client_gone === 1);
    await longerThanBackOff();
    await longerThanBackOff();
    expect(connects).toHaveLength(3);
    expect(await plane.snapshot()).toMatchObject([{ state: "absent", lastFailure: "it closed its channel" }]);
  });
});

describe("a socket of the service manager (process 1), with a backend that says nothing of it", () => {
  const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
  // A namespace in which the stand-in is process 1; with a user namespace if that takes one.
  const prefix = ["unshare", ...(process.getuid!() === 0 ? [] : ["-Ur"]), "--pid", "--fork", "--kill-child"];

  it("is connected to at the door's start; once its service was stopped, only when a client comes", async () => {
    chmodSync(plane.folder, 0o755);
    const file = `${plane.folder}/door.yaml`;
    const path = plane.at("app");
    writeFileSync(
      file,
      `listeners: [{ address: "127.0.0.1:0" }]
workers: 1
log: { level: debug }
backends: { app: { handoff: "${path}", hold: 30s } }
routes: { app.test: app }
`,
    );
    manager = await ManagerProcess.start({
      path,
      service: { kind: "raw", path, name: "app" },
      also: [process.execPath, main, "serve", "--config", file],
      prefix,
    });
    const { child } = manager;
    const event = (name: string) =>
      child.line(`the door's line "${name}"`, (line) => {
        const parsed: LogLine | undefined = line.includes('"event"') ? JSON.parse(line) : undefined;
        return parsed?.event === name && parsed;
      });
    const port = Number(/:(\d+)$/.exec(((await event("ready")).listeners as string[])[0]!)![1]);
    await event("channel.ready");
    expect(manager.starts).toBe(1);
    manager.stopService();
    await until("its end", () => manager!.ends.length === 1);
    await longerThanBackOff();
    expect(manager.starts).toBe(1);
    const answer = await exchange(port, [buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
    expect(JSON.parse(answer.toString()).name).toBe("app");
    expect(manager.starts).toBe(2);
  });
});

describe("the stand-in for a service manager", () => {
  it("starts the service once for a channel, as systemd does", async () => {
    await startManager();
    expect(manager!.starts).toBe(0);
    const door = await FakeDoor.open(plane.at("app"));
    expect(manager!.starts).toBe(1);
    door.close();
  });
});
