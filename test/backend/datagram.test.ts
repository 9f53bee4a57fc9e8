import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as net from "node:net";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { attach, type DatagramReceiver, handoffInfo, receive } from "../../src/backend/index.js";
import { native } from "../../src/native/addon.js";
import { body } from "../support/body.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { DatagramSender } from "../support/datagrams.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

let folder: string;
let path: string;
let before: string[];
let sender: DatagramSender;
let own: Certificate;

beforeAll(async () => {
  own = await certificate("app.example");
});

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "pass.sock");
  sender = new DatagramSender(path);
});

afterEach(async () => {
  sender.close();
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length === before.length);
});

const attached = (server: net.Server, options = {}): Promise<DatagramReceiver> =>
  attach(server, { path, protocol: "datagram", ...options });

async function answerTo(request: http.ClientRequest): Promise<string> {
  const [response] = await once(request, "response");
  return body(response);
}

async function closed(receiver: DatagramReceiver, server: net.Server): Promise<void> {
  const close = once(server, "close");
  await receiver.close();
  expect(existsSync(path)).toBe(false);
  await close;
}

describe("what was read already comes first:", () => {
  it("net, however much of it was read", async () => {
    const seen: unknown[] = [];
    const server = net.createServer((socket) => {
      seen.push(handoffInfo(socket)?.tls, socket.remotePort);
      socket.once("data", (data) => socket.end(`got ${data}`));
    });
    const receiver = await attached(server);
    for (const length of [0, 1, 3, 100]) {
      const client = net.connect(sender.port, "127.0.0.1");
      const answer = body(client);
      await once(client, "connect");
      client.write("hello");
      const early = await sender.pass(length);
      const text = await answer;
      expect("got hello".startsWith(text)).toBe(true);
      expect(text.length).toBeGreaterThanOrEqual("got ".length + Math.max(1, early.length));
      expect(seen.splice(0)).toEqual([false, expect.any(Number)]);
    }
    expect(receiver.counts).toEqual({ received: 4, dead: 0, refused: 0 });
    await closed(receiver, server);
  });

  it("net, every byte in its order, and the end after them", async () => {
    const whole: string[] = [];
    const receiver = await receive({ path, protocol: "datagram", allowHalfOpen: true }, (socket) => {
      body(socket).then((text) => {
        whole.push(text);
        socket.end(text.toUpperCase());
      });
    });
    const text = Array.from({ length: 20_000 }, (_, i) => `line ${i}\n`).join("");
    const client = net.connect(sender.port, "127.0.0.1");
    const answer = body(client);
    client.end(text);
    const early = await sender.pass(1000);
    expect(early.length).toBe(1000);
    expect(await answer).toBe(text.toUpperCase());
    expect(whole).toEqual([text]);
    await receiver.close();
  });

  it("http, and a request that was read in part", async () => {
    const server = http.createServer((request, response) => {
      expect(handoffInfo(request)).toMatchObject({ tls: false, connectionId: 0n });
      response.end(`${request.method} ${request.url}`);
    });
    const receiver = await attached(server);
    for (const length of [0, 1, 10, 4096]) {
      const request = http.get({ port: sender.port, host: "127.0.0.1", path: `/${length}`, agent: false });
      const answer = answerTo(request);
      await sender.pass(length);
      expect(await answer).toBe(`GET /${length}`);
    }
    await closed(receiver, server);
  });

  it("a hello that is as long as a door takes them tells its name too", async () => {
    const names: unknown[] = [];
    const server = net.createServer((socket) => {
      names.push(handoffInfo(socket)?.serverName);
      socket.resume();
      socket.end();
    });
    const receiver = await attached(server);
    const client = net.connect(sender.port, "127.0.0.1");
    client.resume();
    const descriptor = await sender.listener.accept();
    const early = buildHello({ serverName: "long.example", totalLength: 60_000 });
    expect(sender.send(early, [descriptor])).toBe(0);
    native.close(descriptor);
    await once(client, "close");
    expect(names).toEqual(["long.example"]);
    await closed(receiver, server);
  });

  it("https; the hello tells the server name and the ALPN", async () => {
    const server = https.createServer({ cert: own.cert, key: own.key }, (request, response) => {
      const info = handoffInfo(request)!;
      expect(info).toMatchObject({ tls: true, ech: false, connectionId: 0n, serverName: own.name, alpn: "http/1.1" });
      expect(Math.abs(Number(info.acceptedAt / 1_000_000n) - Date.now())).toBeLessThan(60_000);
      response.end(`${request.socket.remotePort} ${(request.socket as tls.TLSSocket).getProtocol()}`);
    });
    const receiver = await attached(server);
    const options: https.RequestOptions & tls.ConnectionOptions = {
      port: sender.port,
      host: "127.0.0.1",
      servername: own.name,
      ca: own.cert,
      agent: false,
      ALPNProtocols: ["http/1.1"],
    };
    const request = https.get(options);
    const [socket] = (await once(request, "socket")) as [tls.TLSSocket];
    let port: number | undefined;
    socket.once("connect", () => {
      port = socket.localPort;
    });
    const answer = answerTo(request);
    await sender.pass();
    expect(await answer).toBe(`${port} TLSv1.3`);
    await closed(receiver, server);
  });

  it("http2 over TLS", async () => {
    const server = http2.createSecureServer({ cert: own.cert, key: own.key }, (request, response) => {
      response.end(`${request.httpVersion} ${handoffInfo(request)?.serverName}`);
    });
    const receiver = await attached(server);
    const session = http2.connect(`https://127.0.0.1:${sender.port}`, { ca: own.cert, servername: own.name });
    const answer = body(session.request({ ":path": "/" }));
    await sender.pass();
    expect(await answer).toBe(`2.0 ${own.name}`);
    session.close();
    await closed(receiver, server);
  });

  it("http2 without TLS", async () => {
    const server = http2.createServer((_, response) => response.end("h2c"));
    const receiver = await attached(server);
    for (const length of [0, 10, 4096]) {
      const session = http2.connect(`http://127.0.0.1:${sender.port}`);
      const answer = body(session.request({ ":path": "/" }));
      await sender.pass(length);
      expect(await answer).toBe("h2c");
      session.close();
    }
    await closed(receiver, server);
  });

  it("tls, with a server that listens on a port too", async () => {
    const server = tls.createServer({ cert: own.cert, key: own.key }, (socket) => socket.end("secure"));
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
    const receiver = await attached(server);
    const ports = [sender.port, (server.address() as net.AddressInfo).port];
    for (const port of ports) {
      const client = tls.connect({ port, host: "127.0.0.1", ca: own.cert, servername: own.name });
      const answer = body(client);
      if (port === sender.port) await sender.pass(200);
      expect(await answer).toBe("secure");
    }
    await receiver.close();
    expect(server.listening).toBe(true);
    server.close();
    await once(server, "close");
  });
});

describe("a datagram that brings no connection", () => {
  it("is closed, counted and told once for each reason", async () => {
    const server = net.createServer((socket) => socket.end());
    const receiver = await attached(server);
    const refused: string[] = [];
    const warnings: string[] = [];
    receiver.on("refused", ({ reason, pid, uid }) => {
      expect([pid, uid]).toEqual([process.pid, process.getuid!()]);
      refused.push(reason);
    });
    receiver.on("warning", (error) => warnings.push(`${error.code} ${error.message}`));
    const file = openSync("/dev/null", "r");
    const pairs = [await sender.listener.pair(), await sender.listener.pair()];
    const [one, two] = pairs.map(({ descriptor }) => descriptor) as [number, number];
    const bytes = Buffer.from("hello");
    const sends: [Uint8Array, number[]][] = [
      [bytes, []],
      [Buffer.alloc(0), []],
      [bytes, [one, two]],
      [bytes, [file]],
      [Buffer.alloc(65_537), [one]],
      [bytes, [file]],
    ];
    for (const [text, descriptors] of sends) expect(sender.send(text, descriptors)).toBe(0);
    await until("six refusals", () => refused.length === 6);
    expect(refused).toEqual([
      "no descriptor",
      "no descriptor",
      "several descriptors",
      "not tcp",
      "too long",
      "not tcp",
    ]);
    await until("four warnings", () => warnings.length === 4);
    expect(warnings[1]).toBe(
      `ERR_PROTOCOL a datagram of process ${process.pid} of user ${process.getuid!()} at ${path} was not taken: it brought more than one descriptor, and which one its bytes belong to cannot be told`,
    );
    expect(receiver.counts).toEqual({ received: 0, dead: 0, refused: 6 });
    closeSync(file);
    for (const { client, descriptor } of pairs) {
      client.destroy();
      native.close(descriptor);
    }
    await closed(receiver, server);
  });

  it("or one that is dead, is closed", async () => {
    const server = net.createServer(() => {});
    const receiver = await attached(server);
    const { client, descriptor } = await sender.listener.pair();
    client.resetAndDestroy();
    await until("the reset", () => native.intact(descriptor, 0) === 2);
    expect(sender.send(Buffer.from("hello"), [descriptor])).toBe(0);
    native.close(descriptor);
    await until("its being counted", () => receiver.counts.dead === 1);
    expect(receiver.counts).toEqual({ received: 1, dead: 1, refused: 0 });
    await closed(receiver, server);
  });

  it("and one of a user who is not allowed", async () => {
    const server = net.createServer(() => {});
    const receiver = await attached(server, { allowedUsers: [4242] });
    const warning = once(receiver, "warning");
    const { client, descriptor } = await sender.listener.pair();
    expect(sender.send(Buffer.from("hello"), [descriptor])).toBe(0);
    native.close(descriptor);
    expect((await warning)[0]).toMatchObject({ code: "ERR_NOT_PERMITTED", uid: process.getuid!() });
    expect(receiver.counts).toEqual({ received: 0, dead: 0, refused: 1 });
    await once(client, "close");
    await closed(receiver, server);
  });
});

describe("its path", () => {
  it("is refused while a living process has it, and taken over from a dead one", async () => {
    const server = net.createServer(() => {});
    const receiver = await attached(server);
    const other = net.createServer(() => {});
    await expect(attached(other)).rejects.toMatchObject({ code: "ERR_PATH_IN_USE" });
    await expect(attach(other, { path })).rejects.toMatchObject({ code: "ERR_PATH_IN_USE" });
    await closed(receiver, server);

    native.close(native.listenUnix(path, "dgram", { backlog: 1 }));
    expect(existsSync(path)).toBe(true);
    const again = await attached(other);
    await closed(again, other);
  });

  it("is no folder; options that need acknowledgements are refused", async () => {
    const server = net.createServer();
    await expect(attach(server, { path: folder, protocol: "datagram" })).rejects.toMatchObject({
      code: "ERR_PATH_UNUSABLE",
    });
    for (const option of [{ window: 3 }, { weight: 2 }, { idleTimeout: 100 }, { protocol: "stream" }]) {
      await expect(attached(server, option)).rejects.toMatchObject({ code: "ERR_OPTION" });
    }
  });
});

describe("without room", () => {
  it("connections wait in the kernel's queue, and the senders when that is full", async () => {
    let isFull = true;
    const server = net.createServer((socket) => socket.resume().end("served"));
    const receiver = await attached(server, { overloaded: () => isFull });

    const clients: net.Socket[] = [];
    const answers: Promise<string>[] = [];
    const EAGAIN = constants.errno.EAGAIN;
    let errno = 0;
    while (errno === 0) {
      const { client, descriptor } = await sender.listener.pair();
      clients.push(client);
      errno = sender.send(Buffer.from("x"), [descriptor]);
      native.close(descriptor);
      if (errno === 0) answers.push(body(client));
      expect(answers.length).toBeLessThan(100);
    }
    expect(errno).toBe(EAGAIN);
    expect(receiver.counts.received).toBe(0);
    isFull = false;
    expect(await Promise.all(answers)).toEqual(answers.map(() => "served"));
    expect(receiver.counts).toEqual({ received: answers.length, dead: 0, refused: 0 });
    for (const client of clients) client.destroy();
    await closed(receiver, server);
  });

  it("maxConnections is never passed", async () => {
    let most = 0;
    let open = 0;
    const server = net.createServer((socket) => {
      most = Math.max(most, ++open);
      socket.on("close", () => open--);
      socket.once("data", (data) => setTimeout(() => socket.end(`got ${data}`), 5));
    });
    server.maxConnections = 2;
    const dropped: unknown[] = [];
    server.on("drop", (data) => dropped.push(data));
    const receiver = await attached(server);
    const answers: Promise<string>[] = [];
    for (let i = 0; i < 20; i++) {
      const { client, descriptor } = await sender.listener.pair();
      answers.push(body(client));
      await until("room in the queue", () => sender.send(Buffer.from(`${i}`), [descriptor]) === 0);
      native.close(descriptor);
    }
    expect(await Promise.all(answers)).toEqual(answers.map((_, i) => `got ${i}`));
    expect([most, dropped.length]).toEqual([2, 0]);
    await closed(receiver, server);
  });
});

describe("close", () => {
  it("takes what was sent before, and lets senders fail from then on", async () => {
    const server = net.createServer((socket) => socket.once("data", (data) => socket.end(`got ${data}`)));
    const receiver = await attached(server);
    const sockets = native.connectUnix(path, "dgram", {});
    const answers: Promise<string>[] = [];
    const pairs = [];
    for (let i = 0; i < 8; i++) pairs.push(await sender.listener.pair());
    // All in one turn: nothing is read before `close` is called.
    for (const [i, { client, descriptor }] of pairs.entries()) {
      answers.push(body(client));
      expect(native.sendMessage(sockets, Buffer.from(`${i}`), [descriptor])).toBe(0);
      native.close(descriptor);
    }
    const end = receiver.close();
    expect(native.sendMessage(sockets, Buffer.from("late"), [])).toBe(constants.errno.EPIPE);
    await end;
    expect(receiver.counts).toEqual({ received: 8, dead: 0, refused: 0 });
    expect(await Promise.all(answers)).toEqual(answers.map((_, i) => `got ${i}`));
    expect(native.sendMessage(sockets, Buffer.from("late"), [])).not.toBe(0);
    native.close(sockets);
    await receiver.close();
  });

  it("what finds no room by the deadline is closed, and counted", async () => {
    const server = net.createServer(() => {});
    const receiver = await attached(server, { overloaded: () => true });
    const { client, descriptor } = await sender.listener.pair();
    expect(sender.send(Buffer.from("x"), [descriptor])).toBe(0);
    native.close(descriptor);
    const gone = once(client, "close");
    await receiver.close({ timeout: 30 });
    await gone;
    expect(receiver.counts).toEqual({ received: 0, dead: 0, refused: 1 });
  });

  it("follows the server's close", async () => {
    const server = net.createServer(() => {});
    const receiver = await attached(server);
    const drained = once(receiver, "drained");
    server.close();
    await drained;
    expect(existsSync(path)).toBe(false);
  });
});
