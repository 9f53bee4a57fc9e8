/** 421 Misdirected Request, as real clients meet it. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import * as http from "node:http";
import * as http2 from "node:http2";
import * as https from "node:https";
import * as net from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Duplex } from "node:stream";
import { promisify } from "node:util";
import { afterEach, beforeAll, beforeEach, describe, expect, it, test } from "vitest";
import { hostOf } from "../../src/backend/authority.js";
import { attach, type GuardOptions, guard } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { Bridge, destroyAll } from "../support/bridge.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openDescriptors } from "../support/descriptors.js";
import type { Told } from "../support/fake-door.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";

const execute = promisify(execFile);
const TLS = 1;
const ECH = 3;

let folder: string;
let path: string;
let before: string[];
let bridge: Bridge;
let receiver: Receiver | undefined;
let own: Certificate;
const clients: net.Socket[] = [];
const sessions: (http2.ClientHttp2Session | http2.ServerHttp2Session)[] = [];
/** What the application has seen. */
let seen: string[];
/** What the guard has told. */
let told: unknown[];

beforeAll(async () => {
  own = await certificate("app.example", "other.example");
});

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
  writeFileSync(join(folder, "ca.pem"), own.cert);
  seen = [];
  told = [];
});

afterEach(async () => {
  destroyAll(clients);
  for (const session of sessions.splice(0)) session.destroy();
  bridge?.close();
  await receiver?.close({ timeout: 0 });
  receiver = undefined;
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length <= before.length);
});

const listener = (request: http.IncomingMessage | http2.Http2ServerRequest, response: http.ServerResponse) => {
  seen.push(`${request.method} ${request.url}`);
  request.resume();
  response.end("served");
};

async function guarded(
  server: net.Server,
  options: GuardOptions = {},
  about: Told = { name: "app.example", flags: TLS },
): Promise<void> {
  guard(server, { ...options, onMisdirected: (...facts) => told.push(facts) });
  server.on("session", (session: http2.ServerHttp2Session) => sessions.push(session));
  receiver = await attach(server, { path });
  bridge = await Bridge.open(path);
  bridge.told = about;
}

const secure = () => ({ cert: own.cert, key: own.key });

/** Sends bytes over a handed-over connection, and resolves to all that comes back until it ends. */
async function exchange(request: string, end = true): Promise<string> {
  const client = net.connect(bridge.port, "127.0.0.1");
  clients.push(client);
  let text = "";
  client.setEncoding("latin1").on("data", (data) => {
    text += data;
  });
  const ended = once(client, "close");
  client.write(request);
  await bridge.deliver();
  if (end) await ended;
  else await until("an answer", () => text.includes("\r\n\r\n"));
  return text;
}

const statuses = (text: string) => [...text.matchAll(/^HTTP\/1\.1 (\d+)/gm)].map((match) => Number(match[1]));

/** curl over one handed-over connection; `%{num_connects}` in the output would tell of more. */
async function curl(...options: string[]): Promise<string> {
  const running = execute(program("curl"), [
    ...["--silent", "--show-error", "--noproxy", "*", "--max-time", "20", "--cacert", join(folder, "ca.pem")],
    ...["--connect-to", `::127.0.0.1:${bridge.port}`, "--write-out", "%{http_version} %{http_code} %{num_connects}\\n"],
    ...["--output", "/dev/null", ...options],
  ]);
  await bridge.deliver();
  return (await running).stdout;
}

async function connectHttp2(authority = "https://app.example"): Promise<http2.ClientHttp2Session> {
  const session = http2.connect(authority, { port: bridge.port, host: "127.0.0.1", ca: own.cert, lookup } as never);
  sessions.push(session);
  session.on("error", () => {});
  const connected = once(session, "connect");
  await bridge.deliver();
  await connected;
  return session;
}

const lookup = (_: string, options: { all?: boolean }, done: (...args: unknown[]) => void) =>
  options.all ? done(null, [{ address: "127.0.0.1", family: 4 }]) : done(null, "127.0.0.1", 4);

async function ask(session: http2.ClientHttp2Session, headers: http2.OutgoingHttpHeaders, body?: string) {
  const stream = session.request(headers, { endStream: body === undefined });
  stream.on("error", () => {});
  if (body !== undefined) stream.end(body);
  const [answer] = await once(stream, "response");
  let text = "";
  for await (const chunk of stream.setEncoding("utf8")) text += chunk;
  return { status: answer[":status"] as number, type: answer["content-type"], text };
}

describe("HTTP/1.1", () => {
  const authorities: readonly (readonly [string, string, number])[] = [
    ["the name itself", "GET / HTTP/1.1\r\nHost: app.example\r\n", 200],
    ["in capitals, with a dot and a port", "GET / HTTP/1.1\r\nHost: APP.Example.:8443\r\n", 200],
    ["another name", "GET / HTTP/1.1\r\nHost: other.example\r\n", 421],
    ["a name that begins like it", "GET / HTTP/1.1\r\nHost: app.example.org\r\n", 421],
    ["a name below it", "GET / HTTP/1.1\r\nHost: a.app.example\r\n", 421],
    ["an address", "GET / HTTP/1.1\r\nHost: [::1]:443\r\n", 421],
    ["user information", "GET / HTTP/1.1\r\nHost: app.example@other.example\r\n", 421],
    ["the target's other name, whatever Host is", "GET https://other.example/ HTTP/1.1\r\nHost: app.example\r\n", 421],
    ["the target's name, Host another", "GET https://app.example/ HTTP/1.1\r\nHost: other.example\r\n", 421],
    ["both the same", "GET https://app.example?x HTTP/1.1\r\nHost: app.example\r\n", 200],
    ["of two Host fields the second", "GET / HTTP/1.1\r\nHost: app.example\r\nhOST: other.example\r\n", 421],
    ["an empty Host", "GET / HTTP/1.1\r\nHost:\r\n", 200],
    ["none, as HTTP/1.0 has it", "GET / HTTP/1.0\r\n", 200],
    ["an asterisk", "OPTIONS * HTTP/1.1\r\nHost: other.example\r\n", 421],
  ];
  it.each(authorities)("%s", async (_, head, status) => {
    await guarded(http.createServer(listener));
    expect(statuses(await exchange(`${head}Connection: close\r\n\r\n`))).toEqual([status]);
    expect(seen).toHaveLength(status === 200 ? 1 : 0);
    expect(told).toHaveLength(status === 200 ? 0 : 1);
  });

  it("the connection goes on, and the body that nobody wanted is not the next request", async () => {
    await guarded(http.createServer(listener));
    const body = "GET /smuggled HTTP/1.1\r\nHost: app.example\r\n\r\n";
    const text = await exchange(
      `POST /a HTTP/1.1\r\nHost: other.example\r\nContent-Length: ${body.length}\r\n\r\n${body}` +
        "GET /b HTTP/1.1\r\nHost: app.example\r\nConnection: close\r\n\r\n",
    );
    expect(statuses(text)).toEqual([421, 200]);
    expect(text.split("\r\n\r\n")[0]).toMatch(/Connection: keep-alive/i);
    expect(text).toContain("cache-control: no-store");
    expect(seen).toEqual(["GET /b"]);
    expect(told).toEqual([["other.example", "app.example"]]);
  });

  it("a client that waits for 100 Continue gets 421 at once, and the end", async () => {
    const server = http.createServer(listener);
    server.on("checkContinue", (_, response) => {
      seen.push("checkContinue");
      response.writeContinue();
    });
    await guarded(server);
    const text = await exchange(
      "PUT / HTTP/1.1\r\nHost: other.example\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n",
    );
    expect(statuses(text)).toEqual([421]);
    expect(text).toMatch(/Connection: close/i);
    expect(seen).toEqual([]);
  });

  it("other expectations, too", async () => {
    const server = http.createServer(listener);
    server.on("checkExpectation", () => seen.push("checkExpectation"));
    await guarded(server);
    expect(statuses(await exchange("GET / HTTP/1.1\r\nHost: other.example\r\nExpect: tea\r\n\r\n"))).toEqual([421]);
    expect(seen).toEqual([]);
  });

  it.each([
    ["upgrade", "GET /chat HTTP/1.1\r\nHost: other.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nmore"],
    ["connect", "CONNECT other.example:443 HTTP/1.1\r\nHost: app.example\r\n\r\nmore"],
  ])("%s: answered, and closed", async (event, request) => {
    const server = http.createServer(listener);
    server.on(event, (_: unknown, socket: Duplex) => {
      seen.push(event);
      socket.end("HTTP/1.1 200 OK\r\n\r\n");
    });
    await guarded(server);
    const text = await exchange(request);
    expect(statuses(text)).toEqual([421]);
    expect(text).toContain("connection: close\r\n");
    expect(seen).toEqual([]);
    expect(statuses(await exchange(request.replace(/other/, "app")))).toEqual([200]);
    expect(seen).toEqual([event]);
  });

  it("a client that stays open after the answer to its upgrade is parted with", async () => {
    const server = http.createServer(listener);
    server.on("upgrade", () => {});
    await guarded(server);
    const client = net.connect({ port: bridge.port, host: "127.0.0.1", allowHalfOpen: true });
    clients.push(client);
    client.resume().on("error", () => {});
    const ended = once(client, "end");
    client.write("GET / HTTP/1.1\r\nHost: other.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    await bridge.deliver();
    await ended;
    await until("the server's end of it", () => (server as unknown as { _connections: number })._connections === 0);
  });

  it("curl over TLS: the connection is used again", async () => {
    await guarded(https.createServer(secure(), listener));
    const output = await curl(
      ...["--http1.1", "--header", "Host: other.example", "--data", "x=1", "https://app.example/"],
      ...["--next", "--cacert", join(folder, "ca.pem"), "--connect-to", `::127.0.0.1:${bridge.port}`, "--silent"],
      ...["--output", "/dev/null", "--write-out", "%{http_version} %{http_code} %{num_connects}\\n"],
      "https://app.example/right",
    );
    expect(output).toBe("1.1 421 1\n1.1 200 0\n");
    expect(seen).toEqual(["GET /right"]);
  });

  it("listeners that were there before the guard see nothing, either", async () => {
    const server = http.createServer();
    server.prependListener("request", listener);
    await guarded(server);
    server.prependListener("request", () => seen.push("late"));
    expect(statuses(await exchange("GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n"))).toEqual([
      421,
    ]);
    expect(seen).toEqual([]);
  });
});

describe("HTTP/2", () => {
  it("curl, whose Host becomes :authority", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never));
    expect(await curl("--http2", "--header", "Host: other.example", "https://app.example/")).toBe("2 421 1\n");
    expect(await curl("--http2", "https://app.example:443/")).toBe("2 200 1\n");
    expect(seen).toEqual(["GET /"]);
    expect(told).toEqual([["other.example", "app.example"]]);
  });

  it("one stream is refused, and the others of its connection go on", async () => {
    const server = http2.createSecureServer(secure(), (_, response) => {
      seen.push("request");
      waiting.push(() => response.end("served"));
    });
    const waiting: (() => void)[] = [];
    await guarded(server);
    const session = await connectHttp2();
    const first = ask(session, { ":path": "/" });
    await until("the first request", () => waiting.length === 1);
    expect(await ask(session, { ":path": "/", ":authority": "other.example" })).toMatchObject({
      status: 421,
      type: "text/plain; charset=utf-8",
      text: expect.stringContaining("Misdirected Request"),
    });
    waiting[0]!();
    expect(await first).toMatchObject({ status: 200, text: "served" });
    const last = ask(session, { ":path": "/", ":authority": "App.Example:8443" });
    await until("the last request", () => waiting.length === 2);
    waiting[1]!();
    expect(await last).toMatchObject({ status: 200 });
    expect(session.destroyed).toBe(false);
    expect(seen).toEqual(["request", "request"]);
  });

  it("the body of a refused request is not read: the stream ends without an error, the connection lives", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never));
    const session = await connectHttp2();
    const stream = session.request({ ":method": "POST", ":path": "/", ":authority": "other.example" });
    const errors: unknown[] = [];
    stream.on("error", (error) => errors.push(error)).resume();
    const answered = once(stream, "response");
    stream.write(Buffer.alloc(1 << 20));
    expect((await answered)[0][":status"]).toBe(421);
    await once(stream, "close");
    expect({ errors, code: stream.rstCode }).toEqual({ errors: [], code: http2.constants.NGHTTP2_NO_ERROR });
    expect(await ask(session, { ":method": "POST", ":path": "/b" }, "x".repeat(100_000))).toMatchObject({
      status: 200,
    });
    expect(seen).toEqual(["POST /b"]);
  });

  it("HEAD has no body", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never));
    const session = await connectHttp2();
    const asked = { ":method": "HEAD", ":path": "/", ":authority": "other.example" };
    expect(await ask(session, asked)).toMatchObject({ status: 421, text: "" });
  });

  it("a Host field counts beside :authority", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never));
    const session = await connectHttp2();
    expect(await ask(session, { ":path": "/", host: "other.example" })).toMatchObject({ status: 421 });
    expect(await ask(session, { ":path": "/", host: "app.example" })).toMatchObject({ status: 200 });
  });

  it("'stream' listeners of the server and of the session, and extended CONNECT", async () => {
    const server = http2.createSecureServer({ ...secure(), settings: { enableConnectProtocol: true } });
    server.on("stream", (stream, headers) => {
      seen.push(`${headers[":method"]} by the server`);
      stream.respond({ ":status": 200 }, { endStream: true });
    });
    server.on("session", (session) => session.on("stream", () => seen.push("by the session")));
    await guarded(server);
    const session = await connectHttp2();
    if (session.remoteSettings.enableConnectProtocol !== true) await once(session, "remoteSettings");
    const socket = { ":method": "CONNECT", ":protocol": "websocket", ":scheme": "https", ":path": "/chat" };
    expect(await ask(session, { ...socket, ":authority": "other.example" }, "")).toMatchObject({ status: 421 });
    expect(seen).toEqual([]);
    expect(await ask(session, { ...socket, ":authority": "app.example" }, "")).toMatchObject({ status: 200 });
    expect(seen).toEqual(["CONNECT by the server", "by the session"]);
  });

  it("a stream that its client has reset already", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never));
    const session = await connectHttp2();
    for (let i = 0; i < 20; i++) {
      const stream = session.request({ ":path": "/", ":authority": "other.example" });
      stream.on("error", () => {});
      stream.close(http2.constants.NGHTTP2_CANCEL);
    }
    expect(await ask(session, { ":path": "/last" })).toMatchObject({ status: 200 });
    expect(seen).toEqual(["GET /last"]);
  });

  it("clients that speak HTTP/1.1 with the same server", async () => {
    await guarded(http2.createSecureServer({ ...secure(), allowHTTP1: true }, listener as never));
    expect(await curl("--http1.1", "--header", "Host: other.example", "https://app.example/")).toBe("1.1 421 1\n");
    expect(await curl("--http1.1", "https://app.example/")).toBe("1.1 200 1\n");
    expect(seen).toEqual(["GET /"]);
  });
});

describe("what is not known", () => {
  const elsewhere = "GET / HTTP/1.1\r\nHost: other.example\r\nConnection: close\r\n\r\n";
  const anonymous = "GET / HTTP/1.0\r\n\r\n";

  it.each<readonly [string, Told, string, number]>([
    ["no server name", { flags: TLS }, elsewhere, 200],
    ["no server name", { flags: TLS }, elsewhere, 421],
    ["no authority", { name: "app.example", flags: TLS }, anonymous, 200],
    ["no authority", { name: "app.example", flags: TLS }, anonymous, 421],
    ["neither", { flags: TLS }, anonymous, 421],
    ["a name that may be the outer one", { name: "app.example", flags: ECH }, elsewhere, 200],
    ["a name that may be the outer one", { name: "app.example", flags: ECH }, elsewhere, 421],
  ])("%s: %j %j -> %i", async (_, about, request, status) => {
    await guarded(http.createServer(listener), status === 421 ? { unknown: "refuse" } : {}, about);
    expect(statuses(await exchange(request))).toEqual([status]);
  });

  it("an encrypted hello's name is known if the handshake found the same", async () => {
    await guarded(https.createServer(secure(), listener), {}, { name: "app.example", flags: ECH });
    expect(await curl("--http1.1", "--header", "Host: other.example", "https://app.example/")).toBe("1.1 421 1\n");
    expect(await curl("--http1.1", "--header", "Host: third.example", "https://other.example/")).toBe("1.1 200 1\n");
  });

  it("likewise over HTTP/2", async () => {
    await guarded(http2.createSecureServer(secure(), listener as never), {}, { name: "app.example", flags: ECH });
    expect(await curl("--http2", "--header", "Host: other.example", "https://app.example/")).toBe("2 421 1\n");
    expect(await curl("--http2", "--header", "Host: third.example", "https://other.example/")).toBe("2 200 1\n");
  });

  it("a connection that the server accepted by itself", async () => {
    const server = http.createServer(listener).listen(0, "127.0.0.1");
    await once(server, "listening");
    await guarded(server);
    const { port } = server.address() as net.AddressInfo;
    const client = net.connect(port, "127.0.0.1");
    clients.push(client);
    const answered = once(client, "data");
    client.write(elsewhere);
    expect(statuses(String((await answered)[0]))).toEqual([200]);
    server.close();
  });
});

describe("also", () => {
  const get = (host: string) => exchange(`GET / HTTP/1.1\r\nHost: ${host}\r\nConnection: close\r\n\r\n`).then(statuses);

  it("names and wildcards", async () => {
    await guarded(http.createServer(listener), { also: ["Other.Example.", "*.apps.example"] });
    expect(await get("other.example:8443")).toEqual([200]);
    expect(await get("a.b.apps.example")).toEqual([200]);
    expect(await get("apps.example")).toEqual([421]);
    expect(await get("third.example")).toEqual([421]);
  });

  it("a function", async () => {
    const asked: unknown[] = [];
    const also = (...facts: unknown[]) => asked.push(facts) < 2;
    await guarded(http.createServer(listener), { also });
    expect(await get("Other.Example:8443")).toEqual([200]);
    expect(await get("app.example")).toEqual([200]);
    expect(await get("other.example")).toEqual([421]);
    expect(asked).toEqual([
      ["other.example", "app.example"],
      ["other.example", "app.example"],
    ]);
  });

  it("counts for connections without a server name, where others are refused", async () => {
    await guarded(http.createServer(listener), { also: ["other.example"], unknown: "refuse" }, { flags: TLS });
    expect(await get("other.example")).toEqual([200]);
    expect(await get("app.example")).toEqual([421]);
  });
});

test.each<readonly [unknown, GuardOptions, string]>([
  [net.createServer(), {}, "the server is none of http, https or http2"],
  [{}, {}, "the server is none of http, https or http2"],
  [http.createServer(), { unknown: "maybe" as never }, 'unknown is "maybe"; "pass" or "refuse" is needed'],
  [http.createServer(), { also: "a.example" as never }, "also is neither a list of names nor a function"],
  [http.createServer(), { also: [1] as never }, "also has a number among its names"],
  [
    http.createServer(),
    { also: ["a b"] },
    'also: "a b" holds " " (U+0020): allowed are letters, digits, "-", "_" and "."',
  ],
])("wrong options (%#)", (server, options, message) => {
  expect(() => guard(server as net.Server, options)).toThrow(expect.objectContaining({ code: "ERR_OPTION", message }));
});

test.each([
  ["a.example", "a.example"],
  ["A.Example.:1", "a.example"],
  ["a.example:", "a.example"],
  ["[2001:DB8::1]:443", "[2001:db8::1]"],
  ["[2001:db8::1]", "[2001:db8::1]"],
  ["a:b:1", "a:b"],
  ["a:x", "a:x"],
  ["", ""],
  [".", ""],
])("the host of %j is %j", (authority, host) => {
  expect(hostOf(authority)).toBe(host);
});
