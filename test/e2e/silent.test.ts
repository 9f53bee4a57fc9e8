/** Clients that wait for the server to speak first. */
import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { createServer, type Socket } from "node:net";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { attach } from "../../src/backend/index.js";
import type { Receiver } from "../../src/handoff/receiver.js";
import { header } from "../proxy-protocol/support.js";
import { program } from "../support/programs.js";
import { inParallel, type RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const run = promisify(execFile);
const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
const AFTER = 300;
let scene: Scene;
const receivers: Receiver[] = [];

beforeEach(() => {
  scene = new Scene();
});

afterEach(async () => {
  for (const receiver of receivers.splice(0)) await receiver.close({ timeout: 1000 });
  await scene.end();
});

const configuration = (more = "", after = `${AFTER}ms`) => `accessLog: all
backends:
  app: { handoff: "${scene.at("app")}" }
  smtp: { handoff: "${scene.at("smtp")}", hold: 60s }
  rest: { handoff: "${scene.at("rest")}" }
default: app
notTls: rest
silent: { after: ${after}, backend: smtp }
${more}`;

const greeting = "220 mail.test\r\n";
const smtp = () => scene.backend({ kind: "raw", path: scene.at("smtp"), name: "smtp", greeting });

/** What the server said first, before the client has said anything. */
function firstWords(client: RawClient): Promise<string> {
  return new Promise((resolve) => client.socket.once("data", (data) => resolve(data.toString())));
}

async function last(client: RawClient): Promise<string> {
  const { received } = await client.reply;
  return JSON.parse(received.toString().split("\r\n").at(-1)!).name;
}

describe("who sends nothing", () => {
  it("is greeted by the server after that time, and served", async () => {
    await smtp();
    await scene.startDoor(configuration(), { channels: 1 });
    let count = 0;
    // Not after a second, as with TCP_DEFER_ACCEPT.
    await below("milliseconds", 1200, async () => {
      count++;
      const begun = performance.now();
      const client = await scene.client();
      expect(await firstWords(client)).toBe(greeting);
      const waited = performance.now() - begun;
      expect(waited).toBeGreaterThanOrEqual(AFTER - 5);
      client.send(Buffer.from("QUIT END\n"));
      expect(await last(client)).toBe("smtp");
      return waited;
    });
    expect(await scene.counters()).toMatchObject({ silent: count, acknowledged: count, hello_timeout: 0 });
  });

  it("is a mail client: curl delivers a message through the port for TLS", async () => {
    const heard: string[] = [];
    const server = createServer((socket) => speakSmtp(socket, heard));
    receivers.push(await attach(server, { path: scene.at("smtp") }));
    const door = await scene.startDoor(configuration(), { channels: 1 });
    const message = `${scene.folder}/message`;
    writeFileSync(message, "Subject: hello\r\n\r\nhello\r\n");
    const addresses = ["--mail-from", "a@app.test", "--mail-rcpt", "b@mail.test"];
    await run(program("curl"), ["-sS", "--noproxy", "*", `smtp://127.0.0.1:${door.port}`, ...addresses, "-T", message]);
    expect(heard.join("")).toMatch(
      /^EHLO .*\r\nMAIL FROM:<a@app\.test>.*\r\nRCPT TO:<b@mail\.test>\r\nDATA\r\nSubject: hello/,
    );
  });

  it("but speaks in time goes where its words lead: TLS, or not", async () => {
    for (const name of ["app", "rest"]) await scene.raw(name);
    await smtp();
    await scene.startDoor(configuration("timeouts: { hello: 60s }\n", "30s"), { channels: 3 });
    const [tls, part, plain] = [await scene.client(), await scene.client(), await scene.client()];
    await scene.doorHas(3);
    tls.send(hello);
    part.send(hello.subarray(0, 10));
    plain.send(Buffer.from("HELO END\n"));
    expect(await last(tls)).toBe("app");
    expect(await last(plain)).toBe("rest");
    part.send(hello.subarray(10));
    expect(await last(part)).toBe("app");
    expect(await scene.counters()).toMatchObject({ silent: 0, acknowledged: 3, hello_timeout: 0, client_gone: 0 });
  });

  it("is not who has begun: the deadline of a hello holds", async () => {
    await smtp();
    await scene.startDoor(configuration("timeouts: { hello: 2s }\n", "1900ms"), { channels: 1 });
    const client = await scene.client(hello.subarray(0, 10));
    expect((await client.reply).received).toHaveLength(0);
    expect(await scene.counters()).toMatchObject({ silent: 0, hello_timeout: 1 });
  });

  it("and leaves is gone", async () => {
    await scene.startDoor(configuration("timeouts: { hello: 60s }\n", "30s"));
    const clients = [await scene.client(), await scene.client()];
    await scene.doorHas(2);
    clients[0]!.finish();
    clients[1]!.reset();
    expect(await scene.counters()).toMatchObject({ silent: 0, client_gone: 2 });
  });

  it("is held while its server is not there, and may speak meanwhile", async () => {
    await scene.raw("app");
    await scene.startDoor(configuration(), { channels: 1 });
    const [silent, speaking] = [await scene.client(), await scene.client()];
    await until("both to be held", () => scene.door.log.length > 0 && scene.clientsOfDoor === 2);
    await new Promise((resolve) => setTimeout(resolve, 2 * AFTER));
    speaking.send(hello);
    const words = firstWords(silent);
    await smtp();
    expect(await words).toBe(greeting);
    silent.send(Buffer.from("END\n"));
    expect(await last(silent)).toBe("smtp");
    expect(await last(speaking)).toBe("app");
    scene.idle += 1; // the channel
    expect(await scene.counters()).toMatchObject({ held: 2, acknowledged: 2, lost_after_read: 0 });
  });

  it("and is held is refused in the words of the protocol that it speaks by then", async () => {
    const held = configuration()
      .replace('rest.sock"', 'rest.sock", hold: 60s')
      .replace('app.sock"', 'app.sock", hold: 1s');
    const door = await scene.startDoor(`${held}timeouts: { drain: 1s }\n`);
    const [tls, plain, silent] = [await scene.client(), await scene.client(), await scene.client()];
    await scene.doorHas(3);
    await new Promise((resolve) => setTimeout(resolve, AFTER + 1000));
    tls.send(hello);
    plain.send(Buffer.from("HELO\n"));
    await new Promise((resolve) => setTimeout(resolve, 100));
    // They are looked at again.
    await door.reload();
    // A fatal alert, internal_error: RFC 8446 §6.
    expect((await tls.reply).received.subarray(-2)).toEqual(Buffer.of(2, 80));
    const counters = await door.stop();
    for (const client of [plain, silent]) expect((await client.reply).received).toHaveLength(0);
    expect(counters).toMatchObject({ accepted: 3, silent: 3, hold_timeout: 1, abandoned: 2 });
  });

  it("counts from the arrival, through an upgrade; and behind a PROXY header", async () => {
    const listener = "acceptProxyProtocol: [127.0.0.2]";
    await smtp();
    const door = await scene.startDoor(configuration("timeouts: { hello: 60s }\n", "9s"), { channels: 1, listener });
    const source = { family: "IPv4", address: "192.0.2.1", port: 1 } as const;
    // From the upgrade on anew it would be 9 s.
    await below("milliseconds", 9000, async () => {
      const balanced = await scene.client(header(1, { source, destination: source }), "127.0.0.2");
      const plain = await scene.client();
      const words = [balanced, plain].map(firstWords);
      await scene.doorHas(2);
      await new Promise((resolve) => setTimeout(resolve, 4000));
      const begun = performance.now();
      await door.upgrade();
      expect(await Promise.all(words)).toEqual([greeting, greeting]);
      const took = performance.now() - begun;
      for (const client of [balanced, plain]) client.send(Buffer.from("END\n"));
      const told = (await balanced.reply).received.toString().split("\r\n").at(-1)!;
      expect(JSON.parse(told)).toMatchObject({ client: "192.0.2.1 1", proxy: "127.0.0.2" });
      return took;
    });
  });

  it("a reload that ends it leaves them to the deadline; one that moves it counts anew from their arrival", async () => {
    await smtp();
    const door = await scene.startDoor(configuration("timeouts: { hello: 8s }\n", "6s"), { channels: 1 });
    const client = await scene.client();
    await scene.doorHas(1);
    door.write(configuration("timeouts: { hello: 8s }\n").replace(/^silent.*\n/m, ""));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect((await client.reply).received).toHaveLength(0);
    door.write(configuration("timeouts: { hello: 8s }\n", "60s"));
    await door.reload();
    const other = await scene.client();
    const words = firstWords(other);
    await scene.doorHas(1);
    door.write(configuration("timeouts: { hello: 8s }\n"));
    await door.reload();
    expect(await words).toBe(greeting);
    other.close();
    await until("the door to have no clients", () => scene.clientsOfDoor === 0);
  });
});

/** The least of RFC 5321 that a client needs. */
function speakSmtp(socket: Socket, heard: string[]): void {
  socket.write("220 mail.test ESMTP\r\n");
  let isMessage = false;
  socket.on("error", () => {});
  socket.on("data", (data) => {
    heard.push(data.toString());
    const text = data.toString();
    if (isMessage) {
      if (!heard.join("").endsWith("\r\n.\r\n")) return;
      isMessage = false;
      socket.write("250 OK\r\n");
    } else if (text.startsWith("DATA")) {
      isMessage = true;
      socket.write("354 go on\r\n");
    } else if (text.startsWith("QUIT")) socket.end("221 bye\r\n");
    else socket.write("250 OK\r\n");
  });
}

/** Memory of a process that is in use (proc_pid_statm(5)), in bytes, and its CPU time (proc_pid_stat(5)), in ticks. */
function costOf(pid: number): { memory: number; ticks: number } {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8").split(") ")[1]!.split(" ");
  const pages = Number(readFileSync(`/proc/${pid}/statm`, "utf8").split(" ")[1]);
  return { memory: pages * 4096, ticks: Number(fields[11]) + Number(fields[12]) };
}

it("10,000 of them cost next to nothing while they wait, and all are greeted", async () => {
  const count = 10_000;
  await smtp();
  const limits = "limits: { waiting: 20000 }\ntimeouts: { hello: 9m }\n";
  const door = await scene.startDoor(configuration(limits, "8m"), { channels: 1 });
  const before = costOf(door.pid);
  await inParallel(
    Array.from({ length: count }, (_, i) => `127.0.${1 + (i % 20)}.${1 + (i % 200)}`),
    250,
    async (address) => {
      await scene.client(undefined, address);
    },
  );
  const words = scene.clients.map(firstWords);
  await until("the door to have them all", () => scene.clientsOfDoor === count);
  const there = costOf(door.pid);
  // What collects garbage first is done then; what looks at each of them again and again never is.
  await until("two seconds with less than a twentieth of a processor", async () => {
    const { ticks } = costOf(door.pid);
    await new Promise((resolve) => setTimeout(resolve, 2000));
    return costOf(door.pid).ticks - ticks < 10; // of 10 ms
  });
  expect(there.memory - before.memory).toBeLessThan(16 * 1024 * 1024);
  door.write(configuration(limits));
  expect(await door.reload()).toMatchObject({ event: "reloaded" });
  expect(new Set(await Promise.all(words))).toEqual(new Set([greeting]));
  const greeted = costOf(door.pid);
  for (const client of scene.clients) client.close();
  expect(await scene.counters()).toMatchObject({
    silent: count,
    acknowledged: count,
    hello_timeout: 0,
    client_gone: 0,
  });
  const [memory, ticks] = [there.memory - before.memory, greeted.ticks - before.ticks];
  console.log(
    `${count} silent clients: ${Math.round(memory / count)} bytes and ${(ticks * 1e4) / count} us of CPU each`,
  );
});
