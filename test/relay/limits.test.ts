import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { Origin } from "../support/origin.js";
import { descriptorLimitOf, leaveDescriptors, limitDescriptors } from "../support/process-limits.js";
import { endOf, RawClient } from "../support/raw-client.js";
import { type RelayChange, RelayPlane } from "../support/relay-plane.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";

let plane: RelayPlane;
let origin: Origin;
/** How its connections ended. */
let endsAtTarget: string[];
let clients: RawClient[];

beforeEach(async () => {
  plane = new RelayPlane();
  clients = [];
  endsAtTarget = [];
  origin = await Origin.start((socket) => {
    socket.on("error", (error: NodeJS.ErrnoException) => endsAtTarget.push(error.code!));
    socket.on("end", () => endsAtTarget.push(endOf(socket))).pipe(socket);
  });
});

afterEach(async () => {
  for (const client of clients) client.close();
  await origin.close();
  await plane.end();
});

async function start(change: Partial<RelayChange> = {}, sizes: { capacity?: number } = {}): Promise<void> {
  await plane.start([{ name: "app", targets: [origin.target], ...change }], sizes);
}

/** A client that was handed over, and has had an answer, unless the time that it is given was over before. */
async function established(): Promise<RawClient> {
  const client = await RawClient.connect(plane.port);
  clients.push(client);
  client.send(Buffer.from("x"));
  await plane.handOver("app");
  await until("the echo", () => client.socket.bytesRead === 1 || client.socket.destroyed);
  return client;
}

describe("idleTimeout", () => {
  test("ends a connection without bytes, by a reset of both sides", async () => {
    await start({ idleTimeout: 1000 });
    const begun = performance.now();
    const client = await established();
    expect((await client.reply).end).toBe("ECONNRESET");
    expect(performance.now() - begun).toBeGreaterThan(990);
    await until("the target's side", () => endsAtTarget.length > 0);
    expect(endsAtTarget[0]).toBe("ECONNRESET");
    await plane.idle();
    expect(plane.totals).toMatchObject({ idle_timeout: 1, lifetime_timeout: 0 });
    expect(plane.targets[0]).toMatchObject({ timeouts: 1, active: 0, target_resets: 0, client_resets: 0 });
  });

  test("leaves one with bytes", async () => {
    await start({ idleTimeout: 800 });
    // Bytes that a busy machine delays for longer let it be ended by right.
    await below("milliseconds without bytes", 800, async () => {
      const before = plane.totals.idle_timeout;
      /** Before the last byte was sent: the relay had it later. */
      let sent = performance.now();
      let longest = 0;
      const client = await established();
      for (let i = 2; i < 13 && !client.socket.destroyed; i++) {
        await new Promise((resolve) => setTimeout(resolve, 100));
        const now = performance.now();
        client.send(Buffer.from("x"));
        await until("the echo", () => client.socket.bytesRead === i || client.socket.destroyed);
        longest = Math.max(longest, performance.now() - sent);
        sent = now;
      }
      const ended = plane.totals.idle_timeout;
      longest = Math.max(longest, performance.now() - sent);
      if (longest < 800) expect(ended).toBe(before);
      return longest;
    });
  });
});

describe("a reload", () => {
  test("of idleTimeout leaves established connections the one that they began with", async () => {
    await start({ idleTimeout: 1000 });
    const client = await established();
    await plane.configure([{ name: "app", targets: [origin.target], idleTimeout: 0 }]);
    expect((await client.reply).end).toBe("ECONNRESET");
    await plane.idle();
    expect(plane.totals.idle_timeout).toBe(1);
  });
});

test("lifetime ends a connection, bytes or not", async () => {
  await start({ lifetime: 1000 });
  const client = await established();
  const timer = setInterval(() => {
    for (const socket of origin.sockets) if (!socket.destroyed) socket.write("x");
  }, 20);
  const { end } = await client.reply;
  clearInterval(timer);
  expect(end).toBe("ECONNRESET");
  await plane.idle();
  expect(plane.totals).toMatchObject({ idle_timeout: 0, lifetime_timeout: 1 });
});

describe("capacity", () => {
  test("is told to doors, which then get connections back", async () => {
    await start({}, { capacity: 2 });
    await established();
    await established();
    const client = await RawClient.connect(plane.port);
    clients.push(client);
    const sequence = await plane.handOver("app");
    expect(await plane.door("app").refused(sequence)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    expect(plane.totals).toMatchObject({ received: 2, refused: 0 });
    const before = plane.door("app").received.length;
    clients[0]!.finish();
    await plane.door("app").next(MessageType.READY, ({ window }) => window === 1, before);
    await until("the refusal to be counted", () => plane.totals.overloaded === 1);
  });
});

describe("without descriptors", () => {
  test("connections wait, nothing spins, and they are made when there are some", async () => {
    await start({ connectTimeout: 300_000 });
    await established();
    const limit = descriptorLimitOf(process.pid);
    const client = await RawClient.connect(plane.port);
    clients.push(client);
    const descriptor = await plane.accept();
    // Without some the limit could not be raised again.
    const spare = Array.from({ length: 32 }, () => native.duplicate(descriptor));
    // The one that looking for them took is for what is received: none is for the connection to the target.
    leaveDescriptors(process.pid, 0);
    try {
      plane.door("app").handOver(descriptor);
      await until("the shortage", () => plane.totals.short_of_descriptors > 0);
      await plane.sleeps();
      expect(plane.targets[0]).toMatchObject({ connect_failures: 0, connections: 1 });
    } finally {
      for (const each of spare) native.close(each);
      limitDescriptors(process.pid, limit);
    }
    plane.release(descriptor);
    client.send(Buffer.from("late"));
    await until("the echo", () => client.socket.bytesRead === 4);
    expect((await plane.logged("relay.short")).fields).toMatchObject({ errno: "EMFILE" });
  });
});

describe("drain", () => {
  test("lets what is established go on, takes no more, and tells when nothing is left", async () => {
    await start();
    const client = await established();
    plane.command({ type: "drain", timeout: 30_000 });
    await plane.door("app").next(MessageType.DRAIN);
    client.send(Buffer.from("y"));
    await until("the echo", () => client.socket.bytesRead === 2);
    client.finish();
    expect((await client.reply).end).toBe("FIN");
    plane.door("app").close();
    expect(await plane.reported(({ type }) => type === "drained")).toEqual({ type: "drained", reset: 0 });
  });

  test("resets what is left at its end", async () => {
    await start();
    const client = await established();
    plane.command({ type: "drain", timeout: 300 });
    expect(await plane.reported(({ type }) => type === "drained")).toEqual({ type: "drained", reset: 1 });
    expect((await client.reply).end).toBe("ECONNRESET");
    expect(plane.totals.drain_reset).toBe(1);
  });
});

test("a worker repeats what it is told to, and sleeps when there is nothing to do", async () => {
  await start();
  await established();
  plane.command({ type: "ping", beat: 7 });
  await until("the beat", () => plane.gauges.heartbeat === 7);
  await plane.sleeps();
});
