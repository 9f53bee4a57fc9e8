import { rmSync } from "node:fs";
import { beforeEach, describe, expect, it } from "vitest";
import { Backend } from "../../src/door/backends.js";
import { Connections, Mark } from "../../src/door/connections.js";
import { Datagrams, Passed } from "../../src/door/datagrams.js";
import { Report } from "../../src/door/report.js";
import type { DatagramBackendSettings, WorkerReport } from "../../src/door/settings.js";
import { type Loop, native } from "../../src/native/addon.js";
import { countDescriptors, newLoop, own, temporaryFolder } from "../native/resources.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

countDescriptors();

let path: string;
let loop: Loop;
let connections: Connections;
let lines: WorkerReport[];
let datagrams: Datagrams;

beforeEach(async () => {
  path = `${await temporaryFolder()}/r.sock`;
  loop = newLoop({ peekBytes: 1024 });
  connections = new Connections(64);
  lines = [];
  datagrams = new Datagrams(loop, connections, new Report((line) => lines.push(line)), true);
});

function backendAt(at: string, change: Partial<DatagramBackendSettings> = {}): Backend {
  const limits = { hold: 1000, maxHeld: 10, maxHeldPerClient: 10, fallback: -1, uid: -1, maxHello: 1024 };
  return new Backend(0, { kind: "datagram", name: "app", path: at, ...limits, ...change }, connections);
}

const bind = (at: string) => own(native.listenUnix(at, "dgram", { backlog: 1 }));
/** Another turn of the worker: the clock goes on. */
const turn = () => {
  const before = loop.clock[0];
  while (loop.clock[0] === before) loop.wait(0, 0);
};

/** A connection whose client has sent "hello", peeked at. */
async function connection(): Promise<number> {
  const listener = new TcpListener();
  const { client, descriptor } = await listener.pair();
  listener.close();
  client.end("hello");
  await until("the hello", () => {
    loop.peekDescriptors[0] = own(descriptor);
    loop.peek(1);
    return loop.peekLengths[0] === 5;
  });
  return connections.take(descriptor);
}

function received(fd: number): string[] {
  const count = loop.receive(fd);
  const { buffer, descriptors, lengths, stride } = loop.received;
  return Array.from({ length: count }, (_, i) => {
    if (descriptors[i]! >= 0) native.close(descriptors[i]!);
    return Buffer.from(buffer.subarray(i * stride, i * stride + lengths[i]!)).toString();
  });
}

describe("a connection that is sent", () => {
  it("comes with its hello", async () => {
    const fd = bind(path);
    const backend = backendAt(path);
    datagrams.configure([backend]);
    expect(datagrams.pass(await connection(), backend, 0, 5)).toBe(Passed.SENT);
    expect(received(fd)).toEqual(["hello"]);
    datagrams.closeAll();
  });

  it("to a receiver that has just gone: its hello is kept, and sent to the next", async () => {
    const backend = backendAt(path);
    const first = native.listenUnix(path, "dgram", { backlog: 1 });
    datagrams.configure([backend]);
    const slot = await connection();
    native.close(first);
    expect(datagrams.pass(slot, backend, 0, 5)).toBe(Passed.NOT_NOW);
    expect(connections.marks[slot]! & Mark.READ).toBe(Mark.READ);
    expect(Buffer.from(connections.early.get(slot)!).toString()).toBe("hello");
    backend.held.push(slot);
    datagrams.held(backend);
    expect(datagrams.dueAt).toBeLessThan(Number.POSITIVE_INFINITY);

    rmSync(path);
    const second = bind(path);
    await until("its turn", () => {
      turn();
      datagrams.tick();
      return datagrams.isDue;
    });
    const served: Passed[] = [];
    datagrams.serve((each) => {
      each.held.remove(slot);
      served.push(datagrams.pass(slot, each, 0, 0));
    });
    expect(served).toEqual([Passed.SENT]);
    expect(received(second)).toEqual(["hello"]);
    connections.release(slot);
    expect(connections.early.size).toBe(0);
    datagrams.closeAll();
  });

  it("to a receiver that was replaced between two turns goes to the new one, and is read only then", async () => {
    const backend = backendAt(path);
    const first = native.listenUnix(path, "dgram", { backlog: 1 });
    datagrams.configure([backend]);
    const slot = await connection();
    native.close(first);
    turn();
    expect(datagrams.pass(slot, backend, 0, 5)).toBe(Passed.NOT_NOW);
    expect(connections.marks[slot]).toBe(0);
    rmSync(path);
    const second = bind(path);
    datagrams.appeared(path);
    expect(datagrams.pass(slot, backend, 0, 5)).toBe(Passed.SENT);
    expect(received(second)).toEqual(["hello"]);
    datagrams.closeAll();
  });

  it("without bytes is as it was when it could not be sent", async () => {
    const backend = backendAt(path);
    const first = native.listenUnix(path, "dgram", { backlog: 1 });
    datagrams.configure([backend]);
    const slot = await connection();
    native.close(first);
    expect(datagrams.pass(slot, backend, 0, 0)).toBe(Passed.NOT_NOW);
    expect(connections.marks[slot]).toBe(0);
    datagrams.closeAll();
  });
});

describe("a full queue", () => {
  it("is noticed before the hello is read; those that wait are served in their order as there is room", async () => {
    const fd = bind(path);
    const backend = backendAt(path);
    datagrams.configure([backend]);
    let sent = 0;
    let slot = await connection();
    while (datagrams.pass(slot, backend, 0, 5) === Passed.SENT) {
      sent++;
      expect(sent).toBeLessThan(1000);
      slot = await connection();
    }
    expect(connections.marks[slot]).toBe(0);
    expect(datagrams.snapshot()).toMatchObject([{ state: "ready", stalled: false }]);
    const waiting = [slot, await connection(), await connection()];
    for (const each of waiting) backend.held.push(each);
    datagrams.held(backend);
    expect(datagrams.snapshot()).toMatchObject([{ state: "ready", stalled: true }]);
    expect(loop.wait(0, 0)).toBe(0);

    const order: number[] = [];
    const serve = () =>
      datagrams.serve((each) => {
        const head = each.held.head;
        each.held.remove(head);
        if (datagrams.pass(head, each, 0, 5) === Passed.SENT) order.push(head);
        else each.held.unshift(head);
      });
    expect(received(fd).length).toBe(sent);
    expect(loop.wait(1000, 0)).toBe(1);
    datagrams.ready(loop.events[2]!, loop.events[1]! >>> 8);
    serve();
    expect(order).toEqual(waiting);
    expect(received(fd)).toEqual(["hello", "hello", "hello"]);
    // Nobody waits: what is read is no event.
    expect(loop.wait(0, 0)).toBe(0);
    datagrams.closeAll();
  });
});

it("several that rest for a moment are each tried again", async () => {
  const backends = ["a", "b"].map((name, index) => {
    bind(`${path}.${name}`);
    const { settings } = backendAt(`${path}.${name}`);
    return new Backend(index, { ...settings, name }, connections);
  });
  datagrams.configure(backends);
  for (const backend of backends) {
    const slot = await connection();
    // Longer than a datagram can be: EMSGSIZE of send(2).
    connections.early.set(slot, new Uint8Array(1 << 20));
    connections.marks[slot]! |= Mark.READ;
    expect(datagrams.pass(slot, backend, 0, 0)).toBe(Passed.NOT_NOW);
    backend.held.push(slot);
    datagrams.held(backend);
    loop.clock[0]! += 5;
  }
  const first = datagrams.dueAt;
  loop.clock[0] = first;
  datagrams.tick();
  expect(datagrams.isDue).toBe(true);
  expect(datagrams.dueAt).toBe(first + 5);
  for (const backend of backends) connections.release(backend.held.head);
  datagrams.closeAll();
});

describe("a path", () => {
  it.each([
    ["that is not there", "ENOENT", () => {}],
    [
      "at which nobody receives",
      "ECONNREFUSED",
      (at: string) => native.close(native.listenUnix(at, "dgram", { backlog: 1 })),
    ],
    ["of another type", "EPROTOTYPE", (at: string) => own(native.listenUnix(at, "seqpacket", { backlog: 1 }))],
  ])("%s is told once", (_, code, make) => {
    make(path);
    const backend = backendAt(path);
    datagrams.configure([backend]);
    datagrams.appeared(path);
    expect(lines).toMatchObject([{ event: "instance.unreachable", fields: { backend: "app", path, code } }]);
    expect(datagrams.snapshot()).toMatchObject([{ state: "absent", lastFailure: code }]);
    datagrams.closeAll();
  });

  it("of a user who may not receive is not used; the backend's user may", async () => {
    if (process.getuid!() !== 0) throw new Error("this test gives sockets away: it needs root");
    const fd = own(native.listenUnix(path, "dgram", { backlog: 1, uid: 4242 }));
    const refused = backendAt(path);
    datagrams.configure([refused]);
    expect(lines).toMatchObject([{ event: "instance.unreachable", fields: { code: "EPERM" } }]);
    expect(datagrams.pass(await connection(), refused, 0, 5)).toBe(Passed.NOT_NOW);
    const allowed = backendAt(path, { uid: 4242 });
    datagrams.configure([allowed]);
    turn();
    expect(datagrams.pass(await connection(), allowed, 0, 5)).toBe(Passed.SENT);
    expect(received(fd)).toEqual(["hello"]);
    datagrams.closeAll();
  });

  it("that a new configuration has no more is left", () => {
    bind(path);
    datagrams.configure([backendAt(path)]);
    expect(datagrams.snapshot().length).toBe(1);
    datagrams.configure([]);
    expect(datagrams.snapshot()).toEqual([]);
  });
});
