/** What the receiver of examples/python does that no HTTP client sees: both of its faces, with a door that is scripted. */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ADDRESS_BYTES, writeAddress } from "../../src/addresses.js";
import { FieldType, MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { native } from "../../src/native/addon.js";
import { Bridge } from "../support/bridge.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor, handoffBytes, type Told, withField } from "../support/fake-door.js";
import { descriptorLimitOf, leaveDescriptors, limitDescriptors } from "../support/process-limits.js";
import { connected } from "../support/raw-client.js";
import { until } from "../support/wait.js";
import { python } from "./support/python.js";

const fixture = fileURLToPath(new URL("fixtures/receiving.py", import.meta.url));

let folder: string;
let path: string;
let receiver: Child;
let bridge: Bridge;
let clients: Socket[];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
  clients = [];
});

afterEach(async () => {
  for (const client of clients) client.destroy();
  bridge?.drop();
  bridge?.close();
  await receiver.end("SIGKILL");
  rmSync(folder, { recursive: true });
});

async function start(kind: string, options: object = {}): Promise<void> {
  receiver = new Child(...spawned(kind, options));
  await receiver.line("its listening", (line) => line.startsWith("listening on"));
  bridge = await Bridge.open(path);
}

function spawned(kind: string, options: object): [string, string[], object] {
  const [command, ...args] = [...python(fixture), kind, path, JSON.stringify(options)];
  return [command, args, { stdio: ["pipe", "pipe", "pipe"] }];
}

/** Has "plain" accept one connection. */
function accept(): void {
  receiver.process.stdin!.write("\n");
}

async function client(): Promise<Socket> {
  const socket = await connected(bridge.port);
  socket.on("error", () => {});
  clients.push(socket);
  return socket;
}

async function lineOf(socket: Socket): Promise<Record<string, unknown>> {
  const [data] = await once(socket, "data");
  return JSON.parse(String(data));
}

function packed(family: "IPv4" | "IPv6", address: string, port: number): Uint8Array {
  const bytes = new Uint8Array(ADDRESS_BYTES);
  writeAddress({ family, address, port }, bytes, 0);
  return bytes;
}

const warnings = () => receiver.stderr.trim().split("\n").filter(Boolean);

describe.each(["asyncio", "plain"])("%s:", (kind) => {
  it("tells all that the door told; unknown fields are ignored", async () => {
    await start(kind);
    const all: Told = {
      ...{ sequence: 0xffffffff, name: "app.test", alpn: "h2", flags: 3 },
      ...{ connectionId: 0x10000002an, acceptedAt: 1_589_000_000_000_000_000n, consumed: 52 },
      client: packed("IPv4", "192.0.2.1", 12345),
      server: packed("IPv6", "2001:db8::1", 443),
    };
    const bytes = withField(withField(handoffBytes(all), 99, new Uint8Array(3)), 99, new Uint8Array(0));
    const first = await client();
    const told = lineOf(first);
    const descriptor = await bridge.listener.accept();
    expect(bridge.door.send(bytes, [descriptor])).toBe(0);
    bridge.keep(descriptor, 0xffffffff);
    accept();
    expect(await told).toEqual({
      connection_id: 0x10000002a,
      accepted_at: expect.closeTo(1_589_000_000_000_000_000, -4),
      tls: true,
      ech: true,
      server_name: "app.test",
      alpn: "h2",
      client_address: ["192.0.2.1", 12345],
      server_address: ["2001:db8::1", 443, 0, 0],
      peer: ["192.0.2.1", 12345],
    });
    // The sequence goes on after 2³²-1.
    const second = await client();
    const next = lineOf(second);
    await bridge.deliver({ sequence: 0 });
    accept();
    expect(await next).toMatchObject({ server_name: null, peer: ["127.0.0.1", second.localPort] });
  });

  it("what was not acknowledged: a revoke takes it away, the door's death gives it", async () => {
    await start(kind);
    const before = openDescriptors(receiver.pid).length;
    const revoked = await client();
    const gone = once(revoked, "close");
    bridge.door.stopReading();
    await bridge.next();
    bridge.door.revoke(0);
    // The channel, and the connection.
    await until("its copy's end", () => openDescriptors(receiver.pid).length === before - 1);
    bridge.close();
    bridge.drop();
    await gone;
    expect(revoked.bytesRead).toBe(0);

    bridge = await Bridge.open(path);
    const kept = await client();
    const answer = lineOf(kept);
    bridge.door.stopReading();
    await bridge.next();
    bridge.close();
    accept();
    expect(await answer).toMatchObject({ peer: ["127.0.0.1", kept.localPort] });
  });

  it("with all the connections that it takes, the next are refused, until there is room", async () => {
    await start(kind, kind === "asyncio" ? { max_connections: 1 } : { backlog: 1 });
    const { door } = bridge;
    expect(door.received[0]).toMatchObject({ type: MessageType.READY, window: 1, weight: 1 });
    const first = await client();
    await bridge.next();
    await door.acknowledged(1);
    await client();
    await bridge.next();
    expect(await door.refused(2)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    const before = door.received.length;
    if (kind === "plain") accept();
    else {
      bridge.drop();
      first.destroy();
    }
    await door.next(MessageType.READY, ({ window }) => window === 1, before);
  });

  it("the open count: with each ACK, and when it falls", async () => {
    await start(kind);
    const { door } = bridge;
    const first = await client();
    const served = lineOf(first);
    await bridge.deliver();
    expect(await door.acknowledged(1)).toMatchObject({ open: 1 });
    accept();
    await served;
    first.destroy();
    expect(await door.next(MessageType.ACK, ({ open }) => open === 0)).toMatchObject({ sequence: 1 });
  });

  it("a door that breaks the protocol is disconnected, and told once; another one goes on", async () => {
    await start(kind);
    const wrong = handoffBytes();
    wrong[0] = 2;
    for (const bytes of [
      wrong,
      wrong,
      withField(handoffBytes(), FieldType.FLAGS, new Uint8Array(4)),
      new Uint8Array(0),
    ]) {
      const door = await FakeDoor.open(path);
      expect(door.send(bytes)).toBe(0);
      await door.end();
      door.close();
    }
    const who = `protocol violation by the door, process ${process.pid} of user ${process.getuid!()}`;
    await until("three warnings", () => warnings().length >= 3);
    expect(warnings()).toEqual([
      `${who}: version 2; version 1 was agreed; its channel is closed`,
      `${who}: field 7 twice; its channel is closed`,
      `${who}: an empty message; its channel is closed`,
    ]);
    const fine = await client();
    const answer = lineOf(fine);
    await bridge.deliver();
    accept();
    await answer;
  });

  it("a process that opens more channels than a door has workers is held to some, and told once", async () => {
    await start(kind);
    const doors = await Promise.all(Array.from({ length: 255 }, () => FakeDoor.open(path)));
    for (let i = 0; i < 3; i++) {
      const door = new FakeDoor(path);
      await door.end();
      door.close();
    }
    const who = `process ${process.pid} of user ${process.getuid!()}`;
    await until("a warning", () => warnings().length > 0);
    expect(warnings()).toEqual([`${who} has 256 channels at ${path}; another was refused`]);
    for (const door of doors) door.close();
    const served = await client();
    const answer = lineOf(served);
    await bridge.deliver();
    accept();
    await answer;
  });

  it("processes of other users than the allowed ones are no doors, and told once", async () => {
    receiver = new Child(...spawned(kind, { allowed_users: ["nobody"] }));
    await receiver.line("its listening", (line) => line.startsWith("listening on"));
    for (let i = 0; i < 3; i++) {
      const door = new FakeDoor(path);
      await door.end();
      expect(door.received).toEqual([]);
      door.close();
    }
    const who = `process ${process.pid} of user ${process.getuid!()}`;
    await until("a warning", () => warnings().length > 0);
    expect(warnings()).toEqual([`${who} may not be a door at ${path}: not one of allowed_users`]);
  });

  it("whoever has its path is named, or said to be of another pid namespace", async () => {
    await start(kind);
    const says = async (...before: string[]) => {
      const [command, args] = spawned(kind, {});
      const second = new Child(before[0] ?? command, before.length > 0 ? [...before.slice(1), command, ...args] : args);
      expect(await second.ended).toEqual({ status: 1, signal: null });
      return /PathInUse: .* is in use by (.*); stop it/.exec(second.stderr)?.[1];
    };
    expect(await says()).toBe(`process ${receiver.pid}`);
    expect(await says("unshare", "--pid", "--fork", "--")).toBe("a process of another pid namespace");
  });

  it("at its limit of descriptors it refuses, and goes on when there are some again", async () => {
    await start(kind);
    const { door } = bridge;
    const limit = descriptorLimitOf(receiver.pid);
    leaveDescriptors(receiver.pid, 0);
    await client();
    await bridge.next();
    expect(await door.refused(1)).toMatchObject({ reason: RefuseReason.NO_DESCRIPTOR });
    const late = new FakeDoor(path);
    await until("the warning", () => /cannot accept doors at .*Too many open files/.test(receiver.stderr));
    limitDescriptors(receiver.pid, limit);
    await late.next(MessageType.READY);
    late.close();
    const served = await client();
    const answer = lineOf(served);
    await bridge.deliver();
    accept();
    await answer;
  });

  it("a socket of the service manager is used, whatever that has it pass beside messages", async () => {
    const held = native.listenUnix(path, "seqpacket", { backlog: 16, mode: 0o600 });
    native.askCredentials(held, true); // PassCredentials=yes
    const [command, args] = spawned(kind, {});
    receiver = new Child("/bin/sh", ["-c", 'LISTEN_PID=$$ exec "$0" "$@"', command, ...args], {
      stdio: ["pipe", "pipe", "pipe", held],
      env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: "door" },
    });
    await receiver.line("its listening", (line) => line === `listening on ${path}`);
    bridge = await Bridge.open(path);
    native.close(held);
    const told = lineOf(await client());
    await bridge.deliver();
    accept();
    await told;
  });

  it("what is no connection is refused, what has ended is acknowledged; nothing is left open", async () => {
    await start(kind);
    const { door } = bridge;
    const before = openDescriptors(receiver.pid).sort();
    const [one, other] = native.socketPair("stream");
    const listening = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 1 });
    for (const descriptor of [one, listening]) {
      const sequence = door.handOver(descriptor);
      expect(await door.refused(sequence)).toMatchObject({ reason: RefuseReason.NOT_TCP });
    }
    expect(door.send(handoffBytes({ sequence: 3 }))).toBe(0);
    expect(await door.refused(3)).toMatchObject({ reason: RefuseReason.NO_DESCRIPTOR });
    expect(door.send(handoffBytes({ sequence: 4 }), [one, other])).toBe(0);
    expect(await door.refused(4)).toMatchObject({ reason: RefuseReason.NO_DESCRIPTOR });
    const dead = await client();
    const descriptor = await bridge.listener.accept();
    dead.resetAndDestroy();
    await until("the reset", () => isDead(descriptor));
    expect(door.handOver(descriptor, { sequence: 5 })).toBe(5);
    await door.acknowledged(5);
    for (const each of [one, other, listening, descriptor]) native.close(each);
    await until("the descriptors of before", () => openDescriptors(receiver.pid).sort().join() === before.join());
  });
});

function isDead(descriptor: number): boolean {
  try {
    native.peerAddress(descriptor);
    return false;
  } catch {
    return true; // ENOTCONN
  }
}
