/** The examples for Node's servers behind a real door: each one's requests, a restart among them, and its end. */
import type { SpawnOptions } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import * as tls from "node:tls";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { WebSocket } from "ws";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { Folder } from "../support/folder.js";
import { ask, askHttp2, type Greeting, many, type Place } from "../support/greetings.js";
import { copyExample } from "../support/node-example.js";
import { until } from "../support/wait.js";

interface Row {
  readonly example: string;
  readonly says: string;
  /** More arguments. */
  readonly more?: readonly string[];
  readonly ask?: typeof ask;
  /** A folder of sockets, and how many processes are started. */
  readonly processes?: number;
  /** Sockets that are there when it is ready. */
  readonly sockets?: number;
  /** It listens on port 443, and is preloaded. */
  readonly unchanged?: true;
}

const rows: readonly Row[] = [
  { example: "node-express", says: "express" },
  { example: "node-fastify", says: "fastify", ask: askHttp2 },
  { example: "node-fastify", says: "fastify", more: ["1"] },
  { example: "node-hono", says: "hono" },
  { example: "node-koa", says: "koa" },
  { example: "node-nest", says: "nest" },
  { example: "node-ws", says: "ws" },
  { example: "node-unchanged", says: "node", unchanged: true },
  { example: "node-cluster", says: "cluster", more: ["2"], processes: 1, sockets: 2 },
  { example: "node-processes", says: "process \\d+", processes: 2, sockets: 2 },
];

const REQUESTS = 60;
const preload = new URL("../../dist/backend/listen.js", import.meta.url).href;

const folder = new Folder();
const children: Child[] = [];
let door: DoorProcess;
let own: Certificate;
let files: string[];

const nameOf = (index: number) => `row-${index}.example`;
/** What the door is told, and the example. */
const pathOf = (index: number) => folder.at(rows[index]!.processes === undefined ? `${index}.sock` : `${index}`);

beforeAll(async () => {
  own = await certificate(...rows.map((_, index) => nameOf(index)));
  files = [folder.write("cert.pem", own.cert), folder.write("key.pem", own.key)];
  for (const [index, { processes }] of rows.entries()) if (processes !== undefined) mkdirSync(pathOf(index));
  const backends = rows.map(
    ({ processes }, index) =>
      `  row-${index}: { handoff: "${pathOf(index)}${processes === undefined ? "" : "/"}", hold: 60s }\n`,
  );
  const routes = rows.map((_, index) => `  ${nameOf(index)}: row-${index}\n`);
  door = await DoorProcess.start(folder.path, `backends:\n${backends.join("")}routes:\n${routes.join("")}`);
});

afterEach(async () => {
  for (const child of children.splice(0)) await child.end("SIGKILL");
});

afterAll(async () => {
  expect((await door.stop()).defect).toBe(0);
});

async function start(index: number, options: SpawnOptions = {}): Promise<Child> {
  const { example, more = [], unchanged } = rows[index]!;
  const home = join(folder.path, "examples");
  const program = join(running.get(example) ?? copyExample(example, home), "server.mjs");
  running.set(example, join(home, example));
  const path = pathOf(index);
  const child = unchanged
    ? new Child(process.execPath, ["--import", preload, program, ...files], {
        env: { ...process.env, SNI_HANDOFF: `443=${path}` },
      })
    : new Child(process.execPath, [program, path, ...files, ...more], options);
  children.push(child);
  const says = `listening on ${unchanged ? "port 443" : path}`;
  await child.line("what it listens on", (line) => line === says);
  return child;
}
/** Copies of examples that are there. */
const running = new Map<string, string>();

async function terminate(child: Child): Promise<void> {
  expect(await child.end("SIGTERM")).toEqual({ status: 0, signal: null });
  // Beside what the preload says at the start.
  expect(child.stderr.replace(/^sni-handoff: \S+:443 is received on \S+\n/, "")).toBe("");
}

function expectRight(answers: readonly Greeting[], says: string): void {
  for (const { status, text, client } of answers) {
    expect(status).toBe(200);
    expect(text).toMatch(new RegExp(`^hello from ${says}: ${client.replaceAll(".", "\\.")}\n$`));
  }
}

describe.each(rows.map((row, index) => ({ ...row, index, title: [row.example, ...(row.more ?? [])].join(" ") })))(
  "$title",
  (row) => {
    const place = (): Place => ({ port: door.port, name: nameOf(row.index), cert: own.cert });
    const one = () => (row.ask ?? ask)(place());

    it("answers each client with its own address, restarted meanwhile, and leaves nothing open", async () => {
      const { index, processes = 1, sockets = 1 } = row;
      const running: Child[] = [];
      for (let i = 0; i < processes; i++) running.push(await start(index));
      await door.instances(`row-${index}`, sockets);
      const before = running.map(({ pid }) => openSockets(pid));
      expectRight(await many((asked) => asked < REQUESTS, 10, one), row.says);
      await until("the sockets of before", () => running.every(({ pid }, i) => openSockets(pid) === before[i]));

      let isDone = false;
      const asked = many((count) => !isDone || count < REQUESTS, 10, one);
      for (const [i, child] of running.entries()) {
        await terminate(child);
        running[i] = await start(index);
      }
      isDone = true;
      expectRight(await asked, row.says);
      for (const child of running) await terminate(child);
    });
  },
);

it("node-fastify with HTTP/2 answers clients of HTTP/1.1 too", async () => {
  const index = rows.findIndex((row) => row.ask === askHttp2);
  const child = await start(index);
  expectRight([await ask({ port: door.port, name: nameOf(index), cert: own.cert })], "fastify");
  await terminate(child);
});

it.each(["SIGTERM", "SIGINT"] as const)("node-cluster drains though %s reaches all its processes", async (signal) => {
  const index = rows.findIndex(({ example }) => example === "node-cluster");
  const child = await start(index, { detached: true });
  await door.instances(`row-${index}`, 2);
  const client = tls.connect({ port: door.port, host: "127.0.0.1", servername: nameOf(index), ca: own.cert });
  await once(client, "secureConnect");
  process.kill(-child.pid, signal);
  await until("DRAIN", () => readdirSync(pathOf(index)).length === 0);
  client.write(`GET / HTTP/1.1\r\nHost: ${nameOf(index)}\r\n\r\n`);
  expect(await text(client)).toContain("hello from cluster");
  expect(await child.ended).toEqual({ status: 0, signal: null });
});

it("node-ws echoes, and tells its clients that it goes away", async () => {
  const index = rows.findIndex(({ example }) => example === "node-ws");
  const child = await start(index);
  const name = nameOf(index);
  const options = { servername: name, ca: own.cert, headers: { host: name } };
  const client = new WebSocket(`wss://127.0.0.1:${door.port}/`, options);
  const seen: string[] = [];
  let code: number | undefined;
  client.on("message", (data) => seen.push(String(data)));
  client.on("close", (status) => {
    code = status;
  });
  await until("the greeting", () => seen.length === 1);
  const { localAddress, localPort } = (client as unknown as { _socket: { localAddress: string; localPort: number } })
    ._socket;
  client.send("echoed");
  await until("the echo", () => seen.length === 2);
  expect(seen).toEqual([`hello ${localAddress}:${localPort}`, "echoed"]);
  await terminate(child);
  await until("the client's end", () => code !== undefined);
  expect(code).toBe(1001);
});

it("node-ws tells it to clients, too, whose WebSocket opens when it is ending already", async () => {
  const index = rows.findIndex(({ example }) => example === "node-ws");
  const child = await start(index);
  const client = tls.connect({ port: door.port, host: "127.0.0.1", servername: nameOf(index), ca: own.cert });
  await once(client, "secureConnect");
  child.process.kill("SIGTERM");
  await until("DRAIN", () => !existsSync(pathOf(index)));
  const key = Buffer.alloc(16).toString("base64");
  client.write(
    `GET / HTTP/1.1\r\nHost: ${nameOf(index)}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
      `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: ${key}\r\n\r\n`,
  );
  let seen = Buffer.alloc(0);
  client.on("data", (data: Buffer) => {
    seen = Buffer.concat([seen, data]);
  });
  // A close frame with a status (RFC 6455, 5.5.1).
  await until("1001", () => seen.includes(Buffer.from([0x88, 0x02, 0x03, 0xe9])));
  client.destroy();
  expect(await child.ended).toEqual({ status: 0, signal: null });
});
