/** Single connections given to instances: good ones, dying ones, stopped ones, and those that break the rules. */
import { chmodSync, mkdirSync } from "node:fs";
import type { Socket } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Deliverer, type DeliveryTarget } from "../../src/handoff/deliver.js";
import { encodeAck, encodeReady, Message } from "../../src/handoff/message.js";
import { native } from "../../src/native/addon.js";
import { BackendProcess } from "../support/backend-process.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { handoffBytes } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

const rogueProgram = fileURLToPath(new URL("../fixtures/rogue.mjs", import.meta.url));

const home = new Folder();
let count = 0;
let folder: string;
let listener: TcpListener;
let deliverer: Deliverer;
let children: Child[];
let descriptors: number;

beforeEach(() => {
  folder = home.at(`${count++}`);
  mkdirSync(folder);
  children = [];
  descriptors = openDescriptors().length;
  listener = new TcpListener();
  deliverer = new Deliverer();
});

afterEach(async () => {
  deliverer.close();
  listener.close();
  for (const child of children) await child.end("SIGKILL");
  await until("every descriptor to be closed", () => openDescriptors().length <= descriptors);
});

const message = new Message();
const at = (name: string) => join(folder, name);
const target = (path: string, acknowledgeTimeout = 60_000): DeliveryTarget => ({ path, uid: -1, acknowledgeTimeout });
/** Milliseconds: what an instance that answers needs on a machine that stands still for a moment, and one that does not costs. */
const ANSWER = 3000;
const HANDOFF = Buffer.from(handoffBytes({ sequence: 77, name: "app.test" })).toString("latin1");

/** An instance that reads up to "END\n" and says whom it served. */
async function instance(path: string, name: string): Promise<Child> {
  const { child } = await BackendProcess.start({ kind: "raw", path, name });
  children.push(child);
  return child;
}

async function rogue(path: string, behaviour: string): Promise<Child> {
  const child = new Child(process.execPath, [rogueProgram, JSON.stringify({ path, behaviour })]);
  children.push(child);
  await child.line("the rogue's being ready", (line) => line.startsWith('{"ready"'));
  return child;
}

/** A client that has sent everything, and what it is answered. */
async function connection(): Promise<{ descriptor: number; client: Socket; answer: Promise<string> }> {
  const { client, descriptor } = await listener.pair();
  let text = "";
  client.on("data", (data) => {
    text += data;
  });
  const answer = new Promise<string>((resolve) => client.once("close", () => resolve(text)));
  client.write("hello END\n");
  return { descriptor, client, answer };
}

/** Delivers one, closes this side as the caller does, and resolves to whether it was taken, and by whom it was served. */
async function give(to: DeliveryTarget): Promise<{ taken: boolean; servedBy: string | undefined }> {
  const { descriptor, client, answer } = await connection();
  const taken = await deliverer.deliver(to, descriptor, HANDOFF);
  native.close(descriptor);
  // An instance that broke the rules may still have it.
  if (!taken) client.destroy();
  client.end();
  const text = await answer;
  return { taken, servedBy: text === "" ? undefined : JSON.parse(text).name };
}

const NOBODY = { taken: false, servedBy: undefined };

describe("an instance", () => {
  it("is given one connection after the other, on one channel", async () => {
    await instance(at("app.sock"), "app");
    for (let i = 0; i < 5; i++) expect(await give(target(at("app.sock")))).toEqual({ taken: true, servedBy: "app" });
  });

  it("is given many at once: more than its window", async () => {
    const { child } = await BackendProcess.start({ kind: "raw", path: at("app.sock"), name: "app", window: 3 });
    children.push(child);
    const given = await Promise.all(Array.from({ length: 20 }, () => give(target(at("app.sock")))));
    expect(given).toEqual(new Array(20).fill({ taken: true, servedBy: "app" }));
  });

  it("that comes back after its end is found again", async () => {
    const first = await instance(at("app.sock"), "first");
    expect(await give(target(at("app.sock")))).toEqual({ taken: true, servedBy: "first" });
    await first.end("SIGKILL");
    expect(await give(target(at("app.sock")))).toEqual(NOBODY);
    await instance(at("app.sock"), "second");
    expect(await give(target(at("app.sock")))).toEqual({ taken: true, servedBy: "second" });
  });

  it("that drains gets no more", async () => {
    const app = await instance(at("app.sock"), "app");
    expect(await give(target(at("app.sock")))).toEqual({ taken: true, servedBy: "app" });
    await app.end("SIGTERM");
    expect(await give(target(at("app.sock")))).toEqual(NOBODY);
  });

  it("that is not there, or whose path is no socket, is nobody", async () => {
    expect(await give(target(at("nobody.sock")))).toEqual(NOBODY);
    expect(await give(target(`${at("nowhere")}/`))).toEqual(NOBODY);
    expect(await give(target(home.write("file", "")))).toEqual(NOBODY);
  });
});

describe("a folder of instances", () => {
  beforeEach(() => mkdirSync(at("pool"), { mode: 0o755 }));

  it("gets connections in turn", async () => {
    for (const name of ["a", "b"]) await instance(`${at("pool")}/`, name);
    const given = [];
    for (let i = 0; i < 4; i++) given.push((await give(target(`${at("pool")}/`))).servedBy);
    expect(given.slice(0, 2).sort()).toEqual(["a", "b"]);
    expect(given.slice(2)).toEqual(given.slice(0, 2));
  });

  it("is not used if others may write to it", async () => {
    await instance(`${at("pool")}/`, "a");
    chmodSync(at("pool"), 0o775);
    expect(await give(target(`${at("pool")}/`))).toEqual(NOBODY);
  });

  it.each(["dies", "refuses everything", "never answers"])("one that %s: the other serves", async (behaviour) => {
    await rogue(join(at("pool"), "rogue.sock"), behaviour);
    await instance(`${at("pool")}/`, "good");
    for (let i = 0; i < 2; i++) {
      expect(await give(target(`${at("pool")}/`, ANSWER))).toEqual({ taken: true, servedBy: "good" });
    }
  });

  it("one that was stopped comes back: what was taken from it is not served twice", async () => {
    const stopped = await instance(`${at("pool")}/`, "stopped");
    await give(target(`${at("pool")}/`));
    process.kill(stopped.pid, "SIGSTOP");
    await instance(`${at("pool")}/`, "good");
    for (let i = 0; i < 4; i++) {
      expect(await give(target(`${at("pool")}/`, ANSWER))).toEqual({ taken: true, servedBy: "good" });
    }
    process.kill(stopped.pid, "SIGCONT");
    await until("the stopped one to serve again", async () => {
      const { servedBy } = await give(target(`${at("pool")}/`));
      return servedBy === "stopped";
    });
  });

  it("one that reads a byte and dies: nobody else gets that connection", async () => {
    await rogue(join(at("pool"), "rogue.sock"), "reads a byte and dies");
    const { taken, servedBy } = await give(target(`${at("pool")}/`));
    expect([taken, servedBy]).toEqual([true, undefined]);
  });
});

describe("an instance that breaks the protocol is given nothing", () => {
  it.each([
    "acknowledges before it is ready",
    "sends garbage",
    "sends an oversized message",
    "sends a message of the door",
    "speaks another version only",
    "hangs up",
    "acknowledges ahead",
    "refuses what it was not sent",
    "refuses twice",
    "drains and dies",
  ])("%s", async (behaviour) => {
    await rogue(at("app.sock"), behaviour);
    expect(await give(target(at("app.sock"), 500))).toEqual(NOBODY);
  });

  it("but what it acknowledges behind the breach is its own", async () => {
    const bytes = new Uint8Array(1024);
    const socket = native.listenUnix(at("app.sock"), "seqpacket", { backlog: 1, mode: 0o600 });
    const { descriptor, client } = await connection();
    const taken = deliverer.deliver(target(at("app.sock")), descriptor, HANDOFF);
    const channel = native.acceptUnix(socket);
    native.sendMessage(channel, bytes.subarray(0, encodeReady(bytes, 0, { window: 1 })));
    await new Promise<void>((resolve) => {
      const watch = native.watchMessages(
        channel,
        () => {
          const { batch } = watch;
          message.decode(batch.buffer, 0, batch.lengths[0]!);
          native.close(batch.descriptors[0]!);
          watch.close();
          resolve();
          return 0;
        },
        () => {},
      );
    });
    // Both are there before either is read: this thread reads them.
    native.sendMessage(channel, bytes.fill(0).subarray(0, 333));
    native.sendMessage(channel, bytes.subarray(0, encodeAck(bytes, 0, message.sequence, 1)));
    expect(await taken).toBe(true);
    for (const each of [descriptor, channel, socket]) native.close(each);
    client.destroy();
  });

  it.runIf(process.getuid!() === 0)("runs as a user who may not be one", async () => {
    const path = at("app.sock");
    chmodSync(home.path, 0o755);
    const argument = { path, behaviour: "refuses everything", user: 65534 };
    const child = new Child(process.execPath, [rogueProgram, JSON.stringify(argument)]);
    children.push(child);
    await child.line("the rogue's being ready", (line) => line.startsWith('{"ready"'));
    const { descriptor, client } = await connection();
    expect(await deliverer.deliver(target(path), descriptor, HANDOFF)).toBe(false);
    native.close(descriptor);
    client.destroy();
  });
});
