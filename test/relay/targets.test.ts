import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Flag, MessageType } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import type { RelayTargetSettings } from "../../src/relay/settings.js";
import { Origin } from "../support/origin.js";
import { ownLoopback } from "../support/own-loopback.js";
import { RawClient } from "../support/raw-client.js";
import { RelayPlane } from "../support/relay-plane.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";

let plane: RelayPlane;
let origins: Origin[];
let clients: RawClient[];
let deaf: { listener: number; clients: RawClient[] } | undefined;

beforeEach(() => {
  plane = new RelayPlane();
  origins = [];
  clients = [];
  deaf = undefined;
});

afterEach(async () => {
  for (const client of [...clients, ...(deaf?.clients ?? [])]) client.close();
  for (const origin of origins) await origin.close();
  if (deaf !== undefined) native.close(deaf.listener);
  await plane.end();
});

async function named(name: string, port?: number): Promise<Origin> {
  const origin = await Origin.named(name, port, port === undefined ? undefined : ownLoopback);
  origins.push(origin);
  return origin;
}

/** A port at which nobody listens, until `named` does. */
function refusing(): RelayTargetSettings {
  const listener = native.listenTcp({ address: ownLoopback, port: 0, backlog: 1 });
  const { port } = native.localAddress(listener);
  native.close(listener);
  return { name: `${ownLoopback}:${port}`, addresses: [{ address: ownLoopback, port }] };
}

/** A port that answers no SYN: its backlog is full. */
async function silent(): Promise<RelayTargetSettings> {
  const listener = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 0 });
  const { port } = native.localAddress(listener);
  deaf = { listener, clients: [await RawClient.connect(port)] };
  return { name: `127.0.0.1:${port}`, addresses: [{ address: "127.0.0.1", port }] };
}

/** The name of the target that answers a new client; what ended it instead, if none does. */
async function ask(backend = "app"): Promise<string> {
  const client = await RawClient.connect(plane.port);
  clients.push(client);
  await plane.handOver(backend);
  client.send(Buffer.from("who?"));
  client.finish();
  const { received, end } = await client.reply;
  return received.length > 0 ? received.toString() : end;
}

async function askTimes(count: number): Promise<string[]> {
  const answers: string[] = [];
  for (let i = 0; i < count; i++) answers.push(await ask());
  return answers;
}

/** Milliseconds that a target rests after its first failure: then one client tries it again. */
const REST = 1000;

/** Has trials of a relay of their own, until one is done in a time that a busy machine may exceed: that one is checked. */
async function within(
  what: string,
  bound: number,
  trial: () => Promise<{ taken: number; check: () => void }>,
): Promise<void> {
  await below(what, bound, async (count) => {
    if (count > 1) {
      await plane.end();
      plane = new RelayPlane();
    }
    const { taken, check } = await trial();
    if (taken < bound) check();
    return taken;
  });
}

describe("several targets", () => {
  test("get connections in turn", async () => {
    const targets = [(await named("a")).target, (await named("b")).target, (await named("c")).target];
    await plane.start([{ name: "app", targets }]);
    expect(await askTimes(6)).toEqual(["a", "b", "c", "a", "b", "c"]);
    expect(plane.targets.map(({ connections }) => connections)).toEqual([2, 2, 2]);
  });

  test("by their connections, if asked for", async () => {
    const [a, b] = [await named("a"), await named("b")];
    await plane.start([{ name: "app", targets: [a.target, b.target], balance: "least-connections" }]);
    const first = await RawClient.connect(plane.port);
    clients.push(first);
    await plane.handOver("app");
    await until("the first to be there", () => a.sockets.length + b.sockets.length === 1);
    const other = a.sockets.length === 1 ? "b" : "a";
    expect(await askTimes(3)).toEqual([other, other, other]);
  });
});

describe("a target that refuses", () => {
  test("is passed over while it rests, said once, and counted", async () => {
    const bad = refusing();
    const targets = [bad, (await named("b")).target];
    await within("milliseconds of its rest", REST, async () => {
      await plane.start([{ name: "app", targets }]);
      const begun = performance.now();
      const answers = await askTimes(6);
      const { fields } = await plane.logged("target.failed");
      const [status] = await plane.snapshot();
      const seen = { targets: plane.targets, totals: plane.totals, reports: [...plane.reports] };
      const check = () => {
        expect(answers).toEqual(Array(6).fill("b"));
        expect(seen.targets[0]).toMatchObject({ connections: 0, connect_failures: 1, retried: 1, fallback: 0 });
        expect(seen.targets[1]).toMatchObject({ connections: 6, connect_failures: 0 });
        expect(seen.totals.retried).toBe(1);
        expect(fields).toEqual({ backend: "app", target: bad.name, reason: "ECONNREFUSED", unsaid: 0 });
        expect(seen.reports.filter((each) => each.type === "targetFailed")).toEqual([
          { type: "targetFailed", backend: "app", target: bad.name, reason: "ECONNREFUSED" },
        ]);
        expect(status).toMatchObject({ target: bad.name, active: 0, failures: 1, lastFailure: "ECONNREFUSED" });
        expect(status!.resting).toBeGreaterThan(0);
      };
      return { taken: performance.now() - begun, check };
    });
  });

  test("is tried again when its rest is over", async () => {
    const bad = refusing();
    const { port } = bad.addresses[0] as { port: number };
    await plane.start([{ name: "app", targets: [bad, (await named("b")).target] }]);
    expect(await askTimes(2)).toEqual(["b", "b"]);
    await named("back", port);
    await until("the target to get a connection", async () => (await ask()) === "back");
    await until("its failures to be forgotten", async () => (await plane.snapshot())[0]!.failures === 0);
  });

  test("is tried nevertheless when all rest", async () => {
    const targets = [refusing(), refusing()];
    await plane.start([{ name: "app", targets }]);
    expect(await ask()).toBe("FIN");
    expect(await ask()).toBe("FIN");
    expect(plane.targets.map(({ connect_failures }) => connect_failures)).toEqual([2, 2]);
    // One of the two is the last of each connection's.
    expect(plane.targets[0]!.fallback + plane.targets[1]!.fallback).toBe(2);
    expect(plane.totals).toMatchObject({ retried: 2, refused: 2, connected: 0 });
  });

  test("and is back within `hold` has its client", async () => {
    const bad = refusing();
    const { port } = bad.addresses[0] as { port: number };
    await plane.start([{ name: "app", targets: [bad], hold: 20_000 }]);
    const answer = ask();
    await until("a failure", () => plane.targets[0]!.connect_failures >= 2);
    await named("back", port);
    expect(await answer).toBe("back");
    expect(plane.totals.refused).toBe(0);
  });

  test("holds a client no longer than `hold`", async () => {
    await plane.start([{ name: "app", targets: [refusing()], hold: 600 }]);
    let attempts = 0;
    // 100, 200 ms, and the next wait would end too late: the wait before, too, if one was long on a busy machine.
    for (let trial = 0; attempts < 3 && trial < 20; trial++) {
      const before = plane.targets[0]!.connect_failures;
      const begun = performance.now();
      expect(await ask()).toBe("FIN");
      attempts = plane.targets[0]!.connect_failures - before;
      expect(attempts).toBeLessThanOrEqual(3);
      expect(performance.now() - begun).toBeGreaterThan([0, 0, 90, 250][attempts]!);
    }
    expect(attempts).toBe(3);
  });

  test("whose client leaves meanwhile is not dialed for it any more", async () => {
    await plane.start([{ name: "app", targets: [refusing()], hold: 60_000 }]);
    const client = await RawClient.connect(plane.port);
    await plane.handOver("app", { flags: Flag.TLS });
    await until("a failure", () => plane.targets[0]!.connect_failures >= 1);
    client.close();
    await plane.idle();
    expect(plane.totals).toMatchObject({ client_gone: 1, refused: 0 });
  });
});

describe("a target that does not answer", () => {
  test("costs its client no more than connectTimeout", async () => {
    const targets = [await silent(), (await named("b")).target];
    await within("milliseconds of its rest", 290 + REST, async () => {
      await plane.start([{ name: "app", targets, connectTimeout: 300 }]);
      const begun = performance.now();
      const first = await ask();
      const waited = performance.now() - begun;
      const answers = [first, ...(await askTimes(2))];
      const [seen] = plane.targets;
      const { fields } = await plane.logged("target.failed");
      const check = () => {
        expect(answers).toEqual(["b", "b", "b"]);
        expect(waited).toBeGreaterThan(290);
        expect(seen).toMatchObject({ connect_timeouts: 1, connect_failures: 0, retried: 1 });
        expect(fields).toMatchObject({ reason: "no answer within connectTimeout" });
      };
      return { taken: performance.now() - begun, check };
    });
  });

  test("has its next address tried after a quarter of a second", async () => {
    const origin = await named("b");
    const { addresses } = await silent();
    const target = { name: "two.test:443", addresses: [...addresses, ...origin.target.addresses] };
    await plane.start([{ name: "app", targets: [target], connectTimeout: 60_000 }]);
    await below("milliseconds", 5000, async (count) => {
      const begun = performance.now();
      expect(await ask()).toBe("b");
      const taken = performance.now() - begun;
      expect(taken).toBeGreaterThan(240);
      expect(plane.targets[0]).toMatchObject({ connections: count, connect_failures: 0, connect_timeouts: 0 });
      return taken;
    });
  });
});

describe("a target's addresses", () => {
  test("that fail give way to the next at once", async () => {
    const origin = await named("b");
    const addresses = [...Array.from({ length: 100 }, () => refusing().addresses).flat(), ...origin.target.addresses];
    await plane.start([{ name: "app", targets: [{ name: "many.test:443", addresses }], connectTimeout: 60_000 }]);
    const begun = performance.now();
    expect(await ask()).toBe("b");
    // With a quarter of a second for each it would be 25.
    expect(performance.now() - begun).toBeLessThan(20_000);
    expect(plane.reports.some((each) => each.type === "targetFailed")).toBe(false);
  });

  test("may be told later, and change", async () => {
    const [a, b] = [await named("a"), await named("b")];
    const target = { name: "named.test:443", addresses: [] };
    await plane.start([{ name: "app", targets: [target], hold: 20_000 }]);
    const tell = (origin: Origin | undefined, failure: string) =>
      plane.command({
        type: "addresses",
        backend: "app",
        target: target.name,
        addresses: origin?.target.addresses ?? [],
        failure,
      });
    tell(undefined, "ENOTFOUND");
    const first = ask();
    const { message } = await plane.logged("target.failed");
    expect(message).toBe("target named.test:443 of backend app failed: no address: ENOTFOUND");
    tell(a, "");
    expect(await first).toBe("a");
    tell(b, "");
    expect(await ask()).toBe("b");
  });
});

describe("a reload", () => {
  test("whose folder is not there leaves the rest as it is, and is made good by the next one", async () => {
    const a = await named("a");
    const app = { name: "app", targets: [a.target] };
    await plane.start([app]);
    plane.reload([app, { name: "new", targets: [a.target], folder: "/nowhere/" }]);
    const { message } = await plane.logged("backend.unreachable");
    expect(message).toMatch(/^no door can reach backend new: .*nowhere/);
    expect(await ask()).toBe("a");
    await plane.configure([app, { name: "new", targets: [a.target] }]);
    expect(await ask("new")).toBe("a");
  });

  test("leaves connections with their targets, and counts them at those that stay", async () => {
    const [a, b] = [await named("a"), await named("b")];
    await plane.start([{ name: "app", targets: [a.target] }]);
    const client = await RawClient.connect(plane.port);
    clients.push(client);
    await plane.handOver("app");
    client.send(Buffer.from("x"));
    await until("the answer", () => client.socket.bytesRead === 1);
    await plane.configure([
      { name: "app", targets: [b.target, a.target] },
      { name: "new", targets: [b.target] },
    ]);
    expect(plane.targets.map(({ active }) => active)).toEqual([0, 1, 0]);
    expect(await ask("new")).toBe("b");
    await plane.configure([{ name: "new", targets: [b.target] }]);
    await plane.door("app").next(MessageType.DRAIN);
    plane.door("app").close();
    client.finish();
    expect((await client.reply).end).toBe("FIN");
    await plane.idle();
    expect(plane.totals).toMatchObject({ completed: 2, target_reset: 0 });
    expect(plane.targets).toMatchObject([{ active: 0 }]);
  });
});
