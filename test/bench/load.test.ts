/** The load generator (bench/load.c) against the benchmark's own server, which can be stopped. */
import { readFileSync } from "node:fs";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import { compilePrograms } from "../../bench/compile.mjs";
import { clientHello } from "../../bench/hello.mjs";
import { Child } from "../support/child.js";
import { deadPort } from "../support/relay-scene.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";

interface Result {
  readonly completed: number;
  readonly seconds: number;
  readonly failed: Readonly<Record<string, number>>;
  readonly latencyMicroseconds: { p50: number; p90: number; p99: number; max: number };
  readonly generator: { busyShare: number; cpuShare: number; limit: string };
  readonly open?: { rate: number; due: number; withoutFreeClient: number };
}

let folder: string;
let programs: { load: string; receiver: string };
let server: Child;
let port: number;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "load-"));
  await writeFile(join(folder, "hello"), clientHello("load.example", 517));
  programs = await compilePrograms();
  server = new Child(programs.receiver, ["-l", "127.0.0.1:0"]);
  port = await server.line("the server's port", (line) => (JSON.parse(line) as { port: number }).port);
});

afterAll(async () => {
  await server.end("SIGKILL");
  await rm(folder, { recursive: true });
});

const start = (options: string, to = port) =>
  new Child(programs.load, ["-f", join(folder, "hello"), ...options.split(" "), `127.0.0.1:${to}`]);

/** What it printed, once it has ended by itself. */
async function resultOf(load: Child): Promise<Result> {
  expect(await load.ended, load.stderr).toEqual({ status: 0, signal: null });
  return JSON.parse(load.lines[0]!) as Result;
}

const failures = ({ failed }: Result) => Object.entries(failed).filter(([, times]) => times > 0);

/** Connections to a port in a state of proc(5). */
const connectionsTo = (to: number, state: "01" | "06") =>
  readFileSync("/proc/net/tcp", "latin1")
    .split("\n")
    .filter((line) => line.includes(`:${to.toString(16).toUpperCase().padStart(4, "0")} ${state} `)).length;
/** Those in TIME_WAIT. */
const waiting = (to: number) => connectionsTo(to, "06");
const connected = (to: number) => connectionsTo(to, "01") > 0;

test("an open loop makes as many connections as are due, spread over the threads", async () => {
  const result = await resultOf(start("-R 300 -d 0.5 -w 0.1 -c 400 -t 2 -D 60000"));
  expect(result.open).toMatchObject({ rate: 300, due: 150, withoutFreeClient: 0 });
  expect(failures(result)).toEqual([]);
});

test("an open loop's latency runs from when a connection was due: a stop of the server is seen by all that came meanwhile", async () => {
  // One client: in a closed loop it would have waited once, and the other 99 % would look quick.
  server.process.kill("SIGSTOP");
  const load = start("-R 100 -d 2 -w 0 -c 1 -D 60000");
  await until("the first connection", () => connected(port));
  await new Promise((resolve) => setTimeout(resolve, 1000));
  server.process.kill("SIGCONT");
  const result = await resultOf(load);
  expect(failures(result)).toEqual([]);
  expect(result.latencyMicroseconds.max).toBeGreaterThan(900_000);
  expect(result.latencyMicroseconds.p90).toBeGreaterThan(500_000);
  expect(result.open!.withoutFreeClient).toBeGreaterThan(50);
});

test("an open loop counts what a stopped server never answers, with the time it has waited", async () => {
  server.process.kill("SIGSTOP");
  const load = start("-R 100 -d 0.3 -w 0 -c 10");
  const result = await resultOf(load).finally(() => server.process.kill("SIGCONT"));
  expect(result.open!.due).toBe(30);
  expect(failures(result)).toEqual([["unanswered", 30]]);
  // Two seconds are given to what is open at the end.
  expect(result.latencyMicroseconds.p50).toBeGreaterThan(2_000_000);
});

test("one connection each: all are made at once, and the program ends with the last", async () => {
  const result = await resultOf(start("-1 -c 500 -d 60"));
  expect(result.completed).toBe(500);
  expect(failures(result)).toEqual([]);
  expect(result.seconds).toBeLessThan(50);
});

test("a closed port is told as refused", async () => {
  expect(failures(await resultOf(start("-1 -c 5 -d 60", await deadPort())))).toEqual([["refused", 5]]);
});

test("it says when it was the limit itself: not at a hundred connections a second", async () => {
  // It may have waited for a core on a machine that has other things to do.
  await below("share of the time", 0.95, async () => {
    const { generator } = await resultOf(start("-c 4 -r 20000 -d 0.5 -w 0"));
    expect(["none", "cores"]).toContain(generator.limit);
    return generator.busyShare;
  });
  // Ten million a second are more than any program begins in time.
  const hurried = await resultOf(start("-R 10000000 -d 0.1 -w 0 -c 5000"));
  expect(["generator", "cores"]).toContain(hurried.generator.limit);
});

/** Whether the kernel keeps one more in TIME_WAIT: those of others that are there leave within a minute. */
function keepsWaiting(): boolean {
  const [, count] = / tw (\d+)/.exec(readFileSync("/proc/net/sockstat", "latin1"))!;
  return Number(count) + 1000 < Number(readFileSync("/proc/sys/net/ipv4/tcp_max_tw_buckets", "latin1"));
}

test("it closes by RST, which leaves no port waiting, or by FIN", async () => {
  await until("room for connections in TIME_WAIT", keepsWaiting, 120_000);
  // A load that ends with unanswered connections leaves some.
  const before = waiting(port);
  await resultOf(start("-1 -c 20 -d 60 -s 0"));
  expect(waiting(port)).toBeLessThanOrEqual(before);
  await resultOf(start("-1 -c 20 -d 60 -s 0 -F"));
  expect(waiting(port)).toBeGreaterThanOrEqual(20);
});

test("clients come from as many addresses as they are told to", async () => {
  const seen = new Set<string | undefined>();
  const sockets = new Set<Socket>();
  const origin = createServer((socket) => {
    seen.add(socket.remoteAddress);
    sockets.add(socket);
    socket.on("error", () => {});
    socket.once("data", () => socket.write("answer"));
  });
  await new Promise<void>((resolve) => origin.listen(0, "127.0.0.1", resolve));
  await resultOf(start("-1 -c 60 -d 60 -s 30", (origin.address() as { port: number }).port));
  for (const socket of sockets) socket.destroy();
  await new Promise((resolve) => origin.close(resolve));
  expect([...seen].sort()).toEqual(Array.from({ length: 30 }, (_, i) => `127.64.0.${i + 1}`).sort());
});

test.each([
  ["-R 100 -1", "-R goes without -1, -n and -r"],
  ["-R 100 -r 5", "-R goes without -1, -n and -r"],
])("%s is refused", async (options, message) => {
  const load = start(`${options} -d 0.1`);
  expect(await load.ended).toEqual({ status: 1, signal: null });
  expect(load.stderr).toContain(message);
});

test("too few descriptors for its clients are told before it begins", async () => {
  const command = `ulimit -n 100; exec ${programs.load} -f ${join(folder, "hello")} -c 100 127.0.0.1:${port}`;
  const load = new Child("/bin/sh", ["-c", command]);
  expect(await load.ended).toEqual({ status: 1, signal: null });
  expect(load.stderr).toContain("100 clients need more descriptors than the limit of 100 (ulimit -Hn)");
});
