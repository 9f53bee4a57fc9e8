/** Who owns a connection when a door takes it back at any moment: instance and door are different processes here. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { MessageType } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor } from "../support/fake-door.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

const library = new URL("../../dist/backend/index.js", import.meta.url).href;
const TRIALS = 400;

let folder: string;
let path: string;
let instance: Child;
let listener: TcpListener;
/** One connection is enough: it can be handed over any number of times. */
let descriptor: number;
let handedOver = 0;
const owned: string[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
  const script = `
    import { receive } from ${JSON.stringify(library)};
    const receiver = await receive({ path: ${JSON.stringify(path)}, pauseOnConnect: true }, (socket, info) => {
      console.log(info.serverName);
      socket.destroy();
    });
    process.once("SIGTERM", () => receiver.close());
    process.on("SIGUSR2", () => console.log("counts " + JSON.stringify(receiver.counts)));
    console.log("ready");`;
  instance = new Child(process.execPath, ["--input-type=module", "--eval", script]);
  await instance.line("the instance", (line) => line === "ready");
  listener = new TcpListener();
  const pair = await listener.pair();
  pair.client.unref();
  descriptor = pair.descriptor;
});

afterAll(async () => {
  native.close(descriptor);
  listener.close();
  await instance.end("SIGKILL");
  rmSync(folder, { recursive: true });
});

const pause = (turns: number) =>
  new Promise<void>((resolve) => {
    const turn = () => (turns-- > 0 ? setImmediate(turn) : resolve());
    turn();
  });

/** Hands over a few, and returns the names in the order of their sequence, from 1. */
async function handOver(door: FakeDoor, trial: number): Promise<string[]> {
  const names: string[] = [];
  const count = 1 + (trial % 12);
  for (let i = 0; i < count; i++) {
    const name = `n${handedOver++}`;
    door.handOver(descriptor, { name });
    names.push(name);
    if (trial % 3 === 0) await pause(trial % 7);
  }
  await pause(trial % 29);
  return names;
}

it(`what was acknowledged before a revoke is served, and nothing else (${TRIALS} trials)`, async () => {
  let split = 0;
  for (let trial = 0; trial < TRIALS; trial++) {
    const door = await FakeDoor.open(path);
    const names = await handOver(door, trial);
    door.stopReading();
    await until("the queue's end", () => door.ended);
    const acks = door.received.filter(({ type }) => type === MessageType.ACK);
    const last = acks.at(-1)?.sequence ?? 0;
    door.revoke(last);
    door.close();
    owned.push(...names.slice(0, last));
    if (last < names.length) split++;
  }
  // Both outcomes were met, or this test shows nothing.
  expect(split).toBeGreaterThan(0);
  expect(owned.length).toBeGreaterThan(0);
});

it(`what a door that dies leaves is served, acknowledged or not (${TRIALS} trials)`, async () => {
  for (let trial = 0; trial < TRIALS; trial++) {
    const door = await FakeDoor.open(path);
    const names = await handOver(door, trial);
    if (trial % 2 === 0) door.stopReading();
    door.close();
    owned.push(...names);
  }
});

it("the instance served exactly what it owns, each once, and holds no descriptor of it", async () => {
  await until("all channels' end", () => {
    instance.process.kill("SIGUSR2");
    const counts = instance.lines.findLast((line) => line.startsWith("counts "));
    return counts !== undefined && JSON.parse(counts.slice(7)).channels === 0;
  });
  await until("the last delivery", () => instance.lines.includes(owned.at(-1)!));
  await until("its descriptors", () => {
    const sockets = openDescriptors(instance.pid).filter((target) => target.startsWith("socket:"));
    return sockets.length <= 3; // the listener, and its output's pipes, which are sockets of Node's making
  });
  instance.process.kill("SIGTERM");
  expect(await instance.ended).toEqual({ status: 0, signal: null });
  const served = instance.lines.filter((line) => line.startsWith("n"));
  expect(served.toSorted()).toEqual(owned.toSorted());
  expect(instance.stderr).toBe("");
});
