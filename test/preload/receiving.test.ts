/** What a server that nobody changes sees of its listening sockets and connections. */
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import type { Socket } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import type { SystemCallError } from "../../src/errors.js";
import { MessageType } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor, handoffBytes, withField } from "../support/fake-door.js";
import { Folder } from "../support/folder.js";
import { TcpListener } from "../support/tcp.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";
import { compileServer, type Said, Server, UNREAD_FOR_SURE } from "./server.js";

const folder = new Folder();
let program: string;
let tcp: TcpListener;
let number = 0;
const servers: Server[] = [];
const doors: FakeDoor[] = [];

beforeAll(() => {
  program = compileServer(folder);
  tcp = new TcpListener();
});
afterAll(() => tcp.close());
afterEach(async () => {
  for (const door of doors.splice(0)) door.close();
  await Promise.all(servers.splice(0).map((server) => server.kill()));
});

const v4 = packed("IPv4", "192.0.2.1", 12345);
const v6 = packed("IPv6", "2001:db8::1", 56324);

const newPath = () => folder.at(`${number++}.sock`);

/** Starts it with `address` (of the environment) received on a new path. */
async function serve(args: readonly string[], address = "0.0.0.0:443", path = newPath()): Promise<Server> {
  const server = new Server(program, path, args, { SNI_HANDOFF: `${address}=${path}` });
  servers.push(server);
  await server.serving();
  return server;
}

async function door(server: Server): Promise<FakeDoor> {
  const opened = await FakeDoor.open(server.path);
  doors.push(opened);
  return opened;
}

/** As a door that tries again: a helper that was started anew listens a moment after its start. */
function doorAgain(server: Server): Promise<FakeDoor> {
  return until("the path to be listened on again", () =>
    door(server).catch((error: SystemCallError) => {
      if (error.code !== "ECONNREFUSED") throw error;
      return undefined;
    }),
  );
}

async function answerTo(client: Socket): Promise<Said> {
  let text = "";
  client.on("data", (data) => {
    text += data;
  });
  await once(client, "close");
  return JSON.parse(text) as Said;
}

/** Hands one connection over; what the server told the client. */
async function handOver(to: FakeDoor, told: Parameters<FakeDoor["handOver"]>[1] = {}): Promise<[Said, number]> {
  const { client, descriptor } = await tcp.pair();
  const answer = answerTo(client);
  const port = client.localPort!;
  const sequence = to.handOver(descriptor, told);
  await to.acknowledged(sequence);
  native.close(descriptor);
  return [await answer, port];
}

describe("the listening socket", () => {
  it("looks like TCP's before and after listen(2)", async () => {
    const server = await serve(["0.0.0.0:443"]);
    const facts = {
      address: "0.0.0.0:443",
      peer: "ENOTCONN",
      type: 1,
      domain: 2,
      protocol: 6,
      flags: 2048,
      closeOnExec: 0,
    };
    expect(server.said).toEqual([
      { when: "bound", listening: 0, ...facts },
      { when: "listening", listening: 1, ...facts },
      { when: "serving" },
    ]);
    await until("the library's line", () => server.child.stderr.endsWith("\n"));
    expect(server.child.stderr).toBe(`sni-handoff: 0.0.0.0:443 is received on ${server.path}\n`);
    expect(statSync(server.path).mode & 0o7777).toBe(0o660);
  });

  it("is one for each of several, of both families, each with its clients", async () => {
    const server = await serve(["0.0.0.0:443", "[::]:443"], "443");
    expect(server.said.filter(({ when }) => when === "listening").map(({ address }) => address)).toEqual([
      "0.0.0.0:443",
      "[::]:443",
    ]);
    const opened = await door(server);
    const [answer, port] = await handOver(opened);
    expect(answer).toMatchObject({ told: `127.0.0.1:${port}`, peer: `127.0.0.1:${port}` });
    const [other] = await handOver(opened, { consumed: 52, client: v6, server: v6 });
    expect(other).toMatchObject({ told: "[2001:db8::1]:56324", peer: "[2001:db8::1]:56324" });
  });

  it("has one socket in a folder for both families, too", async () => {
    const pool = `${folder.at("pool")}/`;
    mkdirSync(pool);
    const server = await serve(["0.0.0.0:443", "[::]:443"], "443", pool);
    expect(readdirSync(pool)).toEqual([`${server.child.pid}.sock`]);
    const opened = await FakeDoor.open(`${pool}${server.child.pid}.sock`);
    doors.push(opened);
    const [answer, port] = await handOver(opened);
    expect(answer.told).toBe(`127.0.0.1:${port}`);
    const [other] = await handOver(opened, { consumed: 52, client: v6, server: v6 });
    expect(other.told).toBe("[2001:db8::1]:56324");
  });

  it("survives an exec that cleans the environment, and is shared by workers", async () => {
    const again = await serve(["-x", "0.0.0.0:443"]);
    expect(again.said.at(-2)).toMatchObject({ when: "inherited", address: "0.0.0.0:443", type: 1, listening: 1 });
    const [answer, port] = await handOver(await door(again));
    expect(answer.told).toBe(`127.0.0.1:${port}`);

    const workers = await serve(["-w", "3", "-r", "0.0.0.0:443", "0.0.0.0:443"]);
    const opened = await door(workers);
    const before = openDescriptors(await workers.helper("helper")).length;
    for (let i = 0; i < 20; i++) expect((await handOver(opened))[0].pid).not.toBe(workers.child.pid);
    expect(openDescriptors(await workers.helper("helper")).length).toBe(before);
  });
});

describe("a connection", () => {
  it("has the accept's flags, the client's address and the listener's options", async () => {
    const plain = await door(await serve(["0.0.0.0:443"]));
    const [answer, port] = await handOver(plain);
    expect(answer).toEqual({
      pid: expect.any(Number),
      told: `127.0.0.1:${port}`,
      peer: `127.0.0.1:${port}`,
      local: `127.0.0.1:${tcp.port}`,
      nodelay: 0,
      keepAlive: 0,
      nonBlocking: 1,
      closeOnExec: 1,
    });
    const [other] = await handOver(await door(await serve(["-o", "0.0.0.0:443"])));
    expect(other).toMatchObject({ nodelay: 1, keepAlive: 1 });
  });

  it("has a PROXY header's addresses, in the listener's family", async () => {
    const told = { consumed: 28, client: v4, server: v4 };
    const [answer] = await handOver(await door(await serve(["0.0.0.0:443"])), told);
    expect(answer).toMatchObject({ told: "192.0.2.1:12345", peer: "192.0.2.1:12345", local: "192.0.2.1:12345" });
    const opened = await door(await serve(["[::]:443"], "[::]:443"));
    const [mapped] = await handOver(opened, told);
    expect(mapped).toMatchObject({ told: "[::ffff:192.0.2.1]:12345", local: "[::ffff:192.0.2.1]:12345" });
    const [real, port] = await handOver(opened);
    expect(real).toMatchObject({ told: `[::ffff:127.0.0.1]:${port}`, local: `[::ffff:127.0.0.1]:${tcp.port}` });
  });

  it("may come with fields that are unknown yet, also one twice", async () => {
    const opened = await door(await serve(["0.0.0.0:443"]));
    const { client, descriptor } = await tcp.pair();
    const answer = answerTo(client);
    const port = client.localPort;
    const later = withField(withField(handoffBytes(), 15, Buffer.from("a")), 15, Buffer.from("b"));
    expect(opened.send(later, [descriptor])).toBe(0);
    await opened.acknowledged(1);
    native.close(descriptor);
    expect((await answer).told).toBe(`127.0.0.1:${port}`);
  });

  it("is refused if it is none, and acknowledged if its client is gone", async () => {
    const server = await serve(["0.0.0.0:443"]);
    const opened = await door(server);
    const [pipe, other] = native.socketPair("stream");
    expect(await opened.refused(opened.handOver(pipe))).toMatchObject({ reason: 2 });
    native.close(pipe);
    native.close(other);
    const { client, descriptor } = await tcp.pair();
    client.resetAndDestroy();
    await until("the reset", () => isDead(descriptor));
    await opened.acknowledged(opened.handOver(descriptor));
    native.close(descriptor);
    await handOver(opened);
    expect(server.child.running).toBe(true);
  });

  it("waits in the queue as in a backlog for a server that is slow, acknowledged before the door takes it back", async () => {
    const opened = await door(await serve(["-a", "900", "0.0.0.0:443"]));
    // It has accepted the second one after 1800.
    await below("milliseconds", 1700, async (count) => {
      const pairs = await Promise.all([tcp.pair(), tcp.pair()]);
      const answers = pairs.map(({ client }) => answerTo(client));
      const begun = performance.now();
      for (const { descriptor } of pairs) opened.handOver(descriptor);
      await opened.acknowledged(2 * count);
      const took = performance.now() - begun;
      for (const { descriptor } of pairs) native.close(descriptor);
      expect(await Promise.all(answers)).toHaveLength(2);
      return took;
    });
  });
});

it("a server at its limit of descriptors takes nothing from the queue, but one to find that out", async () => {
  const server = await serve(["-f", "0.0.0.0:443"]);
  const opened = await door(server);
  await handOver(opened);
  const pairs = await Promise.all(Array.from({ length: 4 }, () => tcp.pair()));
  const [first, ...rest] = pairs;
  expect(await opened.refused(opened.handOver(first!.descriptor))).toMatchObject({ reason: 1 });
  let answers = 0;
  for (const { client } of rest) client.once("data", () => answers++);
  const sequences = rest.map(({ descriptor }) => opened.handOver(descriptor));
  await opened.acknowledged(sequences.at(-1)!);
  expect(opened.received.filter(({ type }) => type === MessageType.REFUSE)).toHaveLength(1);
  await until("accept's error", () => server.said.some(({ call, error }) => call === "accept4" && error === "EMFILE"));
  server.child.process.kill("SIGUSR1");
  await until("an answer to each", () => answers === rest.length);
  for (const { client, descriptor } of pairs) {
    native.close(descriptor);
    client.destroy();
  }
});

it("a server that was stuck until its queue was full serves all that is its own of channels that have ended since", async () => {
  const server = await serve(["0.0.0.0:443"]);
  server.child.process.kill("SIGSTOP");
  const all = await Promise.all(Array.from({ length: 4 }, () => door(server)));
  const pairs = await Promise.all(Array.from({ length: 32 }, () => tcp.pair()));
  let lines = 0;
  for (const { client } of pairs) client.on("data", (data) => (lines += String(data).split("\n").length - 1));
  // As many as a door may have on the way, until the helper takes and acknowledges no more of them.
  let handed = 0;
  const fill = (to: FakeDoor) => {
    while (to.nextSequence - lastAcknowledged(to) <= 128) to.handOver(pairs[handed++ % pairs.length]!.descriptor);
  };
  for (let before = -1, quiet = 0; quiet < 40; before = handed) {
    for (const each of all) fill(each);
    quiet = handed === before ? quiet + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  const [dies, diesToo, ...revoke] = all as [FakeDoor, FakeDoor, ...FakeDoor[]];
  let owned = dies.nextSequence - 1 + diesToo.nextSequence - 1;
  for (const each of [dies, diesToo]) each.close();
  for (const each of revoke) {
    each.stopReading();
    await each.end();
    owned += lastAcknowledged(each);
    each.revoke(lastAcknowledged(each));
    each.close();
  }
  server.child.process.kill("SIGCONT");
  await until(`answers to ${owned} of ${handed}`, () => lines >= owned);
  // It comes behind whatever is in the queue still.
  await handOver(await door(server));
  expect(lines).toBe(owned);
  for (const { client, descriptor } of pairs) {
    native.close(descriptor);
    client.destroy();
  }
});

it("what a killed server has not accepted is the door's again, at once", async () => {
  let opened: FakeDoor;
  let took: number;
  do {
    const server = await serve(["-a", "60000", "0.0.0.0:443"]);
    opened = await door(server);
    const { client, descriptor } = await tcp.pair();
    const begun = performance.now();
    opened.handOver(descriptor);
    await server.die();
    took = performance.now() - begun;
    native.close(descriptor);
    client.destroy();
  } while (took > UNREAD_FOR_SURE);
  await opened.next(MessageType.DRAIN);
  // Refused if the helper still had it; the channel's end if it was in the queue already, long before that of a drain.
  const isRefused = () => opened.received.some(({ type, reason }) => type === MessageType.REFUSE && reason === 4);
  await until("its return", () => opened.ended || isRefused(), 8000);
  expect(opened.received.some(({ type }) => type === MessageType.ACK)).toBe(false);
});

describe("the helper", () => {
  it.each(["helper", "keeper"] as const)("is there again when the %s was killed", async (name) => {
    const server = await serve(["0.0.0.0:443"]);
    await handOver(await door(server));
    const killed = await server.helper(name);
    process.kill(killed, "SIGKILL");
    await until("another one", async () => (await server.helper(name)) !== killed);
    await until("both", () => server.helpers().length === 2);
    await handOver(await door(server));
  });

  it("is there again when both were killed at once", async () => {
    const server = await serve(["-w", "2", "0.0.0.0:443"]);
    await handOver(await door(server));
    const before = server.helpers();
    process.kill(await server.helper("keeper"), "SIGSTOP");
    process.kill(await server.helper("helper"), "SIGKILL");
    process.kill(await server.helper("keeper"), "SIGKILL");
    await until("others", () => server.helpers().length >= 2 && !server.helpers().some((pid) => before.includes(pid)));
    for (let i = 0; i < 5; i++) await handOver(await doorAgain(server));
  });

  it("says DRAIN and lets go of the path when the last listener is closed", async () => {
    const server = await serve(["0.0.0.0:443"]);
    const opened = await door(server);
    await server.child.end("SIGTERM");
    await opened.next(MessageType.DRAIN);
    await until("the path's end", () => !existsSync(server.path));
    const { client, descriptor } = await tcp.pair();
    expect(await opened.refused(opened.handOver(descriptor))).toMatchObject({ reason: 4 });
    native.close(descriptor);
    client.destroy();
    opened.close();
    await until("the helper's end", () => server.helpers().length === 0);
  });
});

/** 0 if nothing was; a FakeDoor's first is 1. */
function lastAcknowledged({ received }: FakeDoor): number {
  return Math.max(0, ...received.filter(({ type }) => type === MessageType.ACK).map(({ sequence }) => sequence));
}

/** As the data plane has it. */
function packed(family: "IPv4" | "IPv6", address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family, address, port }, bytes, 0);
  return bytes;
}

/** Whether the client's reset has arrived: the kernel knows no peer any more. */
function isDead(descriptor: number): boolean {
  try {
    native.peerAddress(descriptor);
    return false;
  } catch {
    return true;
  }
}
