import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import * as tls from "node:tls";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { attach, type HandoffInfo, handoffInfo, receive } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { body } from "../support/body.js";
import { Bridge } from "../support/bridge.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openDescriptors } from "../support/descriptors.js";
import { until } from "../support/wait.js";

let folder: string;
let path: string;
let before: string[];
let bridge: Bridge;
let own: Certificate;

const told = {
  name: "app.example",
  alpn: "h2",
  flags: 3,
  connectionId: (7n << 32n) | 5n,
  acceptedAt: 1589000000000000001n,
};
const info: HandoffInfo = {
  serverName: "app.example",
  alpn: "h2",
  connectionId: (7n << 32n) | 5n,
  acceptedAt: 1589000000000000001n,
  tls: true,
  ech: true,
};

beforeAll(async () => {
  own = await certificate("app.example");
});

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
});

afterEach(async () => {
  bridge.close();
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length === before.length);
});

async function attached(server: net.Server): Promise<Receiver> {
  const receiver = await attach(server, { path });
  bridge = await Bridge.open(path);
  bridge.told = told;
  return receiver;
}

/** Drains the receiver, and waits until the server has closed with all of its connections. */
async function closed(receiver: Receiver, server: net.Server): Promise<void> {
  const events: string[] = [];
  server.on("close", () => events.push("close"));
  const end = receiver.close();
  await bridge.drain();
  await end;
  expect(server.listening).toBe(false);
  await until("the server's 'close'", () => events.length > 0);
  expect(events).toEqual(["close"]);
}

const connections = (server: net.Server) =>
  new Promise<number>((resolve) => server.getConnections((_, count) => resolve(count)));

/** Known once the client is connected, and not when it is closed. */
const localPort = (client: net.Socket) => once(client, "connect").then(() => client.localPort);

/** The answer to a request, and the client's own port, both however early they come. */
async function answerTo(request: http.ClientRequest): Promise<{ text: string; port: number }> {
  let port = 0;
  request.once("socket", (socket) =>
    socket.once("connect", () => {
      port = socket.localPort!;
    }),
  );
  const [response] = await once(request, "response");
  return { text: await body(response), port };
}

describe("a handed-over connection is one that the server accepted:", () => {
  it("net", async () => {
    const server = net.createServer((socket) => {
      expect(socket.remoteAddress).toBe("127.0.0.1");
      expect(handoffInfo(socket)).toEqual(info);
      socket.end(`you are port ${socket.remotePort}`);
    });
    const receiver = await attached(server);
    const client = net.connect(bridge.port, "127.0.0.1");
    const answer = body(client);
    const port = localPort(client);
    await bridge.deliver();
    expect(await answer).toBe(`you are port ${await port}`);
    await until("the end of the connection", async () => (await connections(server)) === 0);
    await closed(receiver, server);
  });

  it("http", async () => {
    const server = http.createServer((request, response) => {
      expect(handoffInfo(request)).toEqual(info);
      expect(handoffInfo(request.socket)).toEqual(info);
      response.end(`${request.url} for port ${request.socket.remotePort}`);
    });
    const receiver = await attached(server);
    const request = http.get({ port: bridge.port, host: "127.0.0.1", path: "/a", agent: false });
    const answer = answerTo(request);
    await bridge.deliver();
    const { text, port } = await answer;
    expect(text).toBe(`/a for port ${port}`);
    await closed(receiver, server);
  });

  it("https", async () => {
    const server = https.createServer({ cert: own.cert, key: own.key }, (request, response) => {
      expect(handoffInfo(request)).toEqual(info);
      response.end(`port ${request.socket.remotePort}, ${(request.socket as tls.TLSSocket).getProtocol()}`);
    });
    const receiver = await attached(server);
    const request = https.get({
      port: bridge.port,
      host: "127.0.0.1",
      servername: own.name,
      ca: own.cert,
      agent: false,
    });
    const answer = answerTo(request);
    await bridge.deliver();
    const { text, port } = await answer;
    expect(text).toBe(`port ${port}, TLSv1.3`);
    await closed(receiver, server);
  });

  it("http2 over TLS, and http/1.1 beside it", async () => {
    const server = http2.createSecureServer({ cert: own.cert, key: own.key, allowHTTP1: true }, (request, response) => {
      expect(handoffInfo(request)).toEqual(info);
      response.end(`${request.httpVersion} for port ${request.socket.remotePort}`);
    });
    server.on("session", (session) => expect(handoffInfo(session)).toEqual(info));
    server.on("stream", (stream) => expect(handoffInfo(stream)).toEqual(info));
    const receiver = await attached(server);

    const session = http2.connect(`https://127.0.0.1:${bridge.port}`, { ca: own.cert, servername: own.name });
    const port = once(session, "connect").then(() => session.socket.localPort);
    const answer = body(session.request({ ":path": "/" }));
    await bridge.deliver();
    expect(await answer).toBe(`2.0 for port ${await port}`);
    session.close();
    await once(session, "close");

    const request = https.get({
      port: bridge.port,
      host: "127.0.0.1",
      servername: own.name,
      ca: own.cert,
      agent: false,
    });
    const h1Answer = answerTo(request);
    await bridge.deliver();
    const { text, port: h1Port } = await h1Answer;
    expect(text).toBe(`1.1 for port ${h1Port}`);
    await closed(receiver, server);
  });

  it("http2 without TLS; after its session has ended nothing is known", async () => {
    let ended: http2.ServerHttp2Session | undefined;
    const server = http2.createServer((request, response) => {
      expect(handoffInfo(request)).toEqual(info);
      ended = request.stream.session as http2.ServerHttp2Session;
      response.end("h2c");
    });
    const receiver = await attached(server);
    const session = http2.connect(`http://127.0.0.1:${bridge.port}`);
    const answer = body(session.request({ ":path": "/" }));
    await bridge.deliver();
    expect(await answer).toBe("h2c");
    session.close();
    await until("the session's end", () => ended?.destroyed);
    expect(handoffInfo(ended!)).toBeUndefined();
    await closed(receiver, server);
  });

  it("tls; what the door told outlives the connection", async () => {
    let socket: tls.TLSSocket | undefined;
    const server = tls.createServer({ cert: own.cert, key: own.key }, (secure) => {
      socket = secure;
      secure.end(`${secure.remoteAddress} ${secure.remotePort}`);
    });
    const receiver = await attached(server);
    const client = tls.connect({ port: bridge.port, host: "127.0.0.1", ca: own.cert, servername: own.name });
    const answer = body(client);
    const port = localPort(client);
    await bridge.deliver();
    expect(await answer).toBe(`127.0.0.1 ${await port}`);
    await until("the end of the connection", () => socket?.destroyed);
    expect(handoffInfo(socket!)).toEqual(info);
    await closed(receiver, server);
  });
});

describe("receive", () => {
  it("gives the bare socket and what the door told", async () => {
    const seen: unknown[] = [];
    const receiver = await receive({ path, allowHalfOpen: true }, (socket, told) => {
      seen.push(told, socket.allowHalfOpen);
      socket.end(`port ${socket.remotePort}`);
    });
    bridge = await Bridge.open(path);
    const client = net.connect(bridge.port, "127.0.0.1");
    const answer = body(client);
    const port = localPort(client);
    await bridge.deliver({ connectionId: 9n });
    expect(await answer).toBe(`port ${await port}`);
    expect(seen).toEqual([{ connectionId: 9n, acceptedAt: 0n, tls: false, ech: false }, true]);
    const end = receiver.close();
    await bridge.drain();
    await end;
  });

  it("handoffInfo of a connection that was not handed over is undefined", async () => {
    const server = net.createServer((socket) => {
      expect(handoffInfo(socket)).toBeUndefined();
      socket.end("own");
    });
    const receiver = await attached(server);
    expect(handoffInfo(new net.Socket())).toBeUndefined();
    await closed(receiver, server);
  });

  it("refuses what is no server", async () => {
    const server = net.createServer();
    const receiver = await attached(server);
    await expect(attach({} as net.Server, { path })).rejects.toMatchObject({ code: "ERR_OPTION" });
    await closed(receiver, server);
  });
});

describe("the client that a PROXY header told", () => {
  it.each([
    ["IPv4", "39300a000001", { address: "10.0.0.1", port: 12345, family: "IPv4" }],
    ["IPv6", "bb0120010db8000000000000000000000001", { address: "2001:db8::1", port: 443, family: "IPv6" }],
  ])("%s", async (_, hex, client) => {
    const { FieldType } = await import("../../src/handoff/layout.js");
    const { handoffBytes, withField } = await import("../support/fake-door.js");
    const { handoffKey } = await import("../../src/backend/info.js");
    const bytes = withField(handoffBytes(), FieldType.CLIENT_ADDRESS, Buffer.from(hex, "hex"));
    const socket = { [handoffKey]: Buffer.from(bytes).toString("latin1") } as unknown as net.Socket;
    expect(handoffInfo(socket)?.client).toEqual(client);
    // Read once, kept after.
    expect(handoffInfo(socket)).toBe(handoffInfo(socket));
    const server = net.createServer();
    const receiver = await attached(server);
    await closed(receiver, server);
  });
});
