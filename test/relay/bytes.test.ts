import { createHash, randomBytes } from "node:crypto";
import type { Socket } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { openDescriptors } from "../support/descriptors.js";
import { Origin } from "../support/origin.js";
import { RawClient } from "../support/raw-client.js";
import { RelayPlane } from "../support/relay-plane.js";
import { until } from "../support/wait.js";

const MEGABYTES = 8 << 20;

let plane: RelayPlane;
let origin: Origin;
let clients: RawClient[];

beforeEach(() => {
  plane = new RelayPlane();
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.close();
  await origin.close();
  await plane.end();
});

async function start(serve: (socket: Socket) => void, path?: string): Promise<void> {
  origin = await Origin.start(serve, path);
  await plane.start([{ name: "app", targets: [origin.target] }]);
}

/** A client that was handed over. */
async function relayed(): Promise<RawClient> {
  const client = await RawClient.connect(plane.port);
  clients.push(client);
  await plane.handOver("app");
  return client;
}

const sha256 = (bytes: Buffer): string => createHash("sha256").update(bytes).digest("hex");

async function collected(socket: Socket): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks);
}

describe("bytes", () => {
  test("go both ways at once, whole, and both ends are passed on", async () => {
    const up = randomBytes(MEGABYTES);
    const down = randomBytes(MEGABYTES);
    let atTarget: Promise<Buffer> | undefined;
    await start((socket) => {
      atTarget = collected(socket);
      socket.end(down);
    });
    const client = await relayed();
    client.socket.end(up);
    const { received, end } = await client.reply;
    expect({ sum: sha256(received), end }).toEqual({ sum: sha256(down), end: "FIN" });
    expect(sha256(await atTarget!)).toBe(sha256(up));
    await plane.idle();
    expect(plane.totals).toMatchObject({ received: 1, connected: 1, completed: 1, client_reset: 0, target_reset: 0 });
    expect(plane.targets[0]).toMatchObject({
      connections: 1,
      active: 0,
      bytes_to_target: MEGABYTES,
      bytes_to_client: MEGABYTES,
    });
    expect(plane.gauges.pipes_in_use).toBe(0);
  });

  test("go to a target at a unix socket", async () => {
    const bytes = randomBytes(MEGABYTES);
    await start((socket) => socket.pipe(socket), join(plane.folder, "target.sock"));
    const client = await relayed();
    client.socket.end(bytes);
    const { received, end } = await client.reply;
    expect({ sum: sha256(received), end }).toEqual({ sum: sha256(bytes), end: "FIN" });
    await plane.idle();
  });

  test("that the client sent before it was handed over arrive first", async () => {
    await start((socket) => socket.pipe(socket));
    const client = await RawClient.connect(plane.port);
    clients.push(client);
    client.send(Buffer.from("before "));
    await new Promise((resolve) => client.socket.write("", resolve));
    await plane.handOver("app");
    client.socket.end("after");
    expect((await client.reply).received.toString()).toBe("before after");
  });

  test("of a target that speaks first arrive while the client is silent", async () => {
    await start((socket) => socket.write("220 ready\r\n"));
    const client = await relayed();
    await until("the greeting", () => client.socket.bytesRead === 11);
  });
});

describe("half of a connection", () => {
  test("the client ends first: the target still answers", async () => {
    const bytes = randomBytes(MEGABYTES);
    await start((socket) => {
      socket.resume();
      socket.on("end", () => setImmediate(() => socket.end(bytes)));
    });
    const client = await relayed();
    client.socket.end("question");
    const { received, end } = await client.reply;
    expect({ sum: sha256(received), end }).toEqual({ sum: sha256(bytes), end: "FIN" });
    await plane.idle();
    expect(plane.totals.completed).toBe(1);
  });

  test("the target ends first: the client still sends", async () => {
    const bytes = randomBytes(MEGABYTES);
    let atTarget: Promise<Buffer> | undefined;
    await start((socket) => {
      atTarget = collected(socket);
      socket.end("goodbye");
    });
    const client = await relayed();
    expect(await client.reply).toEqual({ received: Buffer.from("goodbye"), end: "FIN" });
    client.socket.end(bytes);
    expect(sha256(await atTarget!)).toBe(sha256(bytes));
    await plane.idle();
    expect(plane.totals.completed).toBe(1);
  });
});

describe("a reset", () => {
  test("of the client reaches the target", async () => {
    let end: Promise<string> | undefined;
    await start((socket) => {
      end = new Promise((resolve) => socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code!)));
      socket.write("hello");
    });
    const client = await relayed();
    await until("the answer", () => client.socket.bytesRead === 5);
    client.reset();
    expect(await end).toBe("ECONNRESET");
    await plane.idle();
    expect(plane.totals).toMatchObject({ client_reset: 1, target_reset: 0, completed: 0 });
    expect(plane.targets[0]).toMatchObject({ client_resets: 1, target_resets: 0, active: 0 });
  });

  test("of the target reaches the client, behind the bytes that came before", async () => {
    await start((socket) => {
      socket.write("some");
      socket.once("data", () => socket.resetAndDestroy());
    });
    const client = await relayed();
    await until("the answer", () => client.socket.bytesRead === 4);
    client.send(Buffer.from("more"));
    expect(await client.reply).toEqual({ received: Buffer.from("some"), end: "ECONNRESET" });
    await plane.idle();
    expect(plane.totals).toMatchObject({ client_reset: 0, target_reset: 1, completed: 0 });
    expect(plane.targets[0]).toMatchObject({ client_resets: 0, target_resets: 1 });
  });

  test("that follows a client's end is passed on too", async () => {
    let ended = false;
    let end: Promise<string> | undefined;
    await start((socket) => {
      end = new Promise((resolve) => socket.once("error", (error: NodeJS.ErrnoException) => resolve(error.code!)));
      socket.resume().once("end", () => {
        ended = true;
      });
    });
    const client = await relayed();
    client.finish();
    await until("the end at the target", () => ended);
    client.reset();
    await plane.idle();
    // Whoever has sent FIN is closed by RST without an error to read: the relay alone knows.
    expect(plane.totals).toMatchObject({ client_reset: 1, completed: 0 });
    origin.sockets[0]!.write("late");
    expect(await end).toMatch(/ECONNRESET|EPIPE/);
  });
});

describe("a reader that stops", () => {
  for (const reader of ["client", "target"] as const) {
    test(`at the ${reader} stops the sender, costs no time, and loses nothing`, async () => {
      const bytes = randomBytes(4 * MEGABYTES);
      let sent = 0;
      const send = (socket: Socket) => {
        for (let at = 0; at < bytes.length; at += 1 << 16) {
          const chunk = bytes.subarray(at, at + (1 << 16));
          socket.write(chunk, () => {
            sent += chunk.length;
          });
        }
        socket.end();
      };
      await start((socket) => {
        if (reader === "client") send(socket);
        else socket.pause();
      });
      const client = await relayed();
      client.socket.pause();
      if (reader === "target") send(client.socket);
      let last = -1;
      let stands = 0;
      await until("the sender to be stopped", async () => {
        await new Promise((resolve) => setTimeout(resolve, 200));
        stands = sent > 0 && sent === last && plane.gauges.pipes_in_use === 1 ? stands + 1 : 0;
        last = sent;
        return stands === 3;
      });
      // Two sockets' buffers on the way, and one pipe.
      expect(sent).toBeLessThan(bytes.length);
      expect(plane.gauges.pipes_in_use).toBe(1);
      await plane.sleeps();
      const arrived = reader === "client" ? client.reply : collected(origin.sockets[0]!);
      client.socket.resume();
      const whole = await arrived;
      expect(sha256(Buffer.isBuffer(whole) ? whole : whole.received)).toBe(sha256(bytes));
    });
  }
});

describe("descriptors", () => {
  test("an idle connection holds two, and none when it has ended", async () => {
    await start((socket) => socket.pipe(socket));
    const warm = await relayed();
    warm.socket.end("warm");
    await warm.reply;
    await plane.idle();
    const count = () => openDescriptors().filter((each) => each.startsWith("socket:")).length;
    const pipes = () => openDescriptors().filter((each) => each.startsWith("pipe:")).length;
    await until("the origin's end", () => origin.sockets.every((socket) => socket.destroyed));
    const before = { sockets: count(), pipes: pipes() };
    for (let i = 0; i < 20; i++) {
      const client = await relayed();
      client.send(Buffer.from("x"));
      await until("the echo", () => client.socket.bytesRead === 1);
    }
    // The client's own, the relay's two, and the target's.
    expect(count() - before.sockets).toBe(20 * 4);
    expect(pipes()).toBe(before.pipes);
    for (const client of clients) client.finish();
    await plane.idle();
    await until("all to be closed", () => count() === before.sockets && pipes() === before.pipes);
  });

  test("pipes that many needed at once are closed again", async () => {
    // A unix socket's buffer does not grow: a few bytes fill it, and a pipe.
    await start((socket) => socket.pause(), join(plane.folder, "target.sock"));
    const bytes = randomBytes(1 << 20);
    for (let i = 0; i < 30; i++) (await relayed()).send(bytes);
    await until("every pipe to be in use", () => plane.gauges.pipes_in_use === 30 && origin.sockets.length === 30);
    for (const socket of origin.sockets) socket.resume();
    await until("most pipes to be closed", () => plane.gauges.pipes_in_use === 0 && plane.gauges.pipes <= 16);
  });

  test("a connection that ends while it waits for a pipe leaves nothing to be waited for", async () => {
    origin = await Origin.start((socket) => socket.pause(), join(plane.folder, "target.sock"));
    const targets = [origin.target];
    await plane.start(
      [
        { name: "app", targets },
        { name: "short", targets, lifetime: 300 },
      ],
      { pipes: 1 },
    );
    (await relayed()).send(randomBytes(1 << 20));
    await until("the pipe to be in use", () => plane.gauges.pipes_in_use === 1);
    const other = await RawClient.connect(plane.port);
    clients.push(other);
    other.send(randomBytes(1 << 20));
    await plane.handOver("short");
    await until("the other one to wait for it", () => plane.totals.short_of_pipes > 0);
    expect((await other.reply).end).toBe("ECONNRESET");
    await plane.sleeps();
  });

  test("those whose readers stopped may have every pipe: the others go on", async () => {
    let stopped = 0;
    // A unix socket's buffer does not grow: a few bytes fill it.
    origin = await Origin.start(
      (socket) => (stopped++ < 2 ? socket.pause() : socket.pipe(socket)),
      join(plane.folder, "target.sock"),
    );
    await plane.start([{ name: "app", targets: [origin.target] }], { pipes: 2 });
    for (let i = 0; i < 2; i++) (await relayed()).send(randomBytes(1 << 20));
    await until("every pipe to be in use", () => plane.gauges.pipes_in_use === 2 && origin.sockets.length === 2);
    const client = await relayed();
    client.send(Buffer.from("x"));
    await until("the echo", () => client.socket.bytesRead === 1);
    const bytes = randomBytes(3 << 20);
    client.socket.end(bytes);
    const { received, end } = await client.reply;
    expect(end).toBe("FIN");
    expect(sha256(received.subarray(1))).toBe(sha256(bytes));
    expect(plane.gauges.pipes_in_use).toBe(2);
  });

  test("without a pipe bytes wait for one, and arrive", async () => {
    origin = await Origin.start((socket) => socket.pause());
    await plane.start([{ name: "app", targets: [origin.target] }], { pipes: 2 });
    const chunk = randomBytes(1 << 20);
    for (let i = 0; i < 6; i++) {
      const client = await relayed();
      for (let j = 0; j < 12; j++) client.send(chunk);
      client.finish();
    }
    await until("the pipes to be in use", () => plane.gauges.pipes_in_use === 2 && plane.totals.short_of_pipes > 0);
    await plane.sleeps();
    await until("all to come", () => origin.sockets.length === 6);
    const arrived = await Promise.all(origin.sockets.map(collected));
    expect(arrived.map(({ length }) => length)).toEqual(Array(6).fill(12 << 20));
  });
});

test("a client's descriptor that blocks does not block the worker", async () => {
  await start((socket) => socket.pipe(socket));
  const silent = await relayed();
  const other = await relayed();
  other.socket.end("x");
  expect((await other.reply).received.toString()).toBe("x");
  silent.close();
});
