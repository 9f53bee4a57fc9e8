/** Under load: who comes first is served first, no door waits for another one's clients, and the server goes on meanwhile. */
import { once } from "node:events";
import * as net from "node:net";
import { afterEach, beforeEach, expect, it } from "vitest";
import { attach, handoffInfo } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { native } from "../../src/native/addon.js";
import { destroyAll } from "../support/bridge.js";
import { FakeDoor } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

/** Of each door: a few batches, within its window. */
const EACH = 100;
/** Messages that are read at once: native/messages.h, RECEIVE_CAPACITY. */
const BATCH = 32;

const folder = new Folder();
let count = 0;
let path: string;
let receiver: Receiver;
let listener: TcpListener;
let doors: FakeDoor[];
const clients: net.Socket[] = [];
const descriptors: number[] = [];

beforeEach(async () => {
  path = folder.at(`${count++}.sock`);
  listener = new TcpListener();
});

afterEach(async () => {
  destroyAll(clients);
  for (const door of doors) door.close();
  for (const descriptor of descriptors.splice(0)) native.close(descriptor);
  await receiver.close({ timeout: 0 });
  listener.close();
});

/** Accepted, and not handed over yet. */
async function accepted(): Promise<number> {
  const { client, descriptor } = await listener.pair();
  clients.push(client);
  descriptors.push(descriptor);
  return descriptor;
}

/** All of them in one turn: they are in the queues before the server looks. */
async function handOver(count: number): Promise<void> {
  const waiting: number[][] = [];
  for (const _ of doors) waiting.push(await Promise.all(Array.from({ length: count }, accepted)));
  for (const [door, of] of waiting.entries()) {
    for (const [index, descriptor] of of.entries()) {
      doors[door]!.handOver(descriptor, { connectionId: BigInt(door * 1000 + index) });
    }
  }
}

it("connections of several doors are served in the order of each, and in turns", async () => {
  const served: { door: number; index: number; turn: number }[] = [];
  let turn = 0;
  const server = net.createServer((socket) => {
    const id = Number(handoffInfo(socket)!.connectionId);
    served.push({ door: Math.floor(id / 1000), index: id % 1000, turn });
    socket.resume();
  });
  receiver = await attach(server, { path });
  doors = [await FakeDoor.open(path), await FakeDoor.open(path)];
  await handOver(EACH);
  const next = () => {
    turn++;
    if (served.length < 2 * EACH) setImmediate(next);
  };
  next();
  await until("all connections", () => served.length === 2 * EACH);

  for (const door of [0, 1]) {
    const order = served.filter((each) => each.door === door).map(({ index }) => index);
    expect(order).toEqual(Array.from({ length: EACH }, (_, i) => i));
  }
  let run = 0;
  let longest = 0;
  for (const [i, { door }] of served.entries()) {
    run = i > 0 && served[i - 1]!.door === door ? run + 1 : 1;
    // At the end only one of them has any left.
    if (served.slice(i + 1).some((each) => each.door !== door)) longest = Math.max(longest, run);
  }
  expect(longest).toBeLessThanOrEqual(BATCH);
  // The loop turns between batches: timers, and bytes of open connections, have their turn.
  expect(new Set(served.map((each) => each.turn)).size).toBeGreaterThanOrEqual(EACH / BATCH);
});

it("a server's own port and its open connections are served while a queue is full", async () => {
  const events: string[] = [];
  const server = net.createServer((socket) => {
    events.push(handoffInfo(socket) === undefined ? "accepted" : "received");
    socket.on("data", () => events.push("data"));
    socket.on("error", () => {});
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  receiver = await attach(server, { path });
  doors = [await FakeDoor.open(path)];
  const { port } = server.address() as net.AddressInfo;
  const talker = net.connect(port, "127.0.0.1");
  clients.push(talker);
  await until("the first one", () => events.length === 1);

  // Ready at the same time: bytes, a connection to the port, and more handed-over ones than a batch holds.
  const waiting = await Promise.all(Array.from({ length: EACH }, accepted));
  talker.write("now");
  const late = net.connect(port, "127.0.0.1");
  clients.push(late);
  await once(late, "connect");
  events.length = 0;
  for (const descriptor of waiting) doors[0]!.handOver(descriptor);
  talker.write("again");
  await until("all of them", () => events.filter((event) => event === "received").length === EACH);
  const before = events.slice(0, events.lastIndexOf("received"));
  expect(before).toContain("data");
  const closed = once(server, "close");
  server.close();
  destroyAll(clients);
  for (const door of doors) door.close();
  await closed;
});
