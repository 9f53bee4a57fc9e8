/** Limits that are reached, of the configuration and of the kernel: who is refused, and that others are not. */
import { createHash } from "node:crypto";
import { mkdirSync, readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DoorWorkers, unlimited, type WorkersOptions } from "../support/door-workers.js";
import { descriptorLimitOf, leaveDescriptors, limitDescriptors, processorShare } from "../support/process-limits.js";
import { program } from "../support/programs.js";
import { inParallel, type RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

/** A door that waits for descriptors may look for them now and then; a loop that never sleeps takes all of a processor. */
const BUSY = 0.5;

const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
  mkdirSync(`${scene.folder}/pool`, { mode: 0o755 });
});

afterEach(() => scene.end());

const configuration = () =>
  `backends: { app: { handoff: "${scene.folder}/pool/", hold: 10m, acknowledgeTimeout: 60s } }\nroutes: { app.test: app }\n`;
const instance = (name: string) => scene.backend({ kind: "raw", path: `${scene.folder}/pool/`, name });
const clients = (count: number) => Promise.all(Array.from({ length: count }, () => scene.client(hello)));
const rests = () => scene.door.log.filter((line) => line.event === "accept.rested");

/** The names of the instances that answered. */
async function answeredBy(asked: readonly RawClient[]): Promise<string[]> {
  const replies = await Promise.all(asked.map((client) => client.reply));
  return replies.map(({ received }) => JSON.parse(received.toString()).name);
}

describe("the door has few descriptors", () => {
  it.each([
    ["128 in all", 128, 1],
    ["128 in all for two workers", 128, 2],
    ["600 in all", 600, 1],
  ])(
    "%s: it holds what it can, the rest waits in the backlog, and all are answered",
    async (_title, limit, workers) => {
      await scene.startDoor(configuration(), { workers, prefix: [program("prlimit"), `--nofile=${limit}:${limit}`] });
      const asked = await clients(limit + 50);
      await until("each worker to rest", () => rests().length === workers);
      expect(rests()[0]).toMatchObject({ level: "error", message: "cannot accept now; clients wait in the backlog" });
      expect(await processorShare(scene.door.pid)).toBeLessThan(BUSY);
      await instance("app");
      expect(await answeredBy(asked)).toEqual(asked.map(() => "app"));
      expect(rests()).toHaveLength(workers);
      scene.idle += workers;
      const counters = await scene.counters();
      expect(counters).toMatchObject({ accepted: asked.length, acknowledged: asked.length, client_gone: 0, defect: 0 });
      expect(counters.accept_rested).toBeGreaterThanOrEqual(workers);
    },
  );

  it("and most of them are held when their hold ends all at once: those go to the fallback, the others stay", async () => {
    const b = (hold: string) => `backends:
  a: { handoff: "${scene.at("a")}", hold: 10m }
  b: { handoff: "${scene.at("b")}", hold: ${hold}, fallback: spare }
  spare: { handoff: "${scene.at("spare")}", hold: 10m }
routes: { a.test: a, b.test: b }
`;
    // Half of these are for clients.
    await scene.startDoor(b("10m"), { prefix: [program("prlimit"), "--nofile=400:400"] });
    const asked: RawClient[] = [];
    for (const serverName of ["a.test", "b.test"]) {
      const bytes = Buffer.concat([buildHello({ serverName }), Buffer.from("END\n")]);
      for (let i = 0; i < 90; i++) asked.push(await scene.client(bytes));
    }
    await scene.doorHas(180);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    scene.door.write(b("1s"));
    expect(await scene.door.reload()).toMatchObject({ event: "reloaded" });
    for (const name of ["spare", "a"]) await scene.raw(name);
    expect(await answeredBy(asked)).toEqual(asked.map((_, i) => (i < 90 ? "a" : "spare")));
    scene.idle += 2;
    expect(await scene.counters()).toMatchObject({ accepted: 180, acknowledged: 180, fallback: 90, defect: 0 });
  });

  it("clients come and go at the limit: it says so once", async () => {
    await scene.startDoor(configuration(), { prefix: [program("prlimit"), "--nofile=128:128"] });
    const asked = await clients(120);
    await until("the worker to rest", () => rests().length === 1);
    const held = scene.clientsOfDoor;
    // Each that leaves makes room for one of those in the backlog.
    for (const client of asked.slice(0, 10)) {
      client.reset();
      await until("another one to take its place", () => scene.clientsOfDoor === held);
    }
    expect(rests()).toHaveLength(1);
  });

  it("their number sinks to what it has open: nothing is lost, and its instances stay", async () => {
    await instance("app");
    await scene.startDoor(configuration(), { channels: 1 });
    const enough = descriptorLimitOf(scene.door.pid);
    leaveDescriptors(scene.door.pid, 0);
    const asked = await clients(20);
    await until("the worker to rest", () => rests().length === 1);
    // Longer than the second after which it looks for instances again.
    expect(await processorShare(scene.door.pid, 2500)).toBeLessThan(BUSY);
    expect(rests()).toHaveLength(1);
    limitDescriptors(scene.door.pid, enough);
    expect(await answeredBy(asked)).toEqual(asked.map(() => "app"));
    const counters = await scene.counters();
    expect(counters).toMatchObject({ acknowledged: asked.length, channels_ready: 1, defect: 0 });
    expect(counters.accept_rested).toBeGreaterThan(1);
  });
});

describe("an instance has no descriptors left", () => {
  it("it refuses, the others serve all, and it serves again when it has some", async () => {
    const short = await instance("short");
    await instance("other");
    await scene.startDoor(configuration(), { channels: 2 });
    const enough = descriptorLimitOf(short.pid);
    leaveDescriptors(short.pid, 0);
    const asked = await clients(40);
    expect(new Set(await answeredBy(asked))).toEqual(new Set(["other"]));
    limitDescriptors(short.pid, enough);
    await until("the instance that was short to serve", async () => {
      return (await answeredBy(await clients(1)))[0] === "short";
    });
    const counters = await scene.counters();
    const refusals = scene.door.log.filter((line) => line.event === "handoff.refused");
    expect(refusals.length).toBeGreaterThan(0);
    for (const line of refusals) {
      expect(line).toMatchObject({ pid: short.pid, message: "instance refused: no descriptor" });
    }
    expect(counters).toMatchObject({
      refused_by_instance: refusals.length,
      redelivered: refusals.length,
      lost_after_read: 0,
      client_gone: 0,
      defect: 0,
    });
  });

  it("it is the only one: its clients wait for another one", async () => {
    const short = await instance("short");
    await scene.startDoor(configuration(), { channels: 1 });
    const enough = descriptorLimitOf(short.pid);
    leaveDescriptors(short.pid, 0);
    const asked = await clients(10);
    await until("a refusal", () => scene.door.log.some((line) => line.event === "handoff.refused"));
    expect(await processorShare(scene.door.pid)).toBeLessThan(BUSY);
    await instance("other");
    expect(await answeredBy(asked)).toEqual(asked.map(() => "other"));
    limitDescriptors(short.pid, enough);
    scene.idle += 1;
    expect(await scene.counters()).toMatchObject({ acknowledged: 10, lost_after_read: 0, client_gone: 0, defect: 0 });
  });
});

describe("the configuration's limits", () => {
  let door: DoorWorkers;
  /** A client that has begun its hello. */
  const begun = (localAddress?: string) => door.client(hello.subarray(0, 9), localAddress);
  const limitLines = () => door.log.filter(({ event }) => event === "limit.reached");
  const served = async (client: RawClient) => JSON.parse((await client.reply).received.toString()).name;
  const start = (limits: Partial<typeof unlimited>, over: Partial<WorkersOptions> = {}) =>
    door.start({ workers: 2, ...options(limits), ...over });
  const options = (limits: Partial<typeof unlimited>): WorkersOptions => ({
    backends: [door.handoff("app")],
    routes: { "app.test": 0 },
    settings: { limits: { ...unlimited, ...limits } },
  });

  beforeEach(() => {
    door = new DoorWorkers();
  });

  afterEach(() => door.end());

  it("waiting: one more is closed, whoever it is; who has sent a whole hello is served", async () => {
    await door.instance("app");
    await start({ waiting: 4 });
    await door.channels(2);
    const waiting = [];
    for (let i = 1; i <= 4; i++) waiting.push(await begun(`127.0.0.${i}`));
    await door.gauge("waiting", 4);
    for (let i = 5; i <= 8; i++) expect((await (await begun(`127.0.0.${i}`)).reply).received).toHaveLength(0);
    expect(await served(await door.client(hello))).toBe("app");
    // One that leaves, or completes its hello, makes room for another.
    waiting[0]!.reset();
    waiting[1]!.send(hello.subarray(9));
    expect(await served(waiting[1]!)).toBe("app");
    await door.gauge("waiting", 2);
    await begun();
    await begun();
    await door.gauge("waiting", 4);
    await (await begun()).reply;
    expect(door.workers.totals).toMatchObject({ waiting_full: 5, client_full: 0, client_gone: 1, defect: 0 });
    expect(limitLines()).toMatchObject([{ level: "warn", fields: { limit: "limits.waiting", value: 4 } }]);
    const refused = (await door.eventsOf(7)).filter(({ outcome }) => outcome === "refused");
    expect(refused.map(({ reason }) => reason)).toEqual(Array(5).fill("waiting_full"));
  });

  it("waiting: those whose time is over make room, and a reload does not forget those that wait", async () => {
    await start({ waiting: 2 }, { settings: { limits: { ...unlimited, waiting: 2 }, helloTimeout: 6000 } });
    const first = [await begun(), await begun()];
    await door.gauge("waiting", 2);
    await door.configure(options({ waiting: 3 }));
    await begun();
    await door.gauge("waiting", 3);
    await (await begun()).reply;
    expect(door.workers.totals).toMatchObject({ waiting_full: 1 });
    for (const client of first) await client.reply;
    await door.gauge("waiting", 1);
    await begun();
    await begun();
    await door.gauge("waiting", 3);
    expect(door.workers.totals).toMatchObject({ waiting_full: 1, hello_timeout: 2 });
  });

  it("a hello's time that a reload shortens is up first, although others began before", async () => {
    await start({}, { workers: 1 });
    await begun();
    await door.gauge("waiting", 1);
    await door.configure({ ...options({}), settings: { limits: unlimited, helloTimeout: 50 } });
    await (await begun()).reply;
    await door.gauge("waiting", 1);
    expect(door.workers.totals).toMatchObject({ hello_timeout: 1 });
  });

  it("waitingPerClient: one more of that client is closed, in whichever worker; others may wait", async () => {
    await start({ waitingPerClient: 3 });
    const waiting = [];
    for (let i = 0; i < 3; i++) waiting.push(await begun("127.0.0.2"));
    await door.gauge("waiting", 3);
    for (let i = 0; i < 5; i++) expect((await (await begun("127.0.0.2")).reply).received).toHaveLength(0);
    for (let i = 0; i < 3; i++) await begun("127.0.0.3");
    await door.gauge("waiting", 6);
    waiting[0]!.reset();
    await door.gauge("waiting", 5);
    await begun("127.0.0.2");
    await door.gauge("waiting", 6);
    expect(door.workers.totals).toMatchObject({ client_full: 5, waiting_full: 0, defect: 0 });
    expect(limitLines()).toMatchObject([
      { fields: { limit: "limits.waitingPerClient", value: 3, client: "127.0.0.2" } },
    ]);
  });

  it("held: one more is refused, of all backends together", async () => {
    await start(
      {},
      {
        backends: [door.handoff("app"), door.handoff("other")],
        routes: { "app.test": 0, "other.test": 1 },
        settings: { limits: { ...unlimited, held: 3 } },
      },
    );
    const other = Buffer.concat([buildHello({ serverName: "other.test" }), Buffer.from("END\n")]);
    const held = [await door.client(hello), await door.client(hello), await door.client(other)];
    await door.gauge("held", 3);
    for (const bytes of [hello, other]) await (await door.client(bytes)).reply;
    expect(door.workers.totals).toMatchObject({ held: 3, hold_full: 2 });
    expect(limitLines()).toMatchObject([{ fields: { limit: "limits.held", value: 3 } }]);
    held[2]!.reset();
    await door.gauge("held", 2);
    held.push(await door.client(hello));
    await door.gauge("held", 3);
    await door.instance("app");
    for (const client of held.filter((_, i) => i !== 2)) expect(await served(client)).toBe("app");
  });

  it("maxHeldPerClient: one more of that client is refused by that backend, in whichever worker", async () => {
    await start(
      {},
      {
        backends: [door.handoff("app", { maxHeldPerClient: 2 }), door.handoff("other", { maxHeldPerClient: 2 })],
        routes: { "app.test": 0, "other.test": 1 },
      },
    );
    const other = buildHello({ serverName: "other.test" });
    const held = [await door.client(hello, "127.0.0.2"), await door.client(hello, "127.0.0.2")];
    await door.gauge("held", 2);
    for (let i = 0; i < 6; i++) await (await door.client(hello, "127.0.0.2")).reply;
    await door.client(hello, "127.0.0.3");
    await door.client(other, "127.0.0.2");
    await door.gauge("held", 4);
    expect(door.workers.totals).toMatchObject({ hold_full: 6 });
    expect(limitLines()).toMatchObject([
      { fields: { limit: "backends.app.maxHeldPerClient", value: 2, client: "127.0.0.2" } },
    ]);
    held[0]!.reset();
    await door.gauge("held", 3);
    await door.client(hello, "127.0.0.2");
    await door.gauge("held", 4);
  });

  it("acceptRate: a client that comes faster is reset, others are served", async () => {
    await door.instance("app");
    await start({ acceptRate: 1e-6, acceptBurst: 4 });
    await door.channels(2);
    const ends: string[] = [];
    for (let i = 0; i < 10; i++) {
      const { received, end } = await (await door.client(hello, "127.0.0.2")).reply;
      ends.push(received.length > 0 ? "served" : end);
    }
    expect(ends).toEqual([...Array(5).fill("served"), ...Array(5).fill("ECONNRESET")]);
    for (let i = 0; i < 5; i++) expect(await served(await door.client(hello, "127.0.0.3"))).toBe("app");
    // A client may have its answer before the acknowledgement is read.
    await until("10 acknowledgements", () => door.workers.totals.acknowledged === 10);
    expect(door.workers.totals).toMatchObject({ rate_limited: 5, acknowledged: 10, defect: 0 });
    expect(limitLines()).toMatchObject([{ fields: { limit: "limits.acceptRate", client: "127.0.0.2" } }]);
    const events = await door.eventsOf(15);
    expect(events.filter(({ reason }) => reason === "rate_limited")).toHaveLength(5);
    // A reload may take it away.
    await door.configure(options({}));
    expect(await served(await door.client(hello, "127.0.0.2"))).toBe("app");
  });

  it("hello: a reload raises and lowers it", async () => {
    await door.instance("app");
    const withLimit = (helloLimit: number) => ({ ...options({}), settings: { helloLimit } });
    await door.start(withLimit(1024));
    await door.channels(1);
    const end = Buffer.from("END\n");
    const long = Buffer.concat([
      buildHello({ serverName: "app.test", totalLength: 60_000, recordSizes: [16_000] }),
      end,
    ]);
    const answer = async () => (await (await door.client(long)).reply).received;
    const tooLong = Buffer.from([21, 3, 3, 0, 2, 2, 47]); // illegal_parameter
    expect(await answer()).toEqual(tooLong);
    await door.configure(withLimit(65_536));
    const digest = createHash("sha256").update(long).digest("hex");
    expect(JSON.parse((await answer()).toString())).toMatchObject({ count: long.length, sha256: digest });
    await door.configure(withLimit(59_999));
    expect(await answer()).toEqual(tooLong);
    expect(door.workers.totals).toMatchObject({ hello_invalid: 2, acknowledged: 1, defect: 0 });
  });
});

describe("ten thousand clients that fall silent after a byte", () => {
  it("take little memory each, and leave the door to others", async () => {
    await instance("app");
    await scene.startDoor(`${configuration()}timeouts: { hello: 10m }\n`, { channels: 1 });
    const before = residentBytes(scene.door.pid);
    const addresses = Array.from({ length: 10_000 }, (_, i) => `127.0.1.${1 + (i % 20)}`);
    await inParallel(addresses, 200, async (address) => {
      await scene.client(hello.subarray(0, 1), address);
    });
    await scene.doorHas(10_000);
    expect((residentBytes(scene.door.pid) - before) / 10_000).toBeLessThan(2048);
    // One more would wait too: it is closed. A whole hello need not wait.
    expect((await (await scene.client(hello.subarray(0, 9), "127.0.2.1")).reply).received).toHaveLength(0);
    expect(await answeredBy(await clients(5))).toEqual(Array(5).fill("app"));
    for (const client of scene.clients) client.close();
    expect(await scene.counters()).toMatchObject({ waiting_full: 1, client_full: 0, client_gone: 10_000, defect: 0 });
  });
});

/** Memory of a process that is in use (proc_pid_statm(5)). */
function residentBytes(pid: number): number {
  return Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]) * 4096;
}
