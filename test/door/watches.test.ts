/** The kernel cannot watch one more descriptor (epoll_ctl(2): ENOMEM, ENOSPC): that one connection ends, in order. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { Backend } from "../../src/door/backends.js";
import { Connections, State } from "../../src/door/connections.js";
import { Hold } from "../../src/door/hold.js";
import { createLimitMemory, Limits } from "../../src/door/limits.js";
import { Parting } from "../../src/door/parting.js";
import { Report } from "../../src/door/report.js";
import type { HandoffBackendSettings } from "../../src/door/settings.js";
import { SystemCallError } from "../../src/errors.js";
import { type Loop, native } from "../../src/native/addon.js";
import { TcpListener } from "../support/tcp.js";

let listener: TcpListener;
let pair: Awaited<ReturnType<TcpListener["pair"]>>;
let connections: Connections;
let slot: number;

beforeEach(async () => {
  listener = new TcpListener();
  pair = await listener.pair();
  connections = new Connections(2);
  slot = connections.take(pair.descriptor);
});

afterEach(() => {
  native.close(pair.descriptor);
  pair.client.destroy();
  listener.close();
});

const full = {
  clock: new Float64Array(2),
  add: () => {
    throw new SystemCallError("epoll_ctl", "ENOSPC", 28, "No space left on device");
  },
} as Partial<Loop> as Loop;

it("it is not held", () => {
  const settings = { kind: "handoff", name: "app", maxHeld: 1, maxHeldPerClient: 1 } as HandoffBackendSettings;
  const backend = new Backend(0, settings, connections);
  const counts = new SharedArrayBuffer(4);
  const most = { waiting: 1, waitingPerClient: 1, held: 1, acceptRate: 0, acceptBurst: 0 };
  const limits = new Limits(createLimitMemory(), connections, new Report(() => {}), most);
  const hold = new Hold(full, connections, limits, counts, [settings]);
  // Twice: what was counted for the first is given back.
  for (let i = 0; i < 2; i++) expect(hold.begin(slot, backend, settings)).toBe(false);
  expect(hold.count).toBe(0);
  expect(connections.state[slot]).toBe(State.PLACING);
  expect(connections.marks[slot]).toBe(0);
  expect(backend.held.count).toBe(0);
  expect(new Int32Array(counts)[0]).toBe(0);
});

it("it is told why it is refused, and closed at once", async () => {
  const closed: number[] = [];
  const parting = new Parting(full, connections, (each) => closed.push(each));
  const received = new Promise((resolve) => pair.client.once("data", resolve));
  parting.begin(slot, Uint8Array.of(1, 2, 3));
  expect(closed).toEqual([slot]);
  expect(parting.tick(0)).toBe(Number.POSITIVE_INFINITY);
  expect(await received).toEqual(Buffer.of(1, 2, 3));
});
