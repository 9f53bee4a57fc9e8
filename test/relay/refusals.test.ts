import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { Flag } from "../../src/handoff/layout.js";
import type { RelayFallback } from "../../src/relay/settings.js";
import { alertRecord } from "../../src/tls/alerts.js";
import { Origin } from "../support/origin.js";
import { RawClient } from "../support/raw-client.js";
import { RelayPlane, target } from "../support/relay-plane.js";
import { deadPort } from "../support/relay-scene.js";
import { until } from "../support/wait.js";

let plane: RelayPlane;
let origin: Origin | undefined;
let client: RawClient;
/** A port at which nobody listens. */
let closed: number;

beforeEach(async () => {
  plane = new RelayPlane();
  origin = undefined;
  closed = await deadPort();
});

afterEach(async () => {
  client.close();
  await origin?.close();
  await plane.end();
});

/** What a client gets that sends more than it will ever get an answer to. */
async function ask(flags: number = Flag.TLS): Promise<{ received: Buffer; end: string }> {
  client = await RawClient.connect(plane.port);
  client.send(Buffer.alloc(4096, 0x16));
  await plane.handOver("app", { flags, name: "app.test" });
  return client.reply;
}

/** A fallback that takes sockets over: fixtures/relay-worker.mjs knows the path. */
function instances(path: string, change: { hold?: number; fallback?: RelayFallback } = {}): RelayFallback {
  const fallback: RelayFallback = { kind: "reject", reject: "internal_error" };
  return { kind: "handoff", backend: "b", path, uid: -1, acknowledgeTimeout: 1000, hold: 0, fallback, ...change };
}

describe("without a target that takes it", () => {
  test("a TLS client is sent an alert, unread bytes or not", async () => {
    await plane.start([{ name: "app", targets: [target(closed)] }]);
    expect(await ask()).toEqual({ received: Buffer.from(alertRecord("internal_error")), end: "FIN" });
    client.close();
    await plane.idle();
    expect(plane.totals).toMatchObject({ received: 1, refused: 1, fallback: 0, connected: 0 });
  });

  test("the alert is the fallback's", async () => {
    const fallback: RelayFallback = { kind: "reject", reject: "unrecognized_name" };
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask()).received).toEqual(Buffer.from(alertRecord("unrecognized_name")));
  });

  test("an HTTP client is answered", async () => {
    await plane.start([{ name: "app", targets: [target(closed)] }]);
    const { received, end } = await ask(Flag.HTTP);
    expect(received.toString()).toMatch(/^HTTP\/1\.1 503 Service Unavailable\r\n.*\r\n\r\n$/s);
    expect(end).toBe("FIN");
  });

  test("an HTTP client is answered as the fallback says", async () => {
    const fallback: RelayFallback = { kind: "reject", reject: "unrecognized_name" };
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask(Flag.HTTP)).received.toString()).toMatch(/^HTTP\/1\.1 421 /);
  });

  test("another client is sent nothing", async () => {
    await plane.start([{ name: "app", targets: [target(closed)] }]);
    expect(await ask(0)).toEqual({ received: Buffer.alloc(0), end: "FIN" });
  });

  for (const [reject, end] of [
    ["close", "FIN"],
    ["reset", "ECONNRESET"],
  ] as const) {
    test(`it is ended by ${reject}, if that is configured`, async () => {
      await plane.start([{ name: "app", targets: [target(closed)], fallback: { kind: "reject", reject } }]);
      expect(await ask()).toEqual({ received: Buffer.alloc(0), end });
    });
  }

  test("a client that does not close is closed after a second", async () => {
    await plane.start([{ name: "app", targets: [target(closed)] }]);
    await ask();
    await until("the client to be parting", () => plane.gauges.parting === 1 || plane.gauges.connections === 0);
    await plane.idle();
  });
});

test("a refused client whose door keeps its copy costs nothing after its end", async () => {
  await plane.start([{ name: "app", targets: [target(closed)] }]);
  client = await RawClient.connect(plane.port);
  const copy = await plane.accept();
  plane.door("app").handOver(copy, { flags: Flag.TLS });
  expect((await client.reply).end).toBe("FIN");
  await plane.idle();
  client.send(Buffer.from("more, which nobody reads"));
  await plane.sleeps();
  plane.release(copy);
});

describe("the fallback", () => {
  test("is another backend's targets", async () => {
    origin = await Origin.named("other");
    await plane.start([
      { name: "app", targets: [target(closed)], fallback: { kind: "relay", backend: 1 } },
      { name: "sorry", targets: [origin.target] },
    ]);
    client = await RawClient.connect(plane.port);
    await plane.handOver("app");
    client.socket.end("who?");
    expect((await client.reply).received.toString()).toBe("other");
    expect(plane.totals).toMatchObject({ fallback: 1, connected: 1, refused: 0 });
    expect(plane.targets).toMatchObject([
      { fallback: 1, connections: 0 },
      { fallback: 0, connections: 1 },
    ]);
  });

  test("stays what it was for who waits, when a reload moves the backends", async () => {
    origin = await Origin.named("sorry");
    const wrong = await Origin.named("wrong");
    const sorry = { name: "sorry", targets: [origin.target] };
    const other = { name: "other", targets: [wrong.target] };
    const fallback: RelayFallback = { kind: "relay", backend: 1 };
    await plane.start([{ name: "app", targets: [target(closed)], hold: 1000, fallback }, sorry, other]);
    client = await RawClient.connect(plane.port);
    await plane.handOver("app");
    await until("the client to wait", () => plane.targets[0]!.connect_failures > 0);
    await plane.configure([sorry, other]);
    client.socket.end("who?");
    expect((await client.reply).received.toString()).toBe("sorry");
    await wrong.close();
  });

  test("in a circle ends", async () => {
    await plane.start([
      { name: "app", targets: [target(closed)], fallback: { kind: "relay", backend: 1 } },
      { name: "sorry", targets: [target(closed)], fallback: { kind: "relay", backend: 0 } },
    ]);
    expect((await ask()).received).toEqual(Buffer.from(alertRecord("internal_error")));
  });

  test("is another backend's instance, which gets the socket unread and the whole handoff", async () => {
    const fallback = instances("take");
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask()).received.toString()).toBe("delivered");
    const { fields } = await plane.logged("test.delivered");
    expect(fields).toMatchObject({ backend: "b", path: "take" });
    expect(fields.length).toBeGreaterThan(40);
    await plane.idle();
    expect(plane.totals).toMatchObject({ fallback: 1, delivered: 1, refused: 0 });
  });

  test("that takes nothing leaves an alert", async () => {
    const fallback = instances("refuse");
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask()).received).toEqual(Buffer.from(alertRecord("internal_error")));
    expect(plane.totals).toMatchObject({ fallback: 1, delivered: 0, refused: 1 });
  });

  test("that takes nothing yet keeps it for as long as that backend holds", async () => {
    const fallback = instances("take the third time", { hold: 60_000 });
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask()).received.toString()).toBe("delivered");
    await plane.idle();
    expect(plane.totals).toMatchObject({ fallback: 1, delivered: 1, refused: 0 });
  });

  test("that takes nothing within its hold leaves it to its own fallback", async () => {
    const fallback = instances("refuse", { hold: 250, fallback: { kind: "reject", reject: "access_denied" } });
    await plane.start([{ name: "app", targets: [target(closed)], fallback }]);
    expect((await ask()).received).toEqual(Buffer.from(alertRecord("access_denied")));
    expect(plane.totals).toMatchObject({ fallback: 1, delivered: 0, refused: 1 });
  });

  test("and that one's, whatever their kinds", async () => {
    origin = await Origin.start((socket) => socket.end("relayed"));
    const last = instances("refuse", { fallback: { kind: "relay", backend: 1 } });
    await plane.start([
      { name: "app", targets: [target(closed)], fallback: instances("refuse", { fallback: last }) },
      { name: "other", targets: [origin.target] },
    ]);
    expect((await ask()).received.toString()).toBe("relayed");
    client.close();
    await plane.idle();
    expect(plane.totals).toMatchObject({ fallback: 3, delivered: 0, refused: 0, completed: 1 });
  });

  test("that a reload has given up meanwhile: it goes where the new one says", async () => {
    const app = { name: "app", targets: [target(closed)] };
    await plane.start([{ ...app, fallback: instances("refuse", { hold: 60_000 }) }]);
    const reply = ask();
    await plane.logged("test.delivered");
    await plane.configure([{ ...app, fallback: { kind: "reject", reject: "access_denied" } }]);
    expect((await reply).received).toEqual(Buffer.from(alertRecord("access_denied")));
  });

  test("a client that goes while it waits for an instance is not kept", async () => {
    await plane.start([{ name: "app", targets: [target(closed)], fallback: instances("refuse", { hold: 60_000 }) }]);
    void ask();
    await plane.logged("test.delivered");
    client.close();
    await plane.idle();
    expect(plane.totals).toMatchObject({ client_gone: 1, delivered: 0, refused: 0 });
  });
});

describe("a target that resets at once", () => {
  test("leaves a TLS client an alert, and a line in the log", async () => {
    origin = await Origin.start((socket) => socket.resetAndDestroy());
    await plane.start([{ name: "app", targets: [origin.target] }]);
    expect(await ask()).toEqual({ received: Buffer.from(alertRecord("internal_error")), end: "FIN" });
    const { fields } = await plane.logged("target.failed");
    expect(fields.reason).toMatch(/^(ECONNRESET|EPIPE)( before it answered)?$/);
  });
});
