import { afterEach, beforeEach, expect, it } from "vitest";
import { Backend } from "../../src/door/backends.js";
import { Channels } from "../../src/door/channels.js";
import { Connections } from "../../src/door/connections.js";
import { createCounters } from "../../src/door/counters.js";
import { Report } from "../../src/door/report.js";
import { successorSettings } from "../../src/door/successor.js";
import { encodeReady } from "../../src/handoff/message.js";
import { type Loop, native } from "../../src/native/addon.js";

let loop: Loop;
let ours: number;
let theirs: number;

beforeEach(() => {
  loop = native.createLoop({ events: 16, peeks: 1, peekBytes: 64, sends: 4, sendBytes: 4096, closes: 4 });
  [ours, theirs] = native.socketPair("seqpacket");
  native.askCredentials(ours, true);
});

afterEach(() => {
  native.close(theirs);
  loop.destroy();
});

function newChannels(connections: Connections, takenBack: number[] = []): Channels {
  const channels = new Channels(
    loop,
    connections,
    new Uint32Array(createCounters()),
    new Report(() => {}),
    {
      owned() {},
      refused() {},
      takenBack: (slot) => takenBack.push(slot),
      revoked() {},
      opened() {},
      flush() {},
    },
    true,
  );
  channels.configure([], []);
  return channels;
}

function say(channels: Channels, ready: Parameters<typeof encodeReady>[2]): void {
  const bytes = new Uint8Array(64);
  native.sendMessage(theirs, bytes.subarray(0, encodeReady(bytes, 0, ready)));
  expect(loop.wait(1000, 0)).toBe(1);
  channels.ready(loop.events[2]!, loop.events[1]! >>> 8, loop.events[0]!);
}

it("READY without a weight means 1, whatever an earlier one had", () => {
  const connections = new Connections(1);
  const channels = newChannels(connections);
  channels.take(new Backend(0, successorSettings, connections), ours);
  say(channels, { window: 8, weight: 5 });
  expect(channels.snapshot()).toMatchObject([{ weight: 5 }]);
  say(channels, { window: 8 });
  expect(channels.snapshot()).toMatchObject([{ weight: 1 }]);
  channels.closeAll(() => {});
});

it("a successor that does not acknowledge in time loses what it was given, as an instance does", () => {
  const connections = new Connections(4);
  const takenBack: number[] = [];
  const channels = newChannels(connections, takenBack);
  const successor = new Backend(0, { ...successorSettings, acknowledgeTimeout: 1, hold: 1 }, connections);
  channels.take(successor, ours);
  say(channels, { window: 8, weight: 1, open: 0 });
  expect(channels.snapshot()).toMatchObject([{ state: "ready" }]);
  const slot = connections.take(-1);
  connections.sentAt[slot] = loop.clock[0]!;
  successor.channels[0]!.sent(slot);
  loop.wait(5, 0);
  channels.tick();
  expect(takenBack).toEqual([slot]);
  expect(channels.isOpen(successor)).toBe(false);
});
