/** What sni_handoff.h does beyond what every receiver must: options, paths, what it tells. Sanitized, over poll(2). */
import { once } from "node:events";
import {
  existsSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { connect, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Flag, MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { Bridge, destroyAll } from "../support/bridge.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor } from "../support/fake-door.js";
import { until } from "../support/wait.js";
import { compiled, sanitized } from "./support/c-programs.js";

let program: string;
let folder: string;
let path: string;
let child: Child;
let before: number;
const bridges: Bridge[] = [];
const clients: Socket[] = [];

beforeAll(async () => {
  program = await compiled("test/interop/fixtures/receiver.c", sanitized);
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-header-"));
  path = join(folder, "door.sock");
});

/** The receiver has let go of all that it was given, and of its memory: AddressSanitizer looks for leaks. */
afterEach(async () => {
  destroyAll(clients);
  for (const bridge of bridges.splice(0)) bridge.close();
  if (child.running) {
    await until("the receiver's descriptors of before", () => openDescriptors(child.pid).length === before);
    child.process.stdin!.end();
  }
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  expect(child.stderr).toBe("");
  rmSync(folder, { recursive: true });
});

function run(at: string, ...options: string[]): Child {
  return new Child(program, [at, ...options], { stdio: ["pipe", "pipe", "pipe"] });
}

/** A receiver that is given `held` as descriptor 3, as systemd does it. */
function activated(held: number, at: string, ...options: string[]): Child {
  return new Child("/bin/sh", ["-c", 'LISTEN_PID=$$ exec "$0" "$@"', program, at, ...options], {
    stdio: ["pipe", "pipe", "pipe", held],
    env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: "door" },
  });
}

/** The path that it listens on. */
async function listening(receiver: Child): Promise<string> {
  return receiver.line("the receiver's listening", (line) => /^listening on (.*)/.exec(line)?.[1]);
}

async function start(...options: string[]): Promise<void> {
  child = run(path, ...options);
  await listening(child);
  before = openDescriptors(child.pid).length;
}

async function bridge(): Promise<Bridge> {
  const made = await Bridge.open(path);
  bridges.push(made);
  return made;
}

function client(of: Bridge): Socket {
  const socket = connect(of.port, "127.0.0.1");
  socket.on("error", () => {});
  socket.resume();
  clients.push(socket);
  return socket;
}

/** What it says of the next connections, or warnings. */
async function said(count: number): Promise<Record<string, unknown>[]> {
  const lines = () => child.lines.filter((line) => line.startsWith("{"));
  await until(`${count} lines of the receiver`, () => lines().length >= count);
  return lines().map((line) => JSON.parse(line));
}

async function counts(): Promise<unknown> {
  const from = child.lines.length;
  child.process.stdin!.write("counts\n");
  return JSON.parse(await child.line("the counts", (line) => line.startsWith('{"received"') && line, from));
}

const packed = (family: number, port: number, ...host: number[]) =>
  new Uint8Array([family, 0, port >> 8, port & 255, ...host, ...Array(16).fill(0)]).slice(0, 20);

describe("a connection", () => {
  it("is told with all that the door knows", async () => {
    await start();
    const door = await bridge();
    const { localPort } = await connected(client(door));
    await door.deliver({
      name: "app.test",
      alpn: "h2",
      flags: Flag.TLS | Flag.ECH,
      connectionId: 0xfedcba9876543210n,
      acceptedAt: 1_589_000_000_000_000_001n,
    });
    client(door);
    await door.deliver({
      consumed: 52,
      client: packed(4, 12345, 192, 0, 2, 1),
      server: packed(4, 443, 198, 51, 100, 7),
    });
    client(door);
    const host = [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    await door.deliver({ consumed: 28, client: packed(6, 56324, ...host) });
    const nothing = { id: "1", at: "0", flags: 0, name: "", alpn: "", blocks: 0 };
    expect(await said(3)).toEqual([
      {
        id: "fedcba9876543210",
        at: "1589000000000000001",
        flags: Flag.TLS | Flag.ECH,
        consumed: 0,
        name: "app.test",
        alpn: "h2",
        blocks: 0,
        client: `127.0.0.1 ${localPort}`,
        server: " 0",
      },
      { ...nothing, consumed: 52, client: "192.0.2.1 12345", server: "198.51.100.7 443" },
      { ...nothing, consumed: 28, client: "2001:db8::1 56324", server: " 0" },
    ]);
  });

  it("whose end is told lowers the count that the door has", async () => {
    await start();
    const door = await bridge();
    for (let open = 1; open <= 3; open++) {
      client(door);
      const sequence = await door.next();
      expect((await door.door.acknowledged(sequence)).open).toBe(open);
      door.drop();
    }
    clients.pop()!.destroy();
    await door.door.next(MessageType.ACK, (ack) => ack.sequence === 3 && ack.open === 2);
    expect(await counts()).toEqual({ received: 3, dead: 0, refused: 0, revoked: 0, channels: 1, open: 2 });
  });

  it("beyond most_open is refused as overloaded, and READY follows when there is room", async () => {
    await start("most=2", "window=8");
    const door = await bridge();
    expect((await door.door.next(MessageType.READY)).window).toBe(2);
    for (let i = 0; i < 2; i++) {
      client(door);
      await door.deliver();
    }
    client(door);
    const sequence = await door.next();
    expect(await door.door.refused(sequence)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    door.drop();
    const from = door.door.received.length;
    clients.shift()!.destroy();
    expect(await door.door.next(MessageType.READY, undefined, from)).toMatchObject({ window: 1, open: 1 });
    client(door);
    await door.deliver();
    expect(await counts()).toMatchObject({ received: 3, refused: 1, open: 2 });
  });

  it("is not delivered before its ACK has room in the door's queue", async () => {
    await start();
    const door = new FakeDoor(path, { reads: false });
    const source = await bridge();
    const descriptors: number[] = [];
    try {
      // One batch each, so one ACK each, until the queue holds no more.
      let delivered = 0;
      for (; delivered === descriptors.length; delivered = (await settled(descriptors.length)).length) {
        client(source);
        descriptors.push(await source.listener.accept());
        door.handOver(descriptors.at(-1)!);
      }
      expect(delivered).toBe(descriptors.length - 1);
      door.startReading();
      await said(descriptors.length);
      await door.acknowledged(descriptors.length);
    } finally {
      door.close();
      for (const descriptor of descriptors) native.close(descriptor);
    }
  });
});

describe("the end", () => {
  it("takes what is on the way; the path is gone at once", async () => {
    await start();
    const door = await bridge();
    child.process.stdin!.write("drain\n");
    await door.door.next(MessageType.DRAIN);
    expect(existsSync(path)).toBe(false);
    client(door);
    await door.deliver();
    door.close();
    await child.line("the receiver's being drained", (line) => line === "drained");
    destroyAll(clients);
    before -= 1; // its listening socket
  });

  it("refuses what is on the way, if it is told so", async () => {
    await start();
    const door = await bridge();
    child.process.stdin!.write("refuse\n");
    await door.door.next(MessageType.DRAIN);
    client(door);
    const sequence = await door.next();
    expect(await door.door.refused(sequence)).toMatchObject({ reason: RefuseReason.DRAINING });
    door.close();
    await child.line("the receiver's being drained", (line) => line === "drained");
    before -= 1;
  });

  it("serves what it would refuse, if the door is gone: nobody else has it", async () => {
    await start();
    const door = await bridge();
    child.process.stdin!.write("refuse\n");
    await door.door.next(MessageType.DRAIN);
    child.process.kill("SIGSTOP");
    const asking = client(door);
    const greeted = once(asking, "data");
    await door.next();
    door.close();
    child.process.kill("SIGCONT");
    await greeted;
    destroyAll(clients);
    await child.line("the receiver's being drained", (line) => line === "drained");
    before -= 1;
  });

  it("without a door comes at once", async () => {
    await start();
    child.process.stdin!.write("drain\n");
    await child.line("the receiver's being drained", (line) => line === "drained");
    before -= 1;
  });
});

describe("a door", () => {
  it("of a user that is not allowed is disconnected, and told of once", async () => {
    await start("user=54321");
    for (let i = 0; i < 3; i++) {
      const door = new FakeDoor(path);
      await door.end();
      expect(door.received).toEqual([]);
      door.close();
    }
    const uid = process.getuid!();
    const warning = `process ${process.pid} of user ${uid} may not be a door at ${path}: not one of the allowed users`;
    expect(await said(1)).toEqual([{ warning }]);
  });

  it("that breaks the protocol is told of once for each cause, with its process and user", async () => {
    await start();
    for (const bytes of [
      [1, 2, 8, 0, 1, 0, 0, 0],
      [9, 2, 8, 0, 1, 0, 0, 0],
      [1, 2, 8, 0, 1, 0, 0, 0],
    ]) {
      const door = await FakeDoor.open(path);
      door.send(new Uint8Array(bytes));
      await door.end();
      door.close();
    }
    const who = `protocol violation by the door, process ${process.pid} of user ${process.getuid!()}`;
    expect(await said(2)).toEqual([
      { warning: `${who}: HANDOFF without CONNECTION_ID, ACCEPTED_AT or FLAGS; its channel is closed` },
      { warning: `${who}: version 9; version 1 was agreed; its channel is closed` },
    ]);
  });

  it("that opens more channels than any door needs is told of once", async () => {
    await start();
    const doors: FakeDoor[] = [];
    try {
      for (let i = 0; i < 256; i++) doors.push(await FakeDoor.open(path));
      for (let i = 0; i < 3; i++) {
        const door = new FakeDoor(path);
        await door.end();
        expect(door.received).toEqual([]);
        door.close();
      }
    } finally {
      for (const door of doors) door.close();
    }
    const who = `process ${process.pid} of user ${process.getuid!()}`;
    const warning = `${who} has 256 channels at ${path}, more than any door needs: another is closed`;
    expect(await said(1)).toEqual([{ warning }]);
    expect(await FakeDoor.open(path).then((door) => door.close())).toBeUndefined();
  });

  it("that sends an empty record has not ended", async () => {
    await start();
    const door = await FakeDoor.open(path);
    door.send(new Uint8Array(0));
    await door.end();
    door.close();
    const [{ warning }] = (await said(1)) as [{ warning: string }];
    expect(warning).toContain("a message of 0 bytes, shorter than its header of 8");
  });
});

describe("the path", () => {
  it("is the door's group's too, and nobody else's", async () => {
    await start();
    expect(lstatSync(path).mode & 0o7777).toBe(0o660);
  });

  it("may be a folder: a socket for each process; what dead ones left is removed", async () => {
    path = join(folder, "app");
    mkdirSync(path);
    const dead = run(path);
    await listening(dead);
    await dead.end("SIGKILL");
    expect(readdirSync(path)).toHaveLength(1);
    writeFileSync(join(path, "note.sock"), "not a receiver's");
    const other = run(`${path}/`);
    const others = await listening(other);
    await start();
    const own = await listening(child);
    expect(readdirSync(path).sort()).toEqual(
      ["note.sock", ...[own, others].map((at) => at.slice(path.length + 1))].sort(),
    );
    other.process.stdin!.end();
    expect(await other.ended).toEqual({ status: 0, signal: null });
    expect(existsSync(others)).toBe(false);
  });

  it("may be abstract", async () => {
    path = `@sni-handoff-test-${process.pid}`;
    await start();
    const second = run(path);
    await second.ended;
    expect(second.lines[0]).toContain(`is in use by process ${child.pid} of user ${process.getuid!()}`);
    const door = await bridge();
    client(door);
    await door.deliver();
  });

  it("that was replaced meanwhile is not removed", async () => {
    await start();
    rmSync(path);
    writeFileSync(path, "another's");
    child.process.stdin!.end();
    await child.ended;
    expect(existsSync(path)).toBe(true);
  });

  it.each([
    [
      "a living process has",
      () => path,
      () =>
        `${path} is in use by process ${child.pid} of user ${process.getuid!()}; stop it, choose another path, or use a folder for several processes`,
    ],
    ["is a file", () => program, () => `${program} exists and is no socket; remove it or choose another path`],
    [
      "is in a folder that is not there",
      () => join(folder, "no/door.sock"),
      () => `cannot open the folder ${folder}/no: No such file or directory`,
    ],
    ["is too long", () => `/${"x".repeat(120)}`, () => `the path /${"x".repeat(120)} has 121 bytes; 107 are allowed`],
    ["is empty", () => "", () => "path (or passed_name) is needed"],
  ])("that %s is an error that says so", async (_, at, error) => {
    await start();
    const second = run(at());
    expect(await second.ended).toEqual({ status: 1, signal: null });
    expect(second.lines).toEqual([error()]);
  });

  it.each([
    ["window=0", "window is 0; 1 to 128 are allowed"],
    ["window=129", "window is 129; 1 to 128 are allowed"],
    ["weight=65536", "weight is 65536; 1 to 65535 are allowed"],
  ])("and the option %s", async (option, error) => {
    await start();
    const second = run(join(folder, "second.sock"), option);
    expect(await second.ended).toEqual({ status: 1, signal: null });
    expect(second.lines).toEqual([error]);
  });

  it("is the service manager's, if it has passed a socket", async () => {
    const held = native.listenUnix(path, "seqpacket", { backlog: 16, mode: 0o600 });
    try {
      for (const [at, name] of [
        [path, undefined],
        ["", "door"],
      ] as const) {
        child = activated(held, at, ...(name === undefined ? [] : [`name=${name}`]));
        expect(await listening(child)).toBe(path);
        before = openDescriptors(child.pid).length;
        const door = await bridge();
        client(door);
        await door.deliver();
        destroyAll(clients);
        child.process.stdin!.write("drain\n");
        await door.drain();
        await child.line("the receiver's being drained", (line) => line === "drained");
        child.process.stdin!.end();
        expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
        expect(existsSync(path)).toBe(true);
      }
      const wrong = activated(held, path, "name=other");
      expect(await wrong.ended).toEqual({ status: 1, signal: null });
      expect(wrong.lines).toEqual(['no passed descriptor is named "other": FileDescriptorName= in the .socket unit']);
    } finally {
      native.close(held);
    }
  });
});

async function connected(socket: Socket): Promise<{ localPort: number }> {
  await until("the client's connection", () => socket.localPort !== undefined && !socket.connecting);
  return { localPort: socket.localPort! };
}

/** The lines, once there are `count`, or the receiver waits for room in a door's queue. */
async function settled(count: number): Promise<string[]> {
  const lines = () => child.lines.filter((line) => line.startsWith("{"));
  await until("the receiver to be done", () => lines().length >= count || waitsForRoom());
  return lines();
}

/** EPOLLOUT among the events of its epoll set: proc(5), /proc/pid/fdinfo. */
function waitsForRoom(): boolean {
  const EPOLLOUT = 4;
  return readdirSync(`/proc/${child.pid}/fd`).some((fd) => {
    const info = readFileSync(`/proc/${child.pid}/fdinfo/${fd}`, "utf8");
    return [...info.matchAll(/^tfd:.* events: *([0-9a-f]+)/gm)].some(
      (match) => Number.parseInt(match[1]!, 16) & EPOLLOUT,
    );
  });
}
