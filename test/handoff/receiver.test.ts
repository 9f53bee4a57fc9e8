import { once } from "node:events";
import { closeSync, existsSync, mkdtempSync, openSync, rmSync } from "node:fs";
import type { Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { FieldType, MAX_WINDOW, MessageType, RefuseReason } from "../../src/handoff/layout.js";
import { Message } from "../../src/handoff/message.js";
import { Receiver, type ReceiverOptions } from "../../src/handoff/receiver.js";
import type { Sink } from "../../src/handoff/sink.js";
import { native } from "../../src/native/addon.js";
import { openDescriptors } from "../support/descriptors.js";
import { FakeDoor, handoffBytes, withField } from "../support/fake-door.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";

/** Keeps what it owns, so that a test sees exactly that. */
class Keeper implements Sink {
  /** Names of the connections that were delivered. */
  readonly served: string[] = [];
  readonly descriptors: number[] = [];
  private readonly queue: string[] = [];
  limit = Number.POSITIVE_INFINITY;
  opened = 0;
  isClosed = false;
  isDrained = false;
  onDeliver: (name: string) => void = () => {};

  open(): number {
    return this.opened;
  }
  room(): number {
    return this.limit - this.opened;
  }
  closed(): boolean {
    return this.isClosed;
  }
  own(descriptor: number, text: string): boolean {
    const message = new Message();
    expect(message.decode(Buffer.from(text, "latin1"), 0, text.length)).toBeUndefined();
    this.queue.push(text.slice(message.nameStart, message.nameStart + message.nameLength));
    this.descriptors.push(descriptor);
    this.opened++;
    return true;
  }
  deliver(): void {
    const name = this.queue.shift()!;
    this.served.push(name);
    this.onDeliver(name);
  }
  drained(): void {
    this.isDrained = true;
  }
  closeAll(): void {
    for (const descriptor of this.descriptors.splice(0)) native.close(descriptor);
  }
}

let folder: string;
let path: string;
let sink: Keeper;
let receiver: Receiver;
let listener: TcpListener;
let before: string[];
const doors: FakeDoor[] = [];
const clients: Socket[] = [];
const descriptors: number[] = [];
const warnings: Error[] = [];

function start(options: Partial<ReceiverOptions> = {}): void {
  receiver = new Receiver({ path, ...options }, sink);
  receiver.on("warning", (warning) => warnings.push(warning));
}

async function openDoor(options: { sequence?: number } = {}): Promise<FakeDoor> {
  const door = await FakeDoor.open(path, options);
  doors.push(door);
  return door;
}

/** A connection that a door has accepted. The door's copy is closed at the test's end. */
async function connection(): Promise<{ client: Socket; descriptor: number }> {
  const pair = await listener.pair();
  clients.push(pair.client);
  descriptors.push(pair.descriptor);
  return pair;
}

/** Closes the door's own copy, as after an ACK. */
function drop(descriptor: number): void {
  descriptors.splice(descriptors.indexOf(descriptor), 1);
  native.close(descriptor);
}

async function violation(door: FakeDoor): Promise<string> {
  await door.end();
  const [warning] = await until("a warning", () => warnings.length > 0 && warnings);
  expect(warning).toMatchObject({
    name: "HandoffError",
    code: "ERR_PROTOCOL",
    pid: process.pid,
    uid: process.getuid!(),
  });
  return warning!.message;
}

beforeEach(() => {
  before = openDescriptors();
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
  path = join(folder, "door.sock");
  sink = new Keeper();
  listener = new TcpListener();
  warnings.length = 0;
});

afterEach(async () => {
  for (const door of doors.splice(0)) door.close();
  await receiver.close({ timeout: 0 });
  expect(sink.isDrained).toBe(true);
  sink.closeAll();
  for (const descriptor of descriptors.splice(0)) native.close(descriptor);
  for (const client of clients.splice(0)) client.destroy();
  listener.close();
  expect(existsSync(path)).toBe(false);
  rmSync(folder, { recursive: true });
  await until("the descriptors of before", () => openDescriptors().length === before.length);
});

describe("READY", () => {
  it("comes first, with window, weight and open count", async () => {
    sink.opened = 7;
    start({ window: 32, weight: 5 });
    const door = await openDoor();
    expect(door.received).toEqual([
      { type: MessageType.READY, sequence: 0, open: 7, window: 32, weight: 5, reason: -1 },
    ]);
  });

  it("offers the largest window if nothing else is said", async () => {
    start();
    const door = await openDoor();
    expect(door.received[0]).toMatchObject({ window: MAX_WINDOW, weight: 1, open: 0 });
  });

  it("is announced by `ready` once and by `peer` for each channel", async () => {
    start();
    let ready = 0;
    const peers: unknown[] = [];
    receiver.on("ready", () => ready++);
    receiver.on("peer", (peer) => peers.push(peer));
    await openDoor();
    await openDoor();
    await until("two peers", () => peers.length === 2);
    expect(ready).toBe(1);
    expect(peers[0]).toEqual({ pid: process.pid, uid: process.getuid!(), gid: process.getgid!() });
    expect(receiver.counts.channels).toBe(2);
  });

  it("waits until there is room", async () => {
    sink.limit = 0;
    start();
    const door = new FakeDoor(path);
    doors.push(door);
    await until("the channel", () => receiver.counts.channels === 1);
    expect(door.received).toEqual([]);
    sink.limit = 3;
    expect(await door.next(MessageType.READY)).toMatchObject({ window: 3 });
  });
});

describe("HANDOFF", () => {
  it("is acknowledged and served, with its name, and the open count goes with the ACK", async () => {
    start();
    const door = await openDoor();
    const { client, descriptor } = await connection();
    const sequence = door.handOver(descriptor, { name: "a.example" });
    expect(await door.acknowledged(sequence)).toMatchObject({ sequence, open: 1 });
    await until("the delivery", () => sink.served.length === 1);
    expect(sink.served).toEqual(["a.example"]);
    drop(descriptor);
    sink.closeAll();
    await once(client, "close");
  });

  it("is served in the order of sequence, acknowledged cumulatively", async () => {
    start();
    const door = await openDoor();
    const names = Array.from({ length: 100 }, (_, i) => `n${i}`);
    const pairs = await Promise.all(names.map(connection));
    let last = 0;
    for (const [i, name] of names.entries()) last = door.handOver(pairs[i]!.descriptor, { name });
    await door.acknowledged(last);
    await until("all deliveries", () => sink.served.length === 100);
    expect(sink.served).toEqual(names);
    const acks = door.received.filter(({ type }) => type === MessageType.ACK);
    expect(acks.length).toBeLessThan(100);
    expect(acks.map(({ sequence }) => sequence)).toEqual(
      acks.map(({ sequence }) => sequence).toSorted((a, b) => a - b),
    );
    expect(receiver.counts).toMatchObject({ received: 100, refused: 0, dead: 0, revoked: 0 });
  });

  it("may begin just before the sequence wraps around", async () => {
    start();
    const door = await openDoor({ sequence: 0xfffffffe });
    for (let i = 0; i < 4; i++) door.handOver((await connection()).descriptor, { name: `n${i}` });
    await door.acknowledged(1);
    await until("all deliveries", () => sink.served.length === 4);
  });

  it("with unknown fields is served: they are ignored", async () => {
    start();
    const door = await openDoor();
    const { descriptor } = await connection();
    const bytes = withField(handoffBytes({ name: "a" }), 999, Buffer.from("whatever"));
    expect(door.send(bytes, [descriptor])).toBe(0);
    await door.acknowledged(1);
  });

  it("of two doors at once is served for both", async () => {
    start();
    const [first, second] = [await openDoor(), await openDoor({ sequence: 500 })];
    first.handOver((await connection()).descriptor, { name: "first" });
    second.handOver((await connection()).descriptor, { name: "second" });
    await first.acknowledged(1);
    await second.acknowledged(500);
    expect(sink.served.toSorted()).toEqual(["first", "second"]);
  });

  it("of a connection that is dead already is acknowledged and closed", async () => {
    start();
    const door = await openDoor();
    const { client, descriptor } = await connection();
    client.resetAndDestroy();
    await once(client, "close");
    door.handOver(descriptor, { name: "dead" });
    await door.acknowledged(1);
    expect(sink.served).toEqual([]);
    expect(receiver.counts).toMatchObject({ received: 1, dead: 1 });
  });

  it("whose handler throws does not lose the next ones of its batch", async () => {
    start();
    const door = await openDoor();
    const thrown: unknown[] = [];
    const listeners = process.listeners("uncaughtException");
    process.removeAllListeners("uncaughtException");
    process.on("uncaughtException", (error) => thrown.push(error.message));
    try {
      sink.onDeliver = (name) => {
        throw new Error(`from ${name}`);
      };
      for (let i = 0; i < 4; i++) door.handOver((await connection()).descriptor, { name: `n${i}` });
      await until("all deliveries", () => sink.served.length === 4);
      await until("all exceptions", () => thrown.length === 4);
      expect(thrown).toEqual(["from n0", "from n1", "from n2", "from n3"]);
    } finally {
      process.removeAllListeners("uncaughtException");
      for (const listener of listeners) process.on("uncaughtException", listener);
    }
  });
});

describe("REFUSE", () => {
  async function refusal(send: (door: FakeDoor) => Promise<void> | void) {
    start();
    const door = await openDoor();
    await send(door);
    const { reason } = await door.refused(1);
    expect(sink.served).toEqual([]);
    // The channel goes on.
    door.handOver((await connection()).descriptor, { sequence: 2, name: "next" });
    await door.acknowledged(2);
    expect(receiver.counts).toMatchObject({ received: 1, refused: 1 });
    return reason;
  }

  it("no descriptor: none came", async () => {
    expect(
      await refusal((door) => {
        door.send(handoffBytes());
      }),
    ).toBe(RefuseReason.NO_DESCRIPTOR);
  });

  it("no descriptor: two came", async () => {
    expect(
      await refusal(async (door) => {
        door.send(handoffBytes(), [(await connection()).descriptor, (await connection()).descriptor]);
      }),
    ).toBe(RefuseReason.NO_DESCRIPTOR);
  });

  it("not TCP: a file", async () => {
    const file = openSync("/proc/self/status", "r");
    expect(await refusal((door) => void door.send(handoffBytes(), [file]))).toBe(RefuseReason.NOT_TCP);
    closeSync(file);
  });

  it("not TCP: a unix socket", async () => {
    const pair = native.socketPair("seqpacket");
    expect(await refusal((door) => void door.send(handoffBytes(), [pair[0]]))).toBe(RefuseReason.NOT_TCP);
    for (const descriptor of pair) native.close(descriptor);
  });

  it("not TCP: a listening TCP socket", async () => {
    const listening = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 1 });
    expect(await refusal((door) => void door.send(handoffBytes(), [listening]))).toBe(RefuseReason.NOT_TCP);
    native.close(listening);
  });

  it("overloaded: over the limit, before the ACK of the others; READY again when there is room", async () => {
    sink.limit = 2;
    start();
    const refusals: unknown[] = [];
    receiver.on("refused", (refused) => refusals.push(refused));
    const door = await openDoor();
    expect(door.received[0]).toMatchObject({ window: 2 });
    for (let i = 1; i <= 3; i++) door.handOver((await connection()).descriptor, { name: `n${i}` });
    expect(await door.refused(3)).toMatchObject({ reason: RefuseReason.OVERLOADED });
    await door.acknowledged(2);
    await until("the deliveries", () => sink.served.length === 2);
    await until("the event", () => refusals.length === 1);
    expect(refusals[0]).toMatchObject({ reason: "overloaded", peer: { pid: process.pid } });

    const seen = door.received.length;
    sink.opened = 1;
    expect(await door.next(MessageType.READY, undefined, seen)).toMatchObject({ window: 1, open: 1 });
    sink.limit = 1000;
    expect(await door.next(MessageType.READY, ({ window }) => window === MAX_WINDOW, seen)).toMatchObject({ open: 1 });
  });

  it("draining: the server is closed", async () => {
    start();
    const door = await openDoor();
    sink.isClosed = true;
    door.handOver((await connection()).descriptor);
    expect(await door.refused(1)).toMatchObject({ reason: RefuseReason.DRAINING });
    await door.next(MessageType.DRAIN);
  });
});

describe("the open count", () => {
  it("is told again when it changes, by repeating the last ACK", async () => {
    start();
    const door = await openDoor();
    door.handOver((await connection()).descriptor);
    await door.acknowledged(1);
    sink.opened = 0;
    expect(await door.next(MessageType.ACK, ({ open }) => open === 0)).toMatchObject({ sequence: 1 });
  });

  it("is told by READY where nothing was acknowledged yet", async () => {
    start();
    const quiet = await openDoor();
    const door = await openDoor();
    door.handOver((await connection()).descriptor);
    await door.acknowledged(1);
    expect(await quiet.next(MessageType.READY, ({ open }) => open === 1)).toMatchObject({ window: MAX_WINDOW });
  });

  it("is told at most 4 times a second", async () => {
    start();
    const door = await openDoor();
    door.handOver((await connection()).descriptor);
    await door.acknowledged(1);
    const started = performance.now();
    const seen = door.received.length;
    await until("5 more reports", () => {
      sink.opened = (sink.opened + 1) % 1000;
      return door.received.length >= seen + 5;
    });
    expect(performance.now() - started).toBeGreaterThan(4 * 245);
  });
});

describe("REVOKE", () => {
  it("after a failed ACK: closed, and not served", async () => {
    start();
    const door = await openDoor();
    door.stopReading();
    const { client, descriptor } = await connection();
    door.handOver(descriptor, { name: "revoked" });
    door.revoke(0);
    await door.end();
    expect(sink.served).toEqual([]);
    await until("its being closed", () => receiver.counts.revoked === 1);
    // The door's copy is whole, and the last one.
    drop(descriptor);
    await once(client, "close");
  });

  it("that comes later than the failed ACK: nothing is decided before", async () => {
    start();
    const door = await openDoor();
    door.stopReading();
    door.handOver((await connection()).descriptor, { name: "undecided" });
    const other = await openDoor();
    other.handOver((await connection()).descriptor, { name: "other" });
    await other.acknowledged(1);
    expect(sink.served).toEqual(["other"]);
    expect(receiver.counts).toMatchObject({ received: 1, revoked: 0 });
    door.revoke(0);
    await until("its being closed", () => receiver.counts.revoked === 1);
    expect(sink.served).toEqual(["other"]);
    expect(receiver.counts.received).toBe(1);
  });

  it("directly: everything acknowledged is kept, the channel is closed", async () => {
    start();
    const door = await openDoor();
    door.handOver((await connection()).descriptor, { name: "kept" });
    await door.acknowledged(1);
    door.revoke(1);
    await door.end();
    expect(sink.served).toEqual(["kept"]);
    expect(warnings).toEqual([]);
  });

  it("with a descriptor is a violation", async () => {
    start();
    const door = await openDoor();
    const { descriptor } = await connection();
    door.send(Uint8Array.from([1, MessageType.REVOKE, 8, 0, 0, 0, 0, 0]), [descriptor]);
    expect(await violation(door)).toContain("a message of type 5 with a descriptor");
  });
});

describe("a door that dies", () => {
  it("without REVOKE after a failed ACK: what it handed over is served", async () => {
    start();
    const door = await openDoor();
    door.stopReading();
    const { descriptor } = await connection();
    door.handOver(descriptor, { name: "inherited" });
    const other = await openDoor();
    other.handOver((await connection()).descriptor, { name: "other" });
    await other.acknowledged(1);
    expect(sink.served).toEqual(["other"]);
    door.close();
    await until("the delivery", () => sink.served.length === 2);
    expect(sink.served).toEqual(["other", "inherited"]);
  });

  it("with handoffs in the queue: they are served", async () => {
    start();
    const door = await openDoor();
    for (let i = 0; i < 50; i++) {
      const { descriptor } = await connection();
      door.handOver(descriptor, { name: `n${i}` });
    }
    door.close();
    await until("the deliveries", () => sink.served.length === 50);
    expect(receiver.counts).toMatchObject({ received: 50, revoked: 0 });
    await until("the channel's end", () => receiver.counts.channels === 0);
  });

  it("while the instance is overloaded: even those are served, since nobody else has them", async () => {
    sink.limit = 1;
    start();
    const door = await openDoor();
    door.stopReading();
    for (let i = 0; i < 3; i++) door.handOver((await connection()).descriptor, { name: `n${i}` });
    await until("all to be read", () => receiver.counts.channels === 1);
    door.close();
    await until("the deliveries", () => sink.served.length === 3);
  });
});

describe("a door that does not read", () => {
  it("is not served anything that could not be acknowledged; later it is", async () => {
    start();
    const door = new FakeDoor(path, { reads: false });
    doors.push(door);
    // Fills the way back with refusals until it takes no more; what is then handed over waits.
    await until("the channel", () => receiver.counts.channels === 1);
    let sequence = 0;
    await until("the queue to be full", () => {
      const room = sequence + 16 < receiver.counts.refused + MAX_WINDOW;
      if (room) for (let i = 0; i < 16; i++) door.send(handoffBytes({ sequence: ++sequence }));
      return !room;
    });
    door.send(handoffBytes({ sequence: ++sequence, name: "late" }), [(await connection()).descriptor]);
    const other = await openDoor();
    other.handOver((await connection()).descriptor, { name: "other" });
    await other.acknowledged(1);
    expect(sink.served).toEqual(["other"]);
    door.startReading();
    await door.acknowledged(sequence);
    await until("the delivery", () => sink.served.length === 2);
    expect(sink.served).toEqual(["other", "late"]);
    expect(warnings).toEqual([]);
  });
});

describe("a violation closes the channel, names the process, and leaks nothing:", () => {
  const good = handoffBytes({ name: "a.example" });
  const changed = (change: (bytes: Buffer) => void) => {
    const bytes = Buffer.from(good);
    change(bytes);
    return bytes;
  };
  it.each<[string, Uint8Array, string]>([
    ["another version", changed((bytes) => bytes.writeUInt8(2, 0)), "version 2; version 1 was agreed"],
    [
      "a wrong length",
      changed((bytes) => bytes.writeUInt16LE(9, 2)),
      `a message that states 9 bytes and has ${good.length}`,
    ],
    ["a truncated header", good.subarray(0, 5), "a message of 5 bytes, shorter than its header of 8"],
    ["a field that overruns", changed((bytes) => bytes.writeUInt16LE(500, 10)), "field 4, which overruns its message"],
    ["a field twice", withField(good, FieldType.FLAGS, new Uint8Array(4)), "field 7 twice"],
    ["a wrong size", withField(good, FieldType.REASON, new Uint8Array(2)), "field 12 of 2 bytes"],
    ["a needed field missing", Uint8Array.from([1, 2, 8, 0, 1, 0, 0, 0]), "HANDOFF without CONNECTION_ID"],
    ["an oversized message", new Uint8Array(5000), "a message of 5000 bytes; at most 1024 are allowed"],
    ["an unknown type", changed((bytes) => bytes.writeUInt8(99, 1)), "a message of unknown type 99"],
    ["READY from a door", Uint8Array.from([1, 3, 8, 0, 1, 0, 0, 0]), "a message of type 3 with a descriptor"],
  ])("%s", async (_, bytes, expected) => {
    start();
    const door = await openDoor();
    const { descriptor } = await connection();
    expect(door.send(bytes, [descriptor])).toBe(0);
    expect(await violation(door)).toContain(`protocol violation by the door, process ${process.pid} of user`);
    expect(warnings[0]!.message).toContain(expected);
    expect(sink.served).toEqual([]);
  });

  it("a gap in the sequence; what was acknowledged before is kept, other channels go on", async () => {
    start();
    const door = await openDoor();
    const other = await openDoor();
    door.handOver((await connection()).descriptor, { name: "kept" });
    await door.acknowledged(1);
    door.handOver((await connection()).descriptor, { sequence: 3 });
    expect(await violation(door)).toContain("HANDOFF 3 after 1; one higher is next");
    other.handOver((await connection()).descriptor, { name: "other" });
    await other.acknowledged(1);
    expect(sink.served).toEqual(["kept", "other"]);
  });

  it("more than the window", async () => {
    start({ window: 2 });
    const door = await openDoor();
    door.stopReading();
    for (let i = 0; i < 3; i++) door.handOver((await connection()).descriptor);
    expect(await violation(door)).toContain("HANDOFF 3 exceeds the window of 2");
    expect(sink.served).toEqual([]);
  });
});

describe("who may", () => {
  it("only users of the list are doors", async () => {
    start({ allowedUsers: [4242] });
    const door = new FakeDoor(path);
    doors.push(door);
    await door.end();
    expect(door.received).toEqual([]);
    await until("the warning", () => warnings.length === 1);
    expect(warnings[0]).toMatchObject({ code: "ERR_NOT_PERMITTED", pid: process.pid, uid: process.getuid!() });
  });

  it("users may be named", async () => {
    start({ allowedUsers: ["root", process.getuid!()] });
    await openDoor();
  });
});

describe("a flood is told once for each cause, with process and user, and leaves nothing open:", () => {
  const who = `process ${process.pid} of user ${process.getuid!()}`;
  const lying = (by: number) => {
    const bytes = Buffer.from(handoffBytes());
    bytes.writeUInt16LE(bytes.length + by, 2);
    return bytes;
  };

  it("lies about lengths, each another one", async () => {
    start();
    for (let by = 1; by <= 20; by++) {
      const door = await openDoor();
      door.send(lying(by), [(await connection()).descriptor]);
      await door.end();
    }
    const other = await openDoor();
    other.send(handoffBytes().subarray(0, 3));
    await other.end();
    await until("the warnings", () => warnings.length === 2);
    expect(warnings.map(({ message }) => message)).toEqual([
      expect.stringContaining(`the door, ${who}: a message that states`),
      expect.stringContaining(`the door, ${who}: a message of 3 bytes`),
    ]);
    await until("all channels to be closed", () => receiver.counts.channels === 0);
  });

  it("channels of a process that may not be a door", async () => {
    start({ allowedUsers: [4242] });
    for (let i = 0; i < 20; i++) {
      const door = new FakeDoor(path);
      doors.push(door);
      await door.end();
    }
    await until("the warning", () => warnings.length > 0);
    expect(warnings.map(({ message }) => message)).toEqual([
      `${who} may not be a door at ${path}: not one of allowedUsers`,
    ]);
    expect(receiver.counts.channels).toBe(0);
  });

  it("channels of one process beyond 256, which are refused until others have ended", async () => {
    start();
    const open: FakeDoor[] = [];
    for (let i = 0; i < 256; i++) open.push(await openDoor());
    for (let i = 0; i < 3; i++) {
      const door = new FakeDoor(path);
      doors.push(door);
      await door.end();
      expect(door.received).toEqual([]);
    }
    await until("the warning", () => warnings.length > 0);
    expect(warnings.map(({ message }) => message)).toEqual([
      `${who} has 256 channels open at ${path}, more than any door needs: another was refused`,
    ]);
    open[0]!.handOver((await connection()).descriptor, { name: "still served" });
    await open[0]!.acknowledged(1);
    open[255]!.close();
    await until("its end", () => receiver.counts.channels === 255);
    await openDoor();
    expect(sink.served).toEqual(["still served"]);
  });

  it("without a listener, as one warning of the process", async () => {
    receiver = new Receiver({ path }, sink);
    const printed: Error[] = [];
    const keep = (warning: Error) => printed.push(warning);
    process.on("warning", keep);
    try {
      for (let by = 1; by <= 5; by++) {
        const door = await openDoor();
        door.send(lying(by));
        await door.end();
      }
      await until("the warning", () => printed.length > 0);
      await until("all channels to be closed", () => receiver.counts.channels === 0);
      expect(printed).toMatchObject([{ name: "SniHandoffWarning", code: "ERR_PROTOCOL" }]);
    } finally {
      process.off("warning", keep);
    }
  });
});

describe("closing", () => {
  it("asks each door to drain, takes what is on the way, and ends with the last channel", async () => {
    start();
    const doors = [await openDoor(), await openDoor()];
    const closed = receiver.close();
    expect(existsSync(path)).toBe(false);
    for (const door of doors) {
      door.handOver((await connection()).descriptor, { name: "on the way" });
      await door.next(MessageType.DRAIN);
      await door.acknowledged(1);
    }
    expect(sink.served).toEqual(["on the way", "on the way"]);
    expect(sink.isDrained).toBe(false);
    let drained = 0;
    receiver.on("drained", () => drained++);
    for (const door of doors) door.close();
    await closed;
    expect(sink.isDrained).toBe(true);
    await until("the event", () => drained === 1);
  });

  it("does not wait for a door longer than the timeout", async () => {
    start({ drainTimeout: 20 });
    const door = await openDoor();
    await receiver.close();
    await door.end();
  });

  it("twice is once", async () => {
    start();
    expect(receiver.close()).toBe(receiver.close());
  });

  it("within a delivery delivers the rest of the batch first", async () => {
    start();
    const door = await openDoor();
    let closed: Promise<void> | undefined;
    sink.onDeliver = () => {
      closed ??= receiver.close({ timeout: 0 }).then(() => {
        expect(sink.served.length).toBe(3);
      });
    };
    const pairs = [await connection(), await connection(), await connection()];
    for (const { descriptor } of pairs) door.handOver(descriptor);
    await until("the closing", () => closed !== undefined);
    await closed;
  });
});

describe("options", () => {
  it.each([
    [{ window: 0 }, "window is 0; a whole number from 1 to 128 is needed"],
    [{ window: 129 }, "window is 129; a whole number from 1 to 128 is needed"],
    [{ weight: 1.5 }, "weight is 1.5; a whole number from 1 to 65535 is needed"],
    [{ mode: 0o1777 }, "mode is 1023; a whole number from 0 to 511 is needed"],
    [{ drainTimeout: -1 }, "drainTimeout is -1; a whole number from 0 to 2147483647 is needed"],
    [{ group: "no such group" }, 'there is no group "no such group" in /etc/group'],
    [{ allowedUsers: ["no such user"] }, 'there is no user "no such user" in /etc/passwd'],
    [{ path: "" }, "path is empty"],
  ])("%j: %s", (options, expected) => {
    start();
    expect(() => new Receiver({ path: join(folder, "other.sock"), ...options }, sink)).toThrowError(
      expect.objectContaining({ code: "ERR_OPTION", message: expect.stringContaining(expected) }),
    );
    expect(existsSync(join(folder, "other.sock"))).toBe(false);
  });
});
