import { afterEach, beforeEach, expect, it } from "vitest";
import { RoomWatch } from "../../src/handoff/room-watch.js";
import { native } from "../../src/native/addon.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

let near: number;
let far: number;
let before: number;

beforeEach(() => {
  before = openDescriptors().length;
  [near, far] = native.socketPair("seqpacket");
  while (native.sendMessage(near, new Uint8Array(8)) === 0);
});

afterEach(() => {
  native.close(near);
  native.close(far);
  expect(openDescriptors().length).toBe(before);
});

it("calls once when the other side has read, and holds nothing after", async () => {
  let calls = 0;
  const room = new RoomWatch(near, () => calls++);
  expect(room.start()).toBe(true);
  expect(room.start()).toBe(true);
  expect(room.isWaiting).toBe(true);
  const reading = native.watchMessages(
    far,
    () => 0,
    () => {},
  );
  await until("room", () => calls > 0);
  expect(room.isWaiting).toBe(false);
  expect(native.sendMessage(near, new Uint8Array(8))).toBe(0);
  reading.close();
  expect(calls).toBe(1);
});

it("calls when the other side is gone, and the next message says so", async () => {
  let calls = 0;
  const room = new RoomWatch(near, () => calls++);
  room.start();
  native.close(far);
  await until("the end", () => calls > 0);
  expect(native.sendMessage(near, new Uint8Array(8))).not.toBe(0);
  far = native.duplicate(near);
});

it("does not call after stop", async () => {
  const room = new RoomWatch(near, () => {
    throw new Error("stopped");
  });
  room.start();
  room.stop();
  room.stop();
  const reading = native.watchMessages(
    far,
    () => 0,
    () => {},
  );
  await until("room", () => native.sendMessage(near, new Uint8Array(8)) === 0);
  reading.close();
});
