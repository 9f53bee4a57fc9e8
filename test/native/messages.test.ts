import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { Arrival, Intact, type MessageWatch, native, type ReceiveBatch, ReceiveEnd } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";
import { fixture } from "./fixture.js";
import { sockets } from "./python.js";
import { closeOwned, countDescriptors, descriptorCount, file, newLoop, own, pair, tcpPair } from "./resources.js";

countDescriptors();

interface Message {
  readonly text: string;
  readonly arrival: number;
  readonly descriptor: number;
}

function messages(batch: ReceiveBatch, count: number): Message[] {
  return Array.from({ length: count }, (_, i) => ({
    text: Buffer.from(batch.buffer.subarray(i * batch.stride, i * batch.stride + batch.lengths[i]!)).toString(),
    arrival: batch.arrivals[i]!,
    descriptor: batch.descriptors[i]!,
  }));
}

/** Everything that comes on a channel until its end, as an instance reads it. Descriptors are the test's to close. */
async function readToEnd(fd: number): Promise<{ received: Message[]; ends: number[][]; watch: MessageWatch }> {
  const received: Message[] = [];
  const ends: number[][] = [];
  const watch = native.watchMessages(
    fd,
    (count) => {
      received.push(...messages(watch.batch, count));
      ends.push([...watch.batch.end]);
      return 0;
    },
    () => {},
  );
  await until("the end", () => ends.at(-1)?.[0] === ReceiveEnd.CLOSED);
  watch.close();
  for (const { descriptor } of received) if (descriptor !== -1) own(descriptor);
  return { received, ends, watch };
}

describe("what arrives beside a message at an instance", () => {
  it("is nothing", async () => {
    const [a, b] = pair();
    native.sendMessage(a, Buffer.from("plain"));
    closeOwned(a);
    const { received } = await readToEnd(b);
    expect(received).toEqual([{ text: "plain", arrival: Arrival.NONE, descriptor: -1 }]);
  });

  it("is a connected TCP socket, in whatever way it is being closed, and close-on-exec", async () => {
    const { client, fd } = await tcpPair();
    const arrives = async (text: string) => {
      const [a, b] = pair();
      native.sendMessage(a, Buffer.from(text), [fd]);
      closeOwned(a);
      const { received } = await readToEnd(b);
      expect(received).toEqual([{ text, arrival: Arrival.TCP, descriptor: expect.any(Number) }]);
      const flags = readFileSync(`/proc/self/fdinfo/${received[0]!.descriptor}`, "utf8");
      expect(flags).toMatch(/flags:\s+02000002\n/); // O_RDWR | O_CLOEXEC
    };
    await until("the connection", () => !client.connecting);
    await arrives("ESTABLISHED");
    native.shutdown(fd, 1);
    await arrives("FIN_WAIT1 or 2");
    const other = await tcpPair();
    other.client.end();
    await until("the client's end", () => native.discard(other.fd, 1));
    const [a, b] = pair();
    native.sendMessage(a, Buffer.from("CLOSE_WAIT"), [other.fd]);
    closeOwned(a);
    expect((await readToEnd(b)).received[0]!.arrival).toBe(Arrival.TCP);
  });

  it("is a TCP socket that is dead", async () => {
    const [a, b] = pair();
    const { client, fd } = await tcpPair();
    client.resetAndDestroy();
    await until("the reset", () => native.intact(fd, 0) === Intact.GONE);
    native.sendMessage(a, Buffer.from("dead"), [fd]);
    closeOwned(a);
    const { received } = await readToEnd(b);
    expect(received).toEqual([{ text: "dead", arrival: Arrival.DEAD, descriptor: expect.any(Number) }]);
    expect(received[0]!.descriptor).toBeGreaterThan(2);
  });

  it("is something else, which is closed", async () => {
    const [a, b] = pair();
    sockets("send-odd", [], [a]);
    closeOwned(a);
    const before = descriptorCount();
    const { received } = await readToEnd(b);
    expect(received).toHaveLength(12);
    for (const message of received) {
      expect(message, message.text).toMatchObject({ arrival: Arrival.OTHER, descriptor: -1 });
    }
    expect(descriptorCount()).toBe(before);
  });

  it("is a connection also beside all that a service manager's socket may be told to add", async () => {
    const [a, b] = pair();
    const { fd } = await tcpPair();
    sockets("pass-all", [], [b]);
    const before = descriptorCount();
    native.sendMessage(a, Buffer.from("one"), [fd]);
    closeOwned(a);
    const { received } = await readToEnd(b);
    expect(received).toEqual([{ text: "one", arrival: Arrival.TCP, descriptor: expect.any(Number) }]);
    expect(descriptorCount()).toBe(before); // one less, and the received one more
  });

  it.each([2, 3, 4, 5, 20, 253])("is %d descriptors, which are all closed", async (count) => {
    const [a, b] = pair();
    const { fd } = await tcpPair();
    const before = descriptorCount();
    native.sendMessage(a, Buffer.from("several"), Array(count).fill(fd));
    native.sendMessage(a, Buffer.from("next"), [fd]);
    closeOwned(a);
    const { received } = await readToEnd(b);
    expect(received).toEqual([
      { text: "several", arrival: Arrival.SEVERAL, descriptor: -1 },
      { text: "next", arrival: Arrival.TCP, descriptor: expect.any(Number) },
    ]);
    expect(descriptorCount()).toBe(before); // one less, and the received one more
  });

  it("was lost, because the process is at its limit", async () => {
    const [a, b] = pair();
    const { client, fd } = await tcpPair();
    const child = new Child("prlimit", ["--nofile=64:64", process.execPath, fixture, "at-limit"], {
      stdio: ["ignore", "pipe", "pipe", b],
    });
    closeOwned(b);
    await child.line("its limit", (line) => line === "full");
    native.sendMessage(a, Buffer.from("one"), [fd]);
    native.sendMessage(a, Buffer.from("two"), [fd, fd]);
    native.sendMessage(a, Buffer.from("none"));
    await child.line("all three", (line) => line.startsWith("none"));
    // It has closed one descriptor by now, and closes the next one when it has it.
    native.sendMessage(a, Buffer.from("one-more"), [fd]);
    await child.line("the one more", (line) => line.startsWith("one-more"));
    native.sendMessage(a, Buffer.from("two-more"), [fd, fd]);
    closeOwned(a);
    expect(await child.ended).toEqual({ status: 0, signal: null });
    expect(child.lines).toEqual([
      "full",
      `one ${Arrival.LOST}`,
      `two ${Arrival.LOST}`,
      `none ${Arrival.NONE}`,
      `one-more ${Arrival.TCP}`,
      `two-more ${Arrival.SEVERAL}`,
    ]);
    client.destroy();
  });

  it("is the sender's credentials, with and without a descriptor", async () => {
    const [listening, path] = [`@sni-handoff-${process.pid}-${Math.random()}`].map((name) => [
      own(native.listenUnix(name, "seqpacket", { backlog: 4 })),
      name,
    ])[0] as [number, string];
    const receiver = own(native.connectUnix(path, "seqpacket", { credentials: true }));
    const sender = own(native.acceptUnix(listening));
    const { fd } = await tcpPair();
    native.sendMessage(sender, Buffer.from("plain"));
    native.sendMessage(sender, Buffer.from("tcp"), [fd]);
    native.sendMessage(sender, Buffer.from("several"), [fd, fd, fd, fd, fd, fd]);
    closeOwned(sender);
    const { received, watch } = await readToEnd(receiver);
    expect(received.map(({ arrival }) => arrival)).toEqual([Arrival.NONE, Arrival.TCP, Arrival.SEVERAL]);
    const me = [process.pid, process.getuid!(), process.getgid!()];
    expect([...watch.batch.credentials.subarray(0, 9)]).toEqual([...me, ...me, ...me]);
  });
});

describe("what arrives at the door", () => {
  it("is reported, and always closed", async () => {
    const [door, instance] = pair();
    const { fd } = await tcpPair();
    const loop = newLoop();
    const before = descriptorCount();
    native.sendMessage(instance, Buffer.from("none"));
    native.sendMessage(instance, Buffer.from("tcp"), [fd]);
    native.sendMessage(instance, Buffer.from("several"), [fd, fd]);
    native.sendMessage(instance, Buffer.from("pipe"), [file()]);
    expect(loop.receive(door)).toBe(4);
    expect(messages(loop.received, 4)).toEqual([
      { text: "none", arrival: Arrival.NONE, descriptor: -1 },
      { text: "tcp", arrival: Arrival.OTHER, descriptor: -1 },
      { text: "several", arrival: Arrival.SEVERAL, descriptor: -1 },
      { text: "pipe", arrival: Arrival.OTHER, descriptor: -1 },
    ]);
    expect(descriptorCount()).toBe(before + 1);
  });

  it("cannot block it by lingering", async () => {
    const [door, instance] = pair();
    const { client, fd } = await tcpPair();
    client.pause();
    sockets("fill-and-linger", [600, 1], [fd]);
    native.sendMessage(instance, Buffer.from("slow"), [fd]);
    const before = descriptorCount();
    closeOwned(fd); // by the thread: it is not the last copy
    await until("the copy's close", () => descriptorCount() < before);
    const loop = newLoop();
    expect(loop.receive(door)).toBe(1);
    expect(loop.received.arrivals[0]).toBe(Arrival.OTHER);
    client.resetAndDestroy();
  });
});

describe("reading", () => {
  it("ends where the queue is empty, full, or closed", () => {
    const [door, instance] = pair();
    const loop = newLoop();
    const { capacity, end, lengths } = loop.received;
    expect([loop.receive(door), ...end]).toEqual([0, ReceiveEnd.EMPTY, 0, 0]);
    for (let i = 0; i < capacity + 2; i++) native.sendMessage(instance, Buffer.alloc(i + 1));
    expect([loop.receive(door), ...end]).toEqual([capacity, ReceiveEnd.FULL, 0, 0]);
    expect([...lengths]).toEqual(Array.from({ length: capacity }, (_, i) => i + 1));
    closeOwned(instance);
    expect([loop.receive(door), ...end]).toEqual([2, ReceiveEnd.CLOSED, 0, 0]);
    expect([loop.receive(door), ...end]).toEqual([0, ReceiveEnd.CLOSED, 0, 0]);
  });

  it("goes on behind a reset", () => {
    const [door, instance] = pair();
    const loop = newLoop();
    native.sendMessage(door, Buffer.from("never read"));
    native.sendMessage(instance, Buffer.from("ack 1"));
    native.sendMessage(instance, Buffer.from("ack 2"));
    closeOwned(instance);
    expect([loop.receive(door), ...loop.received.end]).toEqual([2, ReceiveEnd.CLOSED, 0, 1]);
    expect(messages(loop.received, 2).map(({ text }) => text)).toEqual(["ack 1", "ack 2"]);
    // The next channel begins anew.
    const [other] = pair();
    expect([loop.receive(other), ...loop.received.end]).toEqual([0, ReceiveEnd.EMPTY, 0, 0]);
  });

  it("fails with the errno of anything else", () => {
    const loop = newLoop();
    expect([loop.receive(1 << 20), ...loop.received.end]).toEqual([0, ReceiveEnd.FAILED, 9, 0]);
    expect([loop.receive(file()), ...loop.received.end]).toEqual([0, ReceiveEnd.FAILED, 88, 0]);
  });

  it("tells the true length of a message that was too long, and never exceeds its place", () => {
    const [door, instance] = pair();
    const loop = newLoop();
    const { stride, buffer, lengths } = loop.received;
    native.sendMessage(instance, Buffer.alloc(stride, 1));
    native.sendMessage(instance, Buffer.alloc(stride + 500, 2));
    native.sendMessage(instance, Buffer.alloc(3, 3));
    expect(loop.receive(door)).toBe(3);
    expect([...lengths.subarray(0, 3)]).toEqual([stride, stride + 500, 3]);
    expect(buffer[stride - 1]).toBe(1);
    expect(buffer.subarray(stride, 2 * stride).every((byte) => byte === 2)).toBe(true);
    expect([...buffer.subarray(2 * stride, 2 * stride + 4)]).toEqual([3, 3, 3, 0]);
  });

  it("takes an empty record for a message where more follows, and finds its descriptor", async () => {
    const [door, instance] = pair();
    const { fd } = await tcpPair();
    const loop = newLoop();
    const before = descriptorCount();
    native.sendMessage(instance, new Uint8Array(0));
    native.sendMessage(instance, new Uint8Array(0), [fd]);
    native.sendMessage(instance, Buffer.from("x"));
    expect([loop.receive(door), loop.received.end[0]]).toEqual([3, ReceiveEnd.EMPTY]);
    expect([...loop.received.lengths.subarray(0, 3)]).toEqual([0, 0, 1]);
    expect([...loop.received.arrivals.subarray(0, 3)]).toEqual([Arrival.NONE, Arrival.OTHER, Arrival.NONE]);
    // A full batch: empty records with a descriptor are no end either.
    for (let i = 0; i < 40; i++) native.sendMessage(instance, new Uint8Array(0), [fd]);
    expect([loop.receive(door), loop.received.end[0]]).toEqual([32, ReceiveEnd.FULL]);
    expect([loop.receive(door), loop.received.end[0]]).toEqual([8, ReceiveEnd.EMPTY]);
    expect(descriptorCount()).toBe(before);
    for (let i = 0; i < 32; i++) native.sendMessage(instance, new Uint8Array(0));
    expect([loop.receive(door), loop.received.end[0]]).toEqual([0, ReceiveEnd.CLOSED]);
  });

  it("takes empty datagrams for messages: such a socket has no end", () => {
    const [a, b] = pair("dgram");
    const loop = newLoop();
    let sent = 0;
    while (native.sendMessage(a, new Uint8Array(0)) === 0) sent++;
    expect(sent).toBeGreaterThan(0);
    for (let left = sent; left > 0; left -= 32) {
      expect(loop.receive(b)).toBe(Math.min(left, 32));
      expect(loop.received.end[0]).toBe(left >= 32 ? ReceiveEnd.FULL : ReceiveEnd.EMPTY);
    }
    expect([loop.receive(b), loop.received.end[0]]).toEqual([0, ReceiveEnd.EMPTY]);
  });

  it("of a socket that a stranger closed from within a batch leaves no descriptor behind", async () => {
    const [door, instance] = pair();
    const { fd } = await tcpPair();
    const before = descriptorCount();
    for (let i = 0; i < 5; i++) native.sendMessage(instance, Buffer.from("x"), [fd]);
    closeOwned(instance);
    closeOwned(door); // unread: the kernel closes what is queued
    expect(descriptorCount()).toBe(before - 2);
  });
});
