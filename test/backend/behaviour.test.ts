import { AsyncLocalStorage } from "node:async_hooks";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attach, receive } from "../../src/backend/index.js";
import { MessageType, RefuseReason } from "../../src/handoff/layout.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { Bridge, destroyAll, listenOnPort } from "../support/bridge.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

let folder: string;
let path: string;
let before: string[];
let receiver: Receiver;
let bridge: Bridge;
const clients: net.Socket[] = [];

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
});

afterEach(async () => {
  destroyAll(clients);
  bridge.close();
  await receiver.close({ timeout: 0 });
  expect(existsSync(path)).toBe(false);
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length === before.length);
});

async function attached(server: net.Server): Promise<void> {
  receiver = await attach(server, { path });
  bridge = await Bridge.open(path);
}

/** A client at the door's port, or at another. */
function client(port = bridge.port): net.Socket {
  const socket = net.connect(port, "127.0.0.1");
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

const connections = (server: net.Server) =>
  new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));

function collect(socket: net.Socket): { text: string; isClosed: boolean } {
  const seen = { text: "", isClosed: false };
  socket.on("data", (data) => {
    seen.text += data;
  });
  socket.on("close", () => {
    seen.isClosed = true;
  });
  return seen;
}

describe("while it is attached", () => {
  it("the server listens, on the path, and has an address", async () => {
    const server = net.createServer();
    let listening = 0;
    server.on("listening", () => listening++);
    await attached(server);
    expect(server.listening).toBe(true);
    expect(listening).toBe(1);
    expect(server.address()).toEqual({ address: path, family: "unix", port: 0 });
    expect(receiver.path).toBe(path);
    expect(() => server.listen(0)).toThrowError(expect.objectContaining({ code: "ERR_SERVER_ALREADY_LISTEN" }));
  });

  it("getConnections() counts, and so does the open count that the door is told", async () => {
    const server = net.createServer((socket) => socket.resume());
    await attached(server);
    for (let open = 1; open <= 3; open++) {
      client();
      const sequence = await bridge.next();
      expect((await bridge.door.acknowledged(sequence)).open).toBe(open);
      await until("the delivery", async () => (await connections(server)) === open);
    }
    bridge.drop();
    clients.pop()!.destroy();
    await bridge.door.next(MessageType.ACK, (ack) => ack.sequence === 3 && ack.open === 2);
    expect(await connections(server)).toBe(2);
  });

  it("what is written in one turn arrives, the end too, in both directions", async () => {
    const server = net.createServer({ allowHalfOpen: true }, (socket) => socket.pipe(socket));
    await attached(server);
    const socket = client();
    const seen = collect(socket);
    socket.end("x".repeat(1 << 20));
    await bridge.deliver();
    await until("the echo", () => seen.isClosed);
    expect(seen.text.length).toBe(1 << 20);
  });

  it("a folder of sockets has one for each receiver", async () => {
    const servers = [net.createServer(), net.createServer()];
    const receivers = await Promise.all(servers.map((server) => attach(server, { path: folder })));
    const bridges = await Promise.all(receivers.map((one) => Bridge.open(one.path)));
    for (const [i, server] of servers.entries()) {
      client(bridges[i]!.port);
      const served = once(server, "connection");
      await bridges[i]!.deliver();
      await served;
    }
    destroyAll(clients);
    for (const one of bridges) one.close();
    for (const one of receivers) await one.close();
    await attached(net.createServer());
  });
});

describe("server.close()", () => {
  it("waits for handed-over connections, drains the door and removes the path at once", async () => {
    const server = net.createServer((socket) => socket.resume());
    await attached(server);
    const socket = client();
    await bridge.deliver();
    await until("the delivery", async () => (await connections(server)) === 1);
    let closes = 0;
    server.close(() => closes++);
    server.on("close", () => closes++);
    expect(existsSync(path)).toBe(false);
    await bridge.door.next(MessageType.DRAIN);
    expect(closes).toBe(0);
    socket.end();
    await until("the server's 'close'", () => closes > 0);
    expect(closes).toBe(2);
    expect(() => server.close()).not.toThrow();
  });

  it("emits 'close' once, though no door was ever there", async () => {
    const server = net.createServer();
    await attached(server);
    bridge.close();
    await until("the channel's end", () => receiver.counts.channels === 0);
    const events: string[] = [];
    server.on("close", () => events.push("close"));
    server.close(() => events.push("callback"));
    await receiver.close();
    await until("the events", () => events.length >= 2);
    await new Promise((resolve) => setImmediate(resolve));
    expect(events).toEqual(["close", "callback"]);
  });

  it("refuses what comes after it, as draining", async () => {
    const server = net.createServer((socket) => socket.resume());
    await attached(server);
    server.close();
    client();
    const sequence = await bridge.next();
    expect(await bridge.door.refused(sequence)).toMatchObject({ reason: RefuseReason.DRAINING });
    await bridge.drain();
    await receiver.close();
  });

  it("in the first handler of a batch: all that were acknowledged are served before 'close'", async () => {
    const events: string[] = [];
    const server = net.createServer((socket) => {
      events.push("connection");
      if (events.length === 1) {
        server.close(() => events.push("close"));
        socket.destroy();
      } else {
        socket.end("served");
      }
    });
    await attached(server);
    // One record after the other in the queue, so that one batch takes them all.
    const seen = Array.from({ length: 8 }, () => collect(client()));
    const descriptors = [];
    for (let i = 0; i < 8; i++) descriptors.push(await bridge.listener.accept());
    for (const descriptor of descriptors) bridge.keep(descriptor, bridge.door.handOver(descriptor));
    await bridge.door.acknowledged(8);
    bridge.drop();
    await until("the server's 'close'", () => events.includes("close"));
    expect(events).toEqual([...Array(8).fill("connection"), "close"]);
    await until("every client's end", () => seen.every(({ isClosed }) => isClosed));
    expect(seen.filter(({ text }) => text === "served").length).toBe(7);
    expect(bridge.door.received.filter(({ type }) => type === MessageType.REFUSE)).toEqual([]);
  });
});

describe("receiver.close()", () => {
  it("drains: what is on the way is served, then the server closes, and open connections go on", async () => {
    const server = net.createServer((socket) => socket.pipe(socket));
    await attached(server);
    const first = client();
    await bridge.deliver();
    const closed = receiver.close();
    const second = client();
    const sequence = await bridge.next();
    await bridge.door.acknowledged(sequence);
    await bridge.drain();
    await closed;
    expect(server.listening).toBe(false);
    expect(await connections(server)).toBe(2);
    const end = once(server, "close");
    for (const socket of [first, second]) {
      const seen = collect(socket);
      socket.end("still here");
      await until("the echo", () => seen.isClosed);
      expect(seen.text).toBe("still here");
    }
    await end;
  });

  it("of a server that listens on a port too leaves it listening", async () => {
    const server = net.createServer((socket) => socket.end(String(socket.localPort)));
    const port = await listenOnPort(server);
    await attached(server);
    expect(server.listenerCount("connection")).toBe(2);
    const both = [collect(client(port)), collect(client())];
    await bridge.deliver();
    await until("both answers", () => both.every(({ isClosed }) => isClosed));
    expect(both.map(({ text }) => text)).toEqual([String(port), String(bridge.port)]);
    const closed = receiver.close();
    await bridge.drain();
    await closed;
    expect(server.listenerCount("connection")).toBe(1);
    const third = collect(client(port));
    await until("the answer", () => third.isClosed);
    expect(third.text).toBe(String(port));
    server.close();
    await once(server, "close");
  });
});

it("server.close() of a server that listens on a port too drains the door", async () => {
  const server = net.createServer((socket) => socket.resume());
  await listenOnPort(server);
  await attached(server);
  server.close();
  client();
  const sequence = await bridge.next();
  expect(await bridge.door.refused(sequence)).toMatchObject({ reason: RefuseReason.DRAINING });
  await bridge.drain();
});

describe("maxConnections", () => {
  it("refuses what is over it before it is owned, and says when there is room", async () => {
    const server = net.createServer((socket) => socket.resume());
    let drops = 0;
    server.on("drop", () => drops++);
    server.maxConnections = 2;
    await attached(server);
    for (let i = 0; i < 3; i++) {
      client();
      await bridge.next();
    }
    expect(await bridge.door.refused(3)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    await bridge.door.acknowledged(2);
    bridge.drop();
    const seen = bridge.door.received.length;
    clients[0]!.destroy();
    await bridge.door.next(MessageType.READY, ({ open }) => open === 1, seen);
    client();
    await bridge.deliver();
    await until("the delivery", async () => (await connections(server)) === 2);
    expect(drops).toBe(0);
    expect(receiver.counts).toMatchObject({ received: 3, refused: 1 });
  });
});

describe("http", () => {
  const get = (path: string) => `GET ${path} HTTP/1.1\r\nHost: a\r\n\r\n`;

  it("keeps connections alive for further requests, and ends idle ones", async () => {
    const server = http.createServer((request, response) => {
      // It counts from the end of an answer.
      server.keepAliveTimeout = request.url === "/1" ? 600_000 : 50;
      response.end(`<${request.url}>`);
    });
    await attached(server);
    const socket = client();
    const seen = collect(socket);
    socket.write(get("/1"));
    await bridge.deliver();
    await until("the first answer", () => seen.text.includes("</1>"));
    socket.write(get("/2"));
    await until("the second answer", () => seen.text.includes("</2>"));
    await until("the end of the idle connection", () => seen.isClosed);
  });

  it("applies headersTimeout to what never sends a whole head", async () => {
    const server = http.createServer({ connectionsCheckingInterval: 20, headersTimeout: 60, requestTimeout: 120 });
    await attached(server);
    const socket = client();
    const seen = collect(socket);
    socket.write("GET / HTTP/1.1\r\nHost:");
    await bridge.deliver();
    await until("the timeout", () => seen.isClosed);
    expect(seen.text).toMatch(/^HTTP\/1.1 408 Request Timeout/);
  });

  it("closeIdleConnections() and server.close() end idle ones, not active ones", async () => {
    const responses: http.ServerResponse[] = [];
    const server = http.createServer((request, response) => {
      if (request.url === "/slow") responses.push(response);
      else response.end("quick");
    });
    await attached(server);
    const [idle, active] = [client(), client()];
    const seen = { idle: collect(idle), active: collect(active) };
    idle.write(get("/quick"));
    await bridge.deliver();
    active.write(get("/slow"));
    await bridge.deliver();
    await until("both requests", () => seen.idle.text.includes("quick") && responses.length === 1);
    const closed = once(server, "close");
    server.close();
    await until("the idle one's end", () => seen.idle.isClosed);
    expect(seen.active.isClosed).toBe(false);
    responses[0]!.end("done");
    await until("the active one's answer", () => seen.active.text.includes("done"));
    active.destroy();
    await closed;
  });

  it("hands upgraded sockets over to their handler", async () => {
    const server = http.createServer();
    server.on("upgrade", (_request, socket) => {
      socket.write("HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
      socket.pipe(socket);
    });
    await attached(server);
    const socket = client();
    const seen = collect(socket);
    socket.write("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\n");
    await bridge.deliver();
    await until("the upgrade", () => seen.text.includes("101"));
    socket.end("echo!");
    await until("the echo", () => seen.isClosed);
    expect(seen.text).toMatch(/echo!$/);
  });
});

describe("AsyncLocalStorage", () => {
  /** What a connection's handlers see when the server was made to listen inside a context, and data is written inside another. */
  async function observe(listen: (server: net.Server) => Promise<number>, deliver: () => Promise<void>) {
    const storage = new AsyncLocalStorage<string>();
    const seen: Record<string, string | undefined> = {};
    const server = net.createServer((socket) => {
      seen.connection = storage.getStore();
      socket.on("data", () => {
        seen.data = storage.getStore();
        setImmediate(() => {
          seen.after = storage.getStore();
          socket.end();
        });
      });
      socket.on("close", () => {
        seen.close = storage.getStore();
      });
    });
    const port = await storage.run("listening", () => listen(server));
    const socket = client(port);
    storage.run("elsewhere", () => socket.write("x"));
    await storage.run("delivering", deliver);
    await until("the connection's end", () => "close" in seen);
    return { seen, server };
  }

  it("shows the same as with a connection that the server accepts", async () => {
    const own = await observe(listenOnPort, async () => {});
    own.server.close();
    const handed = await observe(
      async (server) => {
        await attached(server);
        return bridge.port;
      },
      () => bridge.deliver(),
    );
    expect(handed.seen).toEqual(own.seen);
    expect(own.seen).toEqual({ connection: "listening", data: undefined, after: undefined, close: undefined });
  });
});

it("an exception in one 'connection' handler does not lose the next connection", async () => {
  const thrown: string[] = [];
  const listeners = process.listeners("uncaughtException");
  process.removeAllListeners("uncaughtException");
  process.on("uncaughtException", (error) => thrown.push(error.message));
  try {
    let count = 0;
    receiver = await receive({ path }, (socket) => {
      socket.end();
      if (count++ % 2 === 0) throw new Error(`handler ${count}`);
    });
    bridge = await Bridge.open(path);
    const seen = Array.from({ length: 6 }, () => collect(client()));
    const descriptors = [];
    for (let i = 0; i < 6; i++) descriptors.push(await bridge.listener.accept());
    for (const descriptor of descriptors) bridge.keep(descriptor, bridge.door.handOver(descriptor));
    await bridge.door.acknowledged(6);
    bridge.drop();
    await until("every client's end", () => seen.every(({ isClosed }) => isClosed));
    expect(thrown).toEqual(["handler 1", "handler 3", "handler 5"]);
  } finally {
    process.removeAllListeners("uncaughtException");
    for (const listener of listeners) process.on("uncaughtException", listener);
  }
});

it("a live path is refused with the owner's pid, and the server does not listen", async () => {
  await attached(net.createServer());
  const second = net.createServer();
  await expect(attach(second, { path })).rejects.toMatchObject({
    code: "ERR_PATH_IN_USE",
    message: expect.stringContaining(`${path} is in use by process ${process.pid};`),
  });
  expect(second.listening).toBe(false);
  // The one that lives is not disturbed by being looked at.
  const socket = client();
  await bridge.deliver();
  socket.destroy();
});
