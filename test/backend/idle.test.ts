/** `idleTimeout` and `overloaded` of the library. */
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attach, receive } from "../../src/backend/index.js";
import { MessageType, RefuseReason } from "../../src/handoff/layout.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { native } from "../../src/native/addon.js";
import { Bridge, destroyAll } from "../support/bridge.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor } from "../support/fake-door.js";
import { until } from "../support/wait.js";

const library = new URL("../../dist/backend/index.js", import.meta.url).href;

let folder: string;
let path: string;
let before: string[];
let receiver: Receiver | undefined;
let events: string[];
const bridges: Bridge[] = [];
const clients: net.Socket[] = [];

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
  events = [];
});

afterEach(async () => {
  destroyAll(clients);
  for (const bridge of bridges.splice(0)) bridge.close();
  await receiver?.close({ timeout: 0 });
  receiver = undefined;
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length <= before.length);
});

/** A time that is no longer than it takes a door to come would be over before. */
async function start(idleTimeout: number): Promise<void> {
  receiver = await receive({ path, idleTimeout }, (socket) => socket.on("error", () => {}).resume());
  receiver.on("drained", () => events.push("drained"));
  receiver.on("idle", () => events.push("idle"));
}

async function bridge(): Promise<Bridge> {
  const made = await Bridge.open(path);
  bridges.push(made);
  return made;
}

function client({ port }: Bridge): net.Socket {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

describe("an idle receiver", () => {
  it("asks its doors to leave, and when they have, closes: drained, then idle", async () => {
    await start(1000);
    const doors = [await bridge(), await bridge()];
    await doors[0]!.door.next(MessageType.DRAIN);
    await doors[1]!.drain();
    expect(events).toEqual([]);
    expect(existsSync(path)).toBe(true);
    doors[0]!.close();
    await until("idle", () => events.length === 2);
    expect(events).toEqual(["drained", "idle"]);
    expect(existsSync(path)).toBe(false);
  });

  it("is not idle while a connection is open, nor for the whole time after it", async () => {
    await start(1000);
    const door = await bridge();
    const socket = client(door);
    await door.deliver();
    const opened = performance.now();
    await until("longer than the timeout", () => performance.now() > opened + 1500);
    expect(door.door.received.some(({ type }) => type === MessageType.DRAIN)).toBe(false);
    const closed = performance.now();
    socket.destroy();
    await door.drain();
    expect(performance.now() - closed).toBeGreaterThan(1000);
    await until("idle", () => events.includes("idle"));
  });

  it("serves what was handed over before the door read DRAIN, and stays for it: the door may open a channel again", async () => {
    await start(1000);
    const first = await bridge();
    await first.door.next(MessageType.DRAIN);
    const socket = client(first);
    await first.deliver();
    first.close();
    // A new channel gets READY, and the idleness is over.
    const second = await bridge();
    client(second);
    await second.deliver();
    expect(events).toEqual([]);
    expect(receiver!.counts).toMatchObject({ received: 2, revoked: 0, refused: 0 });
    destroyAll(clients);
    expect(socket.destroyed).toBe(true);
    await second.drain();
    await until("idle", () => events.includes("idle"));
  });

  it("stays if a door opens a channel while another is asked to leave", async () => {
    await start(1000);
    const first = await bridge();
    await first.door.next(MessageType.DRAIN);
    const second = await bridge();
    first.close();
    client(second);
    await second.deliver();
    expect(events).toEqual([]);
  });

  it("does not wait for ever for a door that does not leave", async () => {
    receiver = await receive({ path, idleTimeout: 1000, drainTimeout: 100 }, () => {});
    const idle = once(receiver, "idle");
    const door = await bridge();
    await idle;
    await door.door.end();
  });

  it.each([0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 31, "30s" as unknown as number])(
    "cannot have the timeout %s",
    async (idleTimeout) => {
      const expected = { code: "ERR_OPTION", message: expect.stringContaining(`idleTimeout is ${idleTimeout}`) };
      await expect(receive({ path, idleTimeout }, () => {})).rejects.toMatchObject(expected);
      expect(existsSync(path)).toBe(false);
    },
  );
});

describe("a process that is idle", () => {
  const program = (script: string) => `
    import http from "node:http";
    import { attach } from ${JSON.stringify(library)};
    const path = ${JSON.stringify(path)};
    const server = http.createServer((request, response) => response.end("hello"));
    ${script}`;

  it("ends by itself with status 0", async () => {
    const script = program("await attach(server, { path, idleTimeout: 50 });");
    const child = new Child(process.execPath, ["--input-type=module", "--eval", script]);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.stderr).toBe("");
    expect(existsSync(path)).toBe(false);
  });

  it("with the manager's socket stays 2.5 s at least, and leaves it with its queue to the next process", async () => {
    const held = native.listenUnix(path, "seqpacket", { backlog: 4 });
    const script = program(`
      const receiver = await attach(server, { path, idleTimeout: 10 });
      receiver.once("drained", () => console.log("drained"));`);
    const activate = () =>
      new Child(
        "/bin/sh",
        ["-c", 'LISTEN_PID=$$ exec "$0" --input-type=module --eval "$1"', process.execPath, script],
        { stdio: ["ignore", "pipe", "pipe", held], env: { ...process.env, LISTEN_FDS: "1" } },
      );
    try {
      const since = performance.now();
      const child = activate();
      const early = await FakeDoor.open(path);
      await early.next(MessageType.DRAIN);
      early.close();
      expect(await child.ended).toEqual({ status: 0, signal: null });
      expect(performance.now() - since).toBeGreaterThan(2500);
      expect(child.lines).toEqual(["drained"]);
      expect(existsSync(path)).toBe(true);
      const queued = new FakeDoor(path);
      const next = activate();
      await queued.next(MessageType.READY);
      queued.close();
      await next.end("SIGKILL");
    } finally {
      native.close(held);
    }
  });
});

describe("overloaded()", () => {
  it("is asked for each connection: they are refused, and READY follows when there is room", async () => {
    let isOverloaded = true;
    const server = net.createServer((socket) => socket.end("served"));
    receiver = await attach(server, { path, overloaded: () => isOverloaded });
    const opening = bridge();
    isOverloaded = false;
    const door = await opening;
    isOverloaded = true;
    client(door);
    const refused = await door.next();
    expect(await door.door.refused(refused)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    door.drop();
    const from = door.door.received.length;
    isOverloaded = false;
    await door.door.next(MessageType.READY, () => true, from);
    const [text] = await Promise.all([once(client(door), "data"), door.deliver()]);
    expect(String(text[0])).toBe("served");
    expect(receiver.counts).toMatchObject({ received: 1, refused: 1 });
  });

  it("must be a function", async () => {
    const options = { path, overloaded: true as unknown as () => boolean };
    await expect(attach(net.createServer(), options)).rejects.toMatchObject({
      code: "ERR_OPTION",
      message: "overloaded is boolean; a function is needed",
    });
  });

  it("that throws is the process's uncaught exception, and the connection is served", async () => {
    const script = `
      import { receive } from ${JSON.stringify(library)};
      let isBroken = false;
      process.on("uncaughtException", (error) => console.log("uncaught " + error.message));
      process.on("SIGUSR2", () => { isBroken = true; console.log("broken"); });
      const overloaded = () => { if (isBroken) throw new Error("no idea"); return false; };
      await receive({ path: ${JSON.stringify(path)}, overloaded }, (socket) => socket.end("served"));
      console.log("ready");`;
    const child = new Child(process.execPath, ["--input-type=module", "--eval", script]);
    await child.line("its being ready", (line) => line === "ready");
    const door = await bridge();
    child.process.kill("SIGUSR2");
    await child.line("its being broken", (line) => line === "broken");
    const [text] = await Promise.all([once(client(door), "data"), door.deliver()]);
    expect(String(text[0])).toBe("served");
    await child.line("the exception", (line) => line === "uncaught no idea");
    await child.end("SIGKILL");
  });
});
