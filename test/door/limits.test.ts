/** Limits that two workers share. */
import { beforeEach, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import { Connections } from "../../src/door/connections.js";
import { createLimitMemory, Limits } from "../../src/door/limits.js";
import { Report } from "../../src/door/report.js";
import type { DoorLimits, HandoffBackendSettings, WorkerReport } from "../../src/door/settings.js";

const most: DoorLimits = { waiting: 3, waitingPerClient: 2, held: 3, acceptRate: 1, acceptBurst: 1 };
const backend = { name: "app", maxHeld: 2, maxHeldPerClient: 1 } as HandoffBackendSettings;

let lines: Extract<WorkerReport, { type: "log" }>[];
let memory: SharedArrayBuffer;
let counts: Int32Array;
let one: Worker;
let other: Worker;

class Worker {
  readonly connections = new Connections(16);
  readonly limits: Limits;

  constructor(limits: DoorLimits) {
    const report = new Report((line) => line.type === "log" && lines.push(line));
    this.limits = new Limits(memory, this.connections, report, limits);
  }

  from(address: string): number {
    const slot = this.connections.take(0);
    const family = address.includes(":") ? "IPv6" : "IPv4";
    writeAddress({ family, address, port: slot }, this.connections.address, slot * ADDRESS_BYTES);
    return slot;
  }

  waits(address: string, now = 1000): number | string {
    const slot = this.from(address);
    return this.limits.beginWaiting(slot, now, true) ?? slot;
  }

  holds(address: string, settings = backend, index = 0, salt = 0): number | false {
    const slot = this.from(address);
    return this.limits.beginHeld(slot, 1000, settings, counts, index, salt) && slot;
  }
}

beforeEach(() => {
  lines = [];
  memory = createLimitMemory();
  counts = new Int32Array(new SharedArrayBuffer(8));
  one = new Worker(most);
  other = new Worker(most);
});

it("waiting: one whose client a load balancer has not told yet counts in all, and for nobody", () => {
  const clients = Array.from({ length: most.waiting }, () => one.from("192.0.2.1"));
  expect(clients.map((slot) => one.limits.beginWaiting(slot, 1000, false))).toEqual(clients.map(() => undefined));
  expect(one.waits("192.0.2.2")).toBe("waiting_full");
  for (const slot of clients) one.limits.endWaiting(slot, false);
  expect(one.waits("192.0.2.1")).toEqual(expect.any(Number));
});

it("waiting: counts those of both, and gives back what ended", () => {
  const slot = one.waits("192.0.2.1") as number;
  expect([other.waits("192.0.2.1"), one.waits("192.0.2.1"), other.waits("192.0.2.1")]).toEqual([
    0,
    "client_full",
    "client_full",
  ]);
  expect([other.waits("192.0.2.2"), one.waits("192.0.2.3"), other.waits("192.0.2.3")]).toEqual([
    2,
    "waiting_full",
    "waiting_full",
  ]);
  one.limits.endWaiting(slot, true);
  expect(one.waits("192.0.2.1")).toBeTypeOf("number");
  expect(one.waits("192.0.2.9")).toBe("waiting_full");
});

it("waiting: addresses of one IPv6 /64 are one client", () => {
  expect([one.waits("2001:db8::1"), one.waits("2001:db8::2:1"), one.waits("2001:db8:0:0:3::")]).toEqual([
    0,
    1,
    "client_full",
  ]);
  expect(one.waits("2001:db8:0:1::1")).toBe(3);
});

it("held: each backend has its own count and its own clients, and all together have one more", () => {
  const second = { ...backend, name: "second", maxHeld: 9, maxHeldPerClient: 9 };
  const first = one.holds("192.0.2.1") as number;
  expect(other.holds("192.0.2.1")).toBe(false); // of one client
  expect(other.holds("192.0.2.2")).toBe(1);
  expect(one.holds("192.0.2.3")).toBe(false); // of one backend
  expect(one.holds("192.0.2.1", second, 1, 7)).toBe(2);
  expect(one.holds("192.0.2.4", second, 1, 7)).toBe(false); // of all
  expect([...counts]).toEqual([2, 1]);
  one.limits.endHeld(first, counts, 0);
  expect([...counts]).toEqual([1, 1]);
  expect(other.holds("192.0.2.1")).toBeTypeOf("number");
  expect(lines.map(({ fields }) => fields)).toEqual([
    { limit: "backends.app.maxHeldPerClient", value: 1, client: "192.0.2.1" },
    { limit: "backends.app.maxHeld", value: 2 },
    { limit: "limits.held", value: 3 },
  ]);
});

it("rates: a client has one allowance with both", () => {
  const admits = (worker: Worker, now: number, address = "192.0.2.1") => worker.limits.admit(worker.from(address), now);
  expect([admits(one, 1000), admits(other, 1000), admits(one, 1000), admits(other, 1000)]).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(admits(one, 1000, "192.0.2.2")).toBe(true);
  expect([admits(other, 2000), admits(one, 2000)]).toEqual([true, false]);
});

it("rates: there are none when the configuration has none", () => {
  expect(one.limits.ratesApply).toBe(true);
  one.limits.configure({ ...most, acceptRate: 0 });
  expect(one.limits.ratesApply).toBe(false);
});

it("says once that a limit is hit, for both, and again when it had not been for ten seconds", () => {
  one.limits.configure({ ...most, waiting: 0 });
  other.limits.configure({ ...most, waiting: 0 });
  for (const now of [1000, 1001, 9000, 18_000]) for (const worker of [one, other]) worker.waits("192.0.2.1", now);
  expect(lines).toEqual([
    {
      type: "log",
      level: "warn",
      event: "limit.reached",
      message: "as many connections wait for a hello as may; more are refused, and counted",
      fields: { limit: "limits.waiting", value: 0 },
    },
  ]);
  one.waits("192.0.2.1", 28_000);
  expect(lines).toHaveLength(2);
});
