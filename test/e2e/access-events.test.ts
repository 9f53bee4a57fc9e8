/** What the workers tell the control plane of each connection, and of themselves. */
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sumBackendCounters } from "../../src/door/backend-counters.js";
import { sumLatencies } from "../../src/door/latency.js";
import type { AccessLogSettings, BackendSettings } from "../../src/door/settings.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { DoorWorkers, type WorkersOptions } from "../support/door-workers.js";
import { RawClient } from "../support/raw-client.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";
import { buildHello, HANDSHAKE } from "../tls/hello-builder.js";

const END = Buffer.from("END\n");
const hello = Buffer.concat([buildHello({ serverName: "app.test" }), END]);

let door: DoorWorkers;
let rogue: Child | undefined;

beforeEach(() => {
  door = new DoorWorkers();
});

afterEach(async () => {
  await rogue?.end("SIGKILL");
  rogue = undefined;
  await door.end();
});

const backendCounters = (backends: number) =>
  sumBackendCounters(
    door.workers.backendMemories.map(({ counters }) => counters),
    backends,
  );
const latencies = (backends: number) =>
  sumLatencies(
    door.workers.backendMemories.map(({ latencies }) => latencies),
    backends,
  );
const log = (mode: AccessLogSettings["mode"], sample = 1) => ({ settings: { accessLog: { mode, sample } } });

describe("an event", () => {
  it("of a connection that is handed over says who came, where it went, and how long it took", async () => {
    const options = { backends: [door.handoff("other"), door.handoff("app")], routes: { "*.test": 1 } };
    const instance = await door.instance("app");
    await door.start(options);
    await door.channels(1);
    const before = Date.now();
    const bytes = buildHello({ serverName: "WWW.app.test", alpn: ["h2\xff", "http/1.1"], versions: [0x0304], ech: 32 });
    const client = await door.client(Buffer.concat([bytes, END]), "127.0.0.9");
    await client.reply;
    const [event] = await door.eventsOf(1);
    expect(event).toMatchObject({
      generation: 1,
      client: { family: "IPv4", address: "127.0.0.9", port: client.socket.localPort },
      listener: 0,
      serverName: "www.app.test",
      alpn: "h2\xff",
      tlsVersion: 0x0304,
      ech: true,
      route: { kind: 1, length: ".test".length },
      backend: 1,
      pid: instance.pid,
      outcome: "handed_over",
      reason: "",
      held: 0,
    });
    expect(event!.acceptedAt).toBeGreaterThan(before - 1000);
    expect(event!.acceptedAt).toBeLessThan(Date.now() + 1000);
    expect(event!.handoff).toBeGreaterThan(0);
    expect(event!.total).toBeGreaterThanOrEqual(event!.handoff);
    expect(event!.total).toBeLessThan(60_000);
    expect(backendCounters(2)[1]).toMatchObject({ handed_over: 1, acknowledged: 1, held: 0, client_gone: 0 });
    expect(backendCounters(2)[0]).toMatchObject({ handed_over: 0, acknowledged: 0 });
    expect(latencies(2)[1]).toMatchObject({ count: 1, sum: event!.total });
    expect(latencies(2)[0]).toMatchObject({ count: 0, sum: 0 });
  });

  it("of each of many connections has an id of its own, in the order of their ends", async () => {
    await door.instance("app");
    await door.start({ workers: 2, backends: [door.handoff("app")], routes: { "app.test": 0 } });
    await door.channels(2);
    const clients = await Promise.all(Array.from({ length: 200 }, () => door.client(hello)));
    await Promise.all(clients.map(({ reply }) => reply));
    const events = await door.eventsOf(200);
    expect(new Set(events.map(({ connectionId }) => connectionId)).size).toBe(200);
    expect(new Set(events.map(({ client }) => client!.port))).toEqual(
      new Set(clients.map(({ socket }) => socket.localPort)),
    );
    expect(new Set(events.map(({ outcome }) => outcome))).toEqual(new Set(["handed_over"]));
  });

  it("tells how long a connection waited for its hello, and was held", async () => {
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 } });
    const client = await door.client(hello.subarray(0, 20));
    await door.gauge("waiting", 1);
    const begun = performance.now();
    await new Promise((resolve) => setTimeout(resolve, 30));
    const waited = performance.now() - begun;
    client.send(hello.subarray(20));
    await door.gauge("held", 1);
    expect(door.gauges).toMatchObject({ connections: 1, waiting: 0, unacknowledged: 0, parting: 0 });
    await new Promise((resolve) => setTimeout(resolve, 30));
    await door.instance("app");
    await client.reply;
    const [event] = await door.eventsOf(1);
    expect(event!.waited).toBeGreaterThanOrEqual(waited - 1);
    expect(event!.held).toBeGreaterThanOrEqual(29);
    expect(event!.total).toBeGreaterThanOrEqual(event!.waited + event!.held + event!.handoff - 0.001);
    expect(backendCounters(1)[0]).toMatchObject({ held: 1, acknowledged: 1 });
    await door.gauge("connections", 0);
  });

  const reject: BackendSettings = { kind: "reject", name: "no", reject: "access_denied" };
  it.each([
    ["no route", buildHello({ serverName: "x.example" }), { reason: "no_route", serverName: "x.example", backend: -1 }],
    ["a backend that rejects", buildHello({ serverName: "no.test" }), { reason: "rejected", backend: 1 }],
    ["no TLS", Buffer.from("GET / HTTP/1.1\r\n"), { reason: "not_tls", route: { kind: -1, length: 0 } }],
    ["a malformed hello", Uint8Array.of(HANDSHAKE, 3, 1, 0, 0), { reason: "zero_length_record", serverName: "" }],
  ])("of a connection that is refused for %s gives the reason", async (_title, bytes, expected) => {
    await door.start({ backends: [door.handoff("app"), reject], routes: { "app.test": 0, "no.test": 1 } });
    const client = await door.client(bytes);
    await client.reply;
    const [event] = await door.eventsOf(1);
    expect(event).toMatchObject({ outcome: "refused", pid: -1, handoff: 0, ...expected });
    if (expected.reason === "rejected") expect(backendCounters(2)[1]).toMatchObject({ rejected: 1 });
  });

  it("of a connection without an instance gives the reason: the hold ended, after the fallback's too", async () => {
    const backends = [door.handoff("app", { hold: 30, fallback: 1 }), door.handoff("second", { hold: 40 })];
    await door.start({ backends, routes: { "app.test": 0 } });
    await (await door.client(hello)).reply;
    const [event] = await door.eventsOf(1);
    expect(event).toMatchObject({ outcome: "refused", reason: "hold_timeout", backend: 1, route: { kind: 2 } });
    expect(event!.held).toBeGreaterThanOrEqual(70);
    expect(backendCounters(2)).toMatchObject([
      { held: 1, fallback: 1, hold_timeout: 0 },
      { held: 1, fallback: 0, hold_timeout: 1 },
    ]);
  });

  it("of a client that closes says where it was", async () => {
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 } });
    const [silent, held] = [await door.client(hello.subarray(0, 9)), await door.client(hello)];
    await door.gauge("waiting", 1);
    await door.gauge("held", 1);
    silent.reset();
    expect((await door.eventsOf(1))[0]).toMatchObject({ outcome: "client_gone", reason: "client_gone", backend: -1 });
    held.reset();
    expect((await door.eventsOf(2))[1]).toMatchObject({ outcome: "client_gone", serverName: "app.test", backend: 0 });
    expect(backendCounters(1)[0]).toMatchObject({ held: 1, client_gone: 1 });
  });

  it("of a client whose hello is not complete in time", async () => {
    const options: WorkersOptions = { backends: [door.handoff("app")], routes: {}, settings: { helloTimeout: 30 } };
    await door.start(options);
    await (await door.client(hello.subarray(0, 9))).reply;
    const [event] = await door.eventsOf(1);
    expect(event).toMatchObject({ outcome: "timeout", reason: "hello_timeout", serverName: "", backend: -1 });
    expect(event!.waited).toBeGreaterThanOrEqual(30);
    expect(event!.waited).toBe(event!.total);
  });

  it("of a connection that an instance touched and did not take names the instance", async () => {
    const program = fileURLToPath(new URL("../fixtures/rogue.mjs", import.meta.url));
    const argument = { path: `${door.folder}/app.sock`, behaviour: "reads a byte and dies" };
    rogue = new Child(process.execPath, [program, JSON.stringify(argument)]);
    await rogue.line("the rogue's being ready", (line) => line.startsWith('{"ready"'));
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 } });
    await door.channels(1);
    await (await door.client(hello)).reply;
    const [event] = await door.eventsOf(1);
    expect(event).toMatchObject({ outcome: "lost", reason: "lost_after_read", pid: rogue.pid, serverName: "app.test" });
    expect(backendCounters(1)[0]).toMatchObject({ handed_over: 1, lost_after_read: 1, acknowledged: 0 });
  });

  it("of connections that a shutdown abandons", async () => {
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 } });
    await door.client(hello);
    await door.client(hello.subarray(0, 9));
    await door.gauge("held", 1);
    await door.gauge("waiting", 1);
    expect(await door.workers.drain(50, () => {})).toBe(2);
    for (const event of await door.eventsOf(2))
      expect(event).toMatchObject({ outcome: "refused", reason: "abandoned" });
  });
});

describe("which connections have events", () => {
  /** Names of the events after `served` handed over connections and one that is refused. */
  async function recorded(options: Partial<WorkersOptions>, served: number): Promise<string[]> {
    await door.instance("app");
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 }, ...options });
    await door.channels(1);
    for (let i = 0; i < served; i++) await (await door.client(hello)).reply;
    await until("the acknowledgements", () => door.workers.totals.acknowledged === served);
    await (await door.client(buildHello({ serverName: "none.test" }))).reply;
    await until("the refusal", () => door.workers.totals.no_route === 1);
    await door.gauge("connections", 0);
    return (await door.eventsOf(0)).map(({ outcome }) => outcome);
  }

  it("off: none", async () => {
    expect(await recorded(log("off"), 3)).toEqual([]);
  });

  it("errors: those that were not handed over", async () => {
    expect(await recorded(log("errors"), 3)).toEqual(["refused"]);
  });

  it("sample: one in so many of those that were handed over, and all others", async () => {
    expect(await recorded(log("sample", 3), 7)).toEqual(["handed_over", "handed_over", "refused"]);
  });

  it("follows a reload, between a connection's beginning and its end too", async () => {
    const options = { backends: [door.handoff("app")], routes: { "app.test": 0 } };
    await door.start({ ...options, ...log("off") });
    const client = await door.client(hello);
    await door.gauge("held", 1);
    await door.configure({ ...options, ...log("all") });
    await door.instance("app");
    await client.reply;
    expect(await door.eventsOf(1)).toMatchObject([{ outcome: "handed_over", generation: 2, serverName: "app.test" }]);
  });
});

describe("a reload", () => {
  it("moves what is outstanding to the index that its backend has then, and forgets it where there is none", async () => {
    const instances = [await door.instance("app"), await door.instance("gone")];
    const backends = [door.handoff("gone"), door.handoff("app")];
    await door.start({ backends, routes: { "gone.test": 0, "app.test": 1 } });
    await door.channels(2);
    for (const { pid } of instances) process.kill(pid, "SIGSTOP");
    const clients = [
      await door.client(hello),
      await door.client(Buffer.concat([buildHello({ serverName: "gone.test" }), END])),
    ];
    await door.gauge("unacknowledged", 2);
    const before = door.workers.backendMemories;
    await door.configure({ backends: [door.handoff("app"), door.handoff("new")], routes: { "app.test": 0 } });
    for (const { pid } of instances) process.kill(pid, "SIGCONT");
    for (const client of clients) await client.reply;
    const events = await door.eventsOf(2);
    expect(new Map(events.map(({ serverName, backend }) => [serverName, backend]))).toEqual(
      new Map([
        ["app.test", 0],
        ["gone.test", -1],
      ]),
    );
    expect(backendCounters(2)).toMatchObject([{ handed_over: 0, acknowledged: 1 }, { acknowledged: 0 }]);
    expect(latencies(2).map(({ count }) => count)).toEqual([1, 0]);
    const earlier = before.map(({ counters }) => counters);
    expect(sumBackendCounters(earlier, 2)).toMatchObject([
      { handed_over: 1, acknowledged: 0 },
      { handed_over: 1, acknowledged: 0 },
    ]);
  });
});

describe("a reload that changes the listeners", () => {
  it("moves connections to the index that their listener has then, and forgets it where that is gone", async () => {
    const another = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 16, deferAccept: 1 });
    try {
      const options = { backends: [door.handoff("app")], routes: { "app.test": 0 } };
      await door.start({ ...options, listeners: [another] });
      const kept = await door.client(hello);
      const left = await RawClient.connect(native.localAddress(another).port);
      left.send(hello);
      await door.gauge("held", 2);
      await door.configure(options);
      await door.gauge("held", 2);
      kept.reset();
      expect((await door.eventsOf(1))[0]).toMatchObject({ generation: 2, listener: 0 });
      left.reset();
      expect((await door.eventsOf(2))[1]).toMatchObject({ generation: 2, listener: -1 });
    } finally {
      native.close(another);
    }
  });
});

describe("a worker", () => {
  it("repeats a beat, and tells how busy it is", async () => {
    await door.instance("app");
    await door.start({ backends: [door.handoff("app")], routes: { "app.test": 0 } });
    await door.channels(1);
    door.workers.command({ type: "ping", beat: 7 });
    await door.gauge("heartbeat", 7);
    // It sleeps, since nothing comes; one that is woken may have to wait for a processor.
    await below("share of the time", 0.5, async (count) => {
      const [before, begun] = [door.gauges.busy_milliseconds, performance.now()];
      await new Promise((resolve) => setTimeout(resolve, 300));
      door.workers.command({ type: "ping", beat: 7 + count });
      await door.gauge("heartbeat", 7 + count);
      return (door.gauges.busy_milliseconds - before) / (performance.now() - begun);
    });
    const busy = door.gauges.busy_milliseconds;
    for (let i = 0; i < 50; i++) await (await door.client(hello)).reply;
    expect(door.gauges.busy_milliseconds).toBeGreaterThan(busy);
  });

  it("tells what waits at an instance, and what was revoked", async () => {
    const instance = await door.instance("app");
    const options = { hold: 0, acknowledgeTimeout: 500 };
    await door.start({ backends: [door.handoff("app", options)], routes: { "app.test": 0 } });
    await door.channels(1);
    instance.signal("SIGSTOP");
    const clients = [await door.client(), await door.client()];
    for (const client of clients) client.send(hello);
    for (const client of clients) await client.reply;
    instance.signal("SIGCONT");
    expect(backendCounters(1)[0]).toMatchObject({ handed_over: 2, revoked: 1, redelivered: 2, hold_timeout: 2 });
    await door.gauge("unacknowledged", 0);
  });
});
