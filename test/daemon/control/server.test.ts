/** The control endpoint, with clients good, bad and slow. */
import { connect, type Socket } from "node:net";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { openDescriptors } from "../../support/descriptors.js";
import { FakeDaemon } from "../../support/fake-daemon.js";
import { Folder } from "../../support/folder.js";
import { someStatus } from "../../support/some-status.js";
import { below } from "../../support/trials.js";
import { until } from "../../support/wait.js";

/** Milliseconds that a server gives a client: one that is waited for, and none of those that are quick. */
const PATIENCE = 500;
const LONG = 60_000;

const folder = new Folder();
let daemon: FakeDaemon;
let before: number;

function daemonWith(patience: number): void {
  beforeAll(async () => {
    daemon = await FakeDaemon.start(folder.at("control.sock"), { patience });
  });
  afterAll(() => daemon.stop());
}

beforeEach(() => {
  before = openDescriptors().length;
  daemon.controlled.told.length = 0;
  daemon.controlled.answer = { ok: true, message: "done" };
  daemon.failures.length = 0;
});
afterEach(async () => {
  await until("descriptors as before", () => openDescriptors().length === before);
});

function open(): Socket {
  return connect(daemon.path).on("error", () => {});
}

/** What comes back for bytes, until the server closes. */
async function raw(bytes: string | Uint8Array): Promise<string> {
  const socket = open();
  socket.write(bytes);
  return drained(socket);
}

async function drained(socket: Socket): Promise<string> {
  let text = "";
  socket.setEncoding("latin1").on("data", (data) => {
    text += data;
  });
  // Not by `once`, which an error ends.
  await new Promise((resolve) => socket.on("close", resolve));
  return text;
}

interface Reply {
  readonly status: number;
  readonly headers: string;
  readonly body: { ok?: boolean; message: string; details?: string[] };
}

function parsed(text: string): Reply {
  const [headers = "", body = ""] = text.split("\r\n\r\n");
  return {
    status: Number(/^HTTP\/1\.1 (\d+)/.exec(headers)?.[1]),
    headers: headers.toLowerCase(),
    body: body === "" ? { message: "" } : JSON.parse(body),
  };
}

async function ask(method: string, path: string, body = ""): Promise<Reply> {
  return parsed(await raw(`${method} ${path} HTTP/1.1\r\nHost: x\r\nContent-Length: ${body.length}\r\n\r\n${body}`));
}

const everything = [
  "GET /status",
  "GET /metrics",
  "GET /diff",
  "POST /reload",
  "POST /upgrade",
  "POST /stop",
  "POST /drain/TARGET",
  "POST /undrain/TARGET",
  "PUT /log-level",
];

describe("what can be asked", () => {
  daemonWith(LONG);

  test("the status is JSON, and the connection ends with it", async () => {
    const { status, headers, body } = await ask("GET", "/status");
    expect(status).toBe(200);
    expect(headers).toContain("content-type: application/json; charset=utf-8");
    expect(headers).toContain("connection: close");
    expect(body).toEqual(JSON.parse(JSON.stringify(someStatus())));
  });

  test("metrics come as they are", async () => {
    const text = await raw("GET /metrics?x=1 HTTP/1.1\r\n\r\n");
    expect(text).toMatch(/^HTTP\/1\.1 200 .*Content-Type: text\/plain; version=0\.0\.4\r\n/s);
    expect(text).toMatch(/\r\n\r\nsni_handoff_up 1\n$/);
  });

  test("HEAD is GET without the body", async () => {
    const text = await raw("HEAD /status HTTP/1.1\r\n\r\n");
    expect(text).toMatch(/^HTTP\/1\.1 200 .*content-length: \d{3,}/is);
    expect(text).toMatch(/\r\n\r\n$/);
  });

  test.each([
    ["GET", "/diff", "", "diff"],
    ["POST", "/reload", "", "reload"],
    ["POST", "/upgrade", "", "upgrade"],
    ["POST", "/stop", "", "stop"],
    ["POST", "/drain/app", "", "drain app"],
    ["POST", "/undrain/pool/17-0a.sock", "", "undrain pool/17-0a.sock"],
    ["POST", "/drain/a%20b%2Fc%C3%A4", "", "drain a b/cä"],
    ["PUT", "/log-level", "debug\n", "setLogLevel debug"],
  ])("%s %s %j", async (method, path, body, told) => {
    expect(await ask(method, path, body)).toMatchObject({ status: 200, body: { ok: true, message: "done" } });
    expect(daemon.controlled.told).toEqual([told]);
  });

  test("what the daemon could not do is 409, with its reasons", async () => {
    daemon.controlled.answer = { ok: false, message: "the configuration is wrong", details: ["a.yaml:1:1: b"] };
    expect(await ask("POST", "/reload")).toMatchObject({ status: 409, body: daemon.controlled.answer });
  });

  test("a defect is 500 with its message, and is told", async () => {
    daemon.controlled.answer = async () => {
      throw new TypeError("x is not a function");
    };
    expect(await ask("POST", "/reload")).toMatchObject({
      status: 500,
      body: { ok: false, message: "the daemon failed to answer: x is not a function" },
    });
    expect(daemon.failures).toEqual(["POST /reload: x is not a function"]);
  });
});

describe("what cannot", () => {
  daemonWith(LONG);

  test.each(["/", "/status/", "/drainapp", "//status", "/reload/x", "*", "/%00"])(
    "%s: 404 lists what there is",
    async (path) => {
      expect(await ask("GET", path)).toMatchObject({
        status: 404,
        body: { ok: false, message: `there is no ${JSON.stringify(path)}`, details: everything },
      });
    },
  );

  test.each([
    ["POST", "/status", "get, head"],
    ["GET", "/reload", "post"],
    ["DELETE", "/drain/app", "post"],
    ["POST", "/log-level", "put"],
  ])("%s %s: 405 says which method", async (method, path, allowed) => {
    const { status, headers } = await ask(method, path);
    expect(status).toBe(405);
    expect(headers).toContain(`allow: ${allowed}\r\n`);
    expect(daemon.controlled.told).toEqual([]);
  });

  test.each([
    ["/drain", /a target is missing/],
    ["/drain/", /a target is missing/],
    ["/drain/%ff", /not percent-encoded UTF-8/],
    ["/drain/%", /not percent-encoded UTF-8/],
  ])("%s: 400", async (path, message) => {
    expect(await ask("POST", path)).toMatchObject({ status: 400, body: { message: expect.stringMatching(message) } });
  });

  test("a body that is too long: 413, announced or not", async () => {
    const announced = raw(`PUT /log-level HTTP/1.1\r\nContent-Length: 4097\r\n\r\n`);
    expect(parsed(await announced).status).toBe(413);
    const chunk = `1000\r\n${"x".repeat(4096)}\r\n`;
    const chunked = raw(`PUT /log-level HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n${chunk}${chunk}`);
    expect(parsed(await chunked)).toMatchObject({ status: 413, body: { message: "a body has at most 4096 bytes" } });
    expect((await ask("PUT", "/log-level", "x".repeat(4096))).status).toBe(200);
    expect(daemon.controlled.told).toHaveLength(1);
  });

  test("noise behind a request: the request's answer, and no other", async () => {
    const answer = await raw("POST /reload HTTP/1.1\r\n\r\nPOST /1\r\nE");
    expect(answer.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 200"]);
    const unexpected = await raw("POST /reload HTTP/1.1\r\nExpect: x\r\n\r\nnoise\r\n\r\n");
    expect(unexpected.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 417"]);
    const refused = await raw("GET /nothing HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nno chunk\r\n");
    expect(refused.match(/HTTP\/1\.1 \d+/g)).toEqual(["HTTP/1.1 404"]);
    expect(daemon.controlled.told).toEqual(["reload"]);
  });

  test.each([
    ["of HTTP/1.1", "POST /stop HTTP/1.1\r\n\r\n"],
    ["of HTTP/1.0, which Node's limit does not count", "POST /stop HTTP/1.0\r\n\r\n"],
    ["of HTTP/0.9", "POST /stop\n\r\n"],
    ["with an expectation", "POST /stop HTTP/1.0\r\nExpect: x\r\n\r\n"],
    ["CONNECT", "CONNECT /stop HTTP/1.1\r\n\r\n"],
  ])("a second request is not done, nor answered with success: %s", async (_, second) => {
    for (const first of ["POST /reload", "GET /nothing"]) {
      daemon.controlled.told.length = 0;
      const answer = await raw(`${first} HTTP/1.1\r\n\r\n${second}`);
      expect(answer).toMatch(first === "POST /reload" ? /^HTTP\/1\.1 200/ : /^HTTP\/1\.1 404/);
      expect(answer.match(/HTTP\/1\.1 2\d\d/g) ?? []).toHaveLength(first === "POST /reload" ? 1 : 0);
      expect(daemon.controlled.told).toEqual(first === "POST /reload" ? ["reload"] : []);
    }
  });

  test("another expectation than 100-continue: 417, in words like the others", async () => {
    const reply = parsed(await raw("POST /reload HTTP/1.1\r\nExpect: 200-ok\r\n\r\n"));
    expect(reply).toMatchObject({ status: 417, body: { message: 'nothing is expected here but "100-continue"' } });
    expect(daemon.controlled.told).toEqual([]);
  });

  test.each([
    ["noise", "\x00\x01\x02\x03\xff\xfe", 400],
    ["a TLS hello", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400],
    ["lines", "hello\r\nworld\r\n\r\n", 400],
    ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400],
    ["a head without end", `GET /status HTTP/1.1\r\nX: ${"x".repeat(10_000)}`, 431],
    ["two lengths", "PUT /log-level HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400],
    [
      "a length and chunks",
      "PUT /log-level HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      400,
    ],
    ["a wrong chunk", "PUT /log-level HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400],
    ["CONNECT", "CONNECT a:1 HTTP/1.1\r\n\r\n", 404],
  ])("%s is answered with an error in JSON", async (_what, bytes, status) => {
    expect(parsed(await raw(Buffer.from(bytes, "latin1")))).toMatchObject({ status, body: { ok: false } });
    expect(daemon.controlled.told).toEqual([]);
  });

  test("a second request behind the first is not done", async () => {
    const both = await raw("POST /reload HTTP/1.1\r\n\r\nPOST /stop HTTP/1.1\r\n\r\n");
    expect(daemon.controlled.told).toEqual(["reload"]);
    expect(both.match(/HTTP\/1\.1 200/g)).toHaveLength(1);
  });
});

describe("clients that keep it waiting", () => {
  daemonWith(PATIENCE);

  test.each([
    ["say nothing", ""],
    ["stop within the head", "GET /status HTTP/1.1\r\nX:"],
    ["stop within the body", "PUT /log-level HTTP/1.1\r\nContent-Length: 5\r\n\r\nde"],
  ])("are let go if they %s", async (_what, bytes) => {
    // Node's own patience would be a minute at least.
    await below("milliseconds", 10 * PATIENCE, async () => {
      const begun = performance.now();
      const text = await raw(bytes);
      const took = performance.now() - begun;
      if (text !== "") expect(parsed(text)).toMatchObject({ status: 408, body: { ok: false } });
      return took;
    });
    expect(daemon.controlled.told).toEqual([]);
  });

  test("by a byte now and then are let go, too", async () => {
    await below("milliseconds", 10 * PATIENCE, async () => {
      const socket = open();
      const drip = setInterval(() => socket.write("X"), 100);
      const begun = performance.now();
      await drained(socket);
      clearInterval(drip);
      return performance.now() - begun;
    });
  });

  test("are let go if they don't read the answer", async () => {
    const { backends } = someStatus();
    daemon.controlled.status_ = someStatus({ backends: Array.from({ length: 20_000 }, () => backends[0]!) });
    const socket = open();
    socket.pause();
    socket.write("GET /status HTTP/1.1\r\n\r\n");
    await until("the server's end of it", async () => (await connections()) === 1);
    await until("the server's end of it to go", async () => (await connections()) === 0);
    daemon.controlled.status_ = someStatus();
    socket.destroy();
  });

  test("an answer that takes longer than a client may take is waited for", async () => {
    let done = () => {};
    daemon.controlled.answer = () =>
      new Promise((resolve) => {
        done = () => resolve({ ok: true, message: "upgraded" });
      });
    const asked = ask("POST", "/upgrade");
    await until("the request", () => daemon.controlled.told.length === 1);
    await new Promise((resolve) => setTimeout(resolve, 3 * PATIENCE));
    done();
    expect(await asked).toMatchObject({ status: 200, body: { message: "upgraded" } });
  });
});

describe("clients", () => {
  daemonWith(LONG);

  test("that go before the answer leave nothing behind", async () => {
    let answer = () => {};
    daemon.controlled.answer = () =>
      new Promise((resolve) => {
        answer = () => resolve({ ok: true, message: "done" });
      });
    const socket = open();
    socket.write("POST /reload HTTP/1.1\r\n\r\n");
    await until("the request", () => daemon.controlled.told.length === 1);
    socket.destroy();
    await until("the server to see it", async () => (await connections()) === 0);
    answer();
    expect((await ask("GET", "/status")).status).toBe(200);
    expect(daemon.failures).toEqual([]);
  });

  test("are 64 at most; others are turned away, and all is well afterwards", async () => {
    const sockets = Array.from({ length: 64 }, open);
    await until("64 connections", async () => (await connections()) === 64);
    expect(await raw("GET /status HTTP/1.1\r\n\r\n")).toBe("");
    for (const socket of sockets) socket.destroy();
    await until("none", async () => (await connections()) === 0);
    expect((await ask("GET", "/status")).status).toBe(200);
  });
});

function connections(): Promise<number> {
  return new Promise((resolve, reject) =>
    daemon.server.getConnections((error, count) => (error ? reject(error) : resolve(count))),
  );
}
