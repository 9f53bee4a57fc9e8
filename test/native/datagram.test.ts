import { rmSync } from "node:fs";
import { constants } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { Arrival, native } from "../../src/native/addon.js";
import { TcpListener } from "../support/tcp.js";
import { until } from "../support/wait.js";
import { closeOwned, countDescriptors, newLoop, own, temporaryFolder } from "./resources.js";

countDescriptors();

const { EAGAIN, ECONNREFUSED, ENOENT } = constants.errno;

async function receiver(): Promise<{ path: string; fd: number }> {
  const path = join(await temporaryFolder(), "r.sock");
  return { path, fd: own(native.listenUnix(path, "dgram", { backlog: 1 })) };
}

/** A connection whose client has sent a text. */
async function connection(text: string): Promise<number> {
  const listener = new TcpListener();
  const { client, descriptor } = await listener.pair();
  listener.close();
  own(descriptor);
  client.end(text);
  const loop = newLoop();
  await until("the text", () => {
    loop.peekDescriptors[0] = descriptor;
    loop.peek(1);
    return loop.peekLengths[0] === text.length;
  });
  return descriptor;
}

describe("passDatagram", () => {
  it("sends what it reads beside the connection, which goes on behind it", async () => {
    const { path, fd } = await receiver();
    const channel = own(native.connectUnix(path, "dgram", {}));
    const passed = await connection("hello, world");
    const bytes = new Uint8Array(5);
    expect(native.passDatagram(channel, passed, bytes)).toBe(0);
    expect(Buffer.from(bytes).toString()).toBe("hello");
    const got: unknown[] = [];
    const watch = native.watchMessages(
      fd,
      (count) => {
        const { arrivals, buffer, descriptors, lengths } = watch.batch;
        own(descriptors[0]!);
        got.push(count, arrivals[0], Buffer.from(buffer.subarray(0, lengths[0])).toString(), descriptors[0]);
        return 0;
      },
      () => {},
      65_536,
    );
    expect([watch.batch.stride, watch.batch.buffer.length]).toEqual([65_536, 65_536 * watch.batch.capacity]);
    await until("the datagram", () => got.length > 0);
    watch.close();
    expect(got.slice(0, 3)).toEqual([1, Arrival.TCP, "hello"]);
    const loop = newLoop();
    loop.peekDescriptors[0] = got[3] as number;
    loop.peek(1);
    expect(Buffer.from(loop.peekBuffer.subarray(0, loop.peekLengths[0])).toString()).toBe(", world");
  });

  it("reads nothing while the queue is full, and is told when it no longer is", async () => {
    const { path, fd } = await receiver();
    const channel = own(native.connectUnix(path, "dgram", {}));
    while (native.sendMessage(channel, Buffer.from("x")) === 0);
    const passed = await connection("hello");
    const loop = newLoop();
    const bytes = new Uint8Array(5);
    expect(native.passDatagram(channel, passed, bytes)).toBe(-EAGAIN);
    loop.peekDescriptors[0] = passed;
    loop.peek(1);
    expect(loop.peekLengths[0]).toBe(5);
    const EPOLLOUT_ET = 0x80000004;
    loop.add(channel, EPOLLOUT_ET, 7, 9);
    expect(loop.wait(0, 0)).toBe(0);
    // Another socket of this process takes the place before this one does.
    newLoop().receive(fd);
    expect(loop.wait(1000, 0)).toBe(1);
    expect(native.passDatagram(channel, passed, bytes)).toBe(0);
    loop.remove(channel);
  });

  it("keeps what it has read when the receiver is gone, and has read nothing of a connection that was reset", async () => {
    const { path, fd } = await receiver();
    const channel = own(native.connectUnix(path, "dgram", {}));
    const listener = new TcpListener();
    const { client, descriptor } = await listener.pair();
    own(descriptor);
    listener.close();
    client.resetAndDestroy();
    await until("the reset", () => native.intact(descriptor, 0) === 2);
    expect(native.passDatagram(channel, descriptor, new Uint8Array(5))).toBeLessThan(0);
    const passed = await connection("hello");
    closeOwned(fd);
    const bytes = new Uint8Array(5);
    expect(native.passDatagram(channel, passed, bytes)).toBe(ECONNREFUSED);
    expect(Buffer.from(bytes).toString()).toBe("hello");
  });
});

describe("watchMessages", () => {
  it.each([[8], [24], [65_552], [-16]])("refuses a stride of %i", async (stride) => {
    const { fd } = await receiver();
    expect(() =>
      native.watchMessages(
        fd,
        () => 0,
        () => {},
        stride,
      ),
    ).toThrow(/stride/);
  });
});

describe("reconnectUnix", () => {
  it("finds who is bound to the path now", async () => {
    const { path, fd } = await receiver();
    const channel = own(native.connectUnix(path, "dgram", {}));
    expect(native.reconnectUnix(channel, path)).toBe(0);
    closeOwned(fd);
    expect(native.reconnectUnix(channel, path)).toBe(ECONNREFUSED);
    rmSync(path);
    expect(native.reconnectUnix(channel, path)).toBe(ENOENT);
    const next = own(native.listenUnix(path, "dgram", { backlog: 1 }));
    expect(native.reconnectUnix(channel, path)).toBe(0);
    expect(native.sendMessage(channel, Buffer.from("over"))).toBe(0);
    expect(newLoop().receive(next)).toBe(1);
  });
});
