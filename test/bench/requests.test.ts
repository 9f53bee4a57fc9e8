/** The clients that make requests (bench/requests.c) against a Node server, in a closed and in an open loop. */
import { createServer as createPlainServer } from "node:http";
import { createServer, type Server } from "node:https";
import type { AddressInfo } from "node:net";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compileRequests } from "../../bench/compile.mjs";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";

interface Result {
  readonly completed: number;
  readonly connections: number;
  readonly bytes: number;
  readonly failed: number;
  readonly seconds: number;
  readonly failures: Readonly<Record<string, number>>;
  readonly latencyMicroseconds: { p50: number; p99: number; max: number };
  readonly generator: { limit: string };
  readonly open?: { due: number; withoutFreeClient: number };
}

const big = Buffer.concat([Buffer.alloc(300_000), Buffer.from("end\n")]);
/** Milliseconds until an answer. */
let delay = 0;
let secured = 0;
let requested = 0;
const broken: string[] = [];
let path: string;
let tls: Server;
const answer = (url: string | undefined, end: (body: string | Buffer) => void) => {
  requested++;
  const body = url === "/big" ? big : "hello\n";
  delay === 0 ? end(body) : setTimeout(() => end(body), delay);
};
const plain = createPlainServer((request, response) => answer(request.url, (body) => response.end(body)));

beforeAll(async () => {
  const compiled = await compileRequests();
  if (!compiled.hasTls) throw new Error("this test needs OpenSSL's headers: apt-get install libssl-dev");
  path = compiled.path;
  tls = createServer(await certificate("requests.example"), (request, response) =>
    answer(request.url, (body) => response.end(body)),
  );
  tls.on("secureConnection", () => secured++);
  tls.on("tlsClientError", ({ message }) => broken.push(message));
  await Promise.all([tls, plain].map((each) => new Promise<void>((done) => each.listen(0, "127.0.0.1", done))));
});

afterAll(() => {
  for (const server of [tls, plain]) {
    server.closeAllConnections();
    server.close();
  }
});

const portOf = (server: { address(): unknown }) => (server.address() as AddressInfo).port;
const start = (options: readonly string[], port = portOf(tls)) => {
  const secure = port === portOf(tls) ? ["-s", "requests.example"] : [];
  return new Child(path, [...secure, ...options, `127.0.0.1:${port}`]);
};

async function resultOf(child: Child): Promise<Result> {
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(child.lines.at(-1)!) as Result;
}

/** The same, told to end after so many requests, however long those take. */
async function resultAfter(count: number, child: Child): Promise<Result> {
  await child.line("the beginning", (line) => line.includes("measuring"));
  const before = requested;
  await until("some requests", () => requested - before >= count);
  child.process.kill("SIGINT");
  return resultOf(child);
}

const hello = ["-e", "hello\n"];

test("a connection each request, over TLS", async () => {
  const result = await resultAfter(10, start([...hello, ..."-c 4 -t 2 -d 60 -w 0.1 -a 10".split(" ")]));
  expect(result.completed).toBeGreaterThan(0);
  expect(result.failed).toBe(0);
  expect(Math.abs(result.connections - result.completed)).toBeLessThanOrEqual(4);
});

test("kept connections, with TLS and without", async () => {
  for (const port of [portOf(tls), portOf(plain)]) {
    const before = requested;
    const result = await resultAfter(10, start([...hello, ..."-k -c 4 -d 60 -w 0".split(" ")], port));
    expect(result.failed).toBe(0);
    expect(result.connections).toBeLessThanOrEqual(4);
    expect(result.completed).toBeGreaterThan(4);
    expect(requested - before).toBeGreaterThanOrEqual(result.completed);
  }
});

test("handshakes only: the server sees no request, and an end in order", async () => {
  const before = { requested, secured, broken: broken.length };
  const child = start("-H -c 4 -d 60 -w 0".split(" "));
  await child.line("the beginning", (line) => line.includes("measuring"));
  await until("some handshakes", () => secured - before.secured >= 5);
  child.process.kill("SIGINT");
  const result = await resultOf(child);
  expect(result.completed).toBeGreaterThan(0);
  expect(result.failed).toBe(0);
  expect(secured - before.secured).toBe(result.completed);
  expect(requested).toBe(before.requested);
  expect(broken.slice(before.broken)).toEqual([]);
});

test("downloads are read to their end, and their bytes counted", async () => {
  const result = await resultAfter(5, start(["-p", "/big", "-e", "end\n", ..."-k -c 2 -d 60 -w 0".split(" ")]));
  expect(result.failed).toBe(0);
  expect(result.completed).toBeGreaterThan(0);
  expect(result.bytes).toBeGreaterThan(result.completed * big.length);
  expect(result.bytes).toBeLessThan(result.completed * (big.length + 500));
});

test("an open loop makes as many requests as are due, kept connections or not", async () => {
  for (const kept of [[], ["-k"]]) {
    const options = "-R 40 -t 2 -d 0.5 -w 0.1 -c 60 -D 60000".split(" ");
    const result = await resultOf(start([...hello, ...kept, ...options], portOf(plain)));
    expect(result.open).toMatchObject({ due: 20, withoutFreeClient: 0 });
    expect(result.failed).toBe(0);
    expect(result.latencyMicroseconds.p50).toBeGreaterThan(0);
  }
});

test("an open loop's latency runs from when a request was due", async () => {
  delay = 200;
  const options = "-k -R 20 -d 1 -w 0 -c 1".split(" ");
  const result = await resultOf(start([...hello, ...options], portOf(plain))).finally(() => {
    delay = 0;
  });
  // One client is through with five a second: the last ones are begun long after they were due.
  expect(result.open!.due).toBe(20);
  expect(result.open!.withoutFreeClient).toBeGreaterThan(10);
  expect(result.latencyMicroseconds.max).toBeGreaterThan(1_000_000);
});

test("told to end, it waits for the answers that are under way", async () => {
  delay = 300;
  const child = start([...hello, ..."-c 3 -d 60 -w 0".split(" ")], portOf(plain));
  const before = requested;
  await until("the requests", () => requested - before >= 3);
  child.process.kill("SIGTERM");
  const result = await resultOf(child).finally(() => {
    delay = 0;
  });
  expect(result.completed).toBe(requested - before);
  expect(result.failed).toBe(0);
});

test.each([
  [["-k"], "-k needs -e"],
  [["-R", "5", "-r", "5"], "-R goes without -r"],
  [["-H"], "-H needs -s"],
])("%s is refused", async (options, message) => {
  const child = start(options, portOf(plain));
  expect(await child.ended).toEqual({ status: 1, signal: null });
  expect(child.stderr).toContain(message);
});
