import { describe, expect, it } from "vitest";
import {
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLRDHUP,
  type Loop,
  native,
} from "../../src/native/addon.js";
import { until } from "../support/wait.js";
import {
  arrived,
  client,
  closeOwned,
  countDescriptors,
  descriptorCount,
  disown,
  file,
  isOpen,
  listener,
  newLoop,
  own,
  pair,
  sizes,
  tcpPair,
  thrown,
} from "./resources.js";

countDescriptors();

const EAGAIN = 11;
const EBADF = 9;
const EPIPE = 32;
const ECANCELED = 125;

function events(loop: Loop, count: number): number[][] {
  return Array.from({ length: count }, (_, i) => [...loop.events.subarray(3 * i, 3 * i + 3)]);
}

describe("createLoop", () => {
  it("makes arrays of the sizes asked for, over memory of their own", () => {
    const loop = newLoop({ events: 3, peeks: 5, peekBytes: 7, sends: 11, sendBytes: 13, closes: 17 });
    expect(loop.events).toEqual(new Uint32Array(9));
    expect(loop.flags).toEqual(Int32Array.of(0, 0, 7));
    expect(loop.peekDescriptors).toEqual(new Int32Array(5));
    expect(loop.peekLengths).toEqual(new Int32Array(5));
    expect(loop.peekBuffer).toEqual(new Uint8Array(35));
    expect(loop.peekAddresses).toEqual(new Uint8Array(100));
    for (const array of [loop.sendChannels, loop.sendDescriptors, loop.sendResults]) {
      expect(array).toEqual(new Int32Array(11));
    }
    expect(loop.sendOffsets).toEqual(new Uint32Array(11));
    expect(loop.sendLengths).toEqual(new Uint32Array(11));
    expect(loop.sendBuffer).toEqual(new Uint8Array(13));
    expect(loop.closeDescriptors).toEqual(new Int32Array(17));
    expect(loop.received).toMatchObject({ capacity: 32, stride: 1024 });
    expect(loop.received.buffer).toEqual(new Uint8Array(32 * 1024));
    expect(loop.received.credentials).toEqual(new Int32Array(96));
    expect(loop.received.end).toEqual(new Int32Array(3));
    // No array touches another.
    const all = [...Object.values(loop), ...Object.values(loop.received)].filter(ArrayBuffer.isView) as Uint8Array[];
    const places = all
      .map((array) => [array.byteOffset, array.byteOffset + array.byteLength])
      .sort((a, b) => a[0]! - b[0]!);
    for (let i = 1; i < places.length; i++) expect(places[i]![0]).toBeGreaterThanOrEqual(places[i - 1]![1]!);
  });

  it("keeps the clock", () => {
    // Milliseconds since boot and since 1970; what is read is whole ones, or those of another clock of the kernel's.
    const now = () => [Number(process.hrtime.bigint()) / 1e6, Date.now()] as const;
    let before = now();
    const loop = newLoop();
    const check = () => {
      const after = now();
      for (const i of [0, 1] as const) {
        expect(loop.clock[i]).toBeGreaterThan(before[i] - 10);
        expect(loop.clock[i]).toBeLessThan(after[i] + 10);
      }
      const nanoseconds = (BigInt(loop.clockWords[1]!) << 32n) | BigInt(loop.clockWords[0]!);
      expect(Math.abs(Number(nanoseconds / 1000n) / 1000 - loop.clock[1]!)).toBeLessThan(0.01);
    };
    check();
    const monotonic = loop.clock[0]!;
    before = now();
    loop.wait(5, 0);
    check();
    expect(loop.clock[0]! - monotonic).toBeGreaterThanOrEqual(5);
  });

  it("tells how long it waited, and counts no look without a timeout", () => {
    const loop = newLoop();
    expect(loop.clock[2]).toBe(0);
    loop.wait(0, 0);
    expect(loop.clock[2]).toBe(0);
    loop.wait(20, 0);
    loop.wait(20, 0);
    expect(loop.clock[2]).toBeGreaterThanOrEqual(40);
    const waited = loop.clock[2];
    const until = performance.now() + 20;
    while (performance.now() < until);
    loop.wait(0, 0);
    expect(loop.clock[2]).toBe(waited);
  });

  it("cannot be given away to another thread, which would leave the addon without its memory", () => {
    const loop = newLoop();
    const { buffer } = loop.events;
    try {
      structuredClone(buffer, { transfer: [buffer as ArrayBuffer] }); // Node 20 makes a copy
    } catch {
      // later ones throw
    }
    expect(loop.events).toHaveLength(3 * sizes.events);
    loop.wait(0, 0);
  });

  it.each([
    ["events", 0],
    ["peeks", -1],
    ["peekBytes", 1 << 21],
    ["sends", 1.5],
    ["sendBytes", Number.POSITIVE_INFINITY],
    ["closes", undefined],
  ])("refuses %s of %d", (name, value) => {
    const { name: error, message } = thrown(() => native.createLoop({ ...sizes, [name]: value }));
    expect(error).toBe("RangeError");
    expect(message).toMatch(new RegExp(`^${name} must be `));
  });

  it("refuses sizes beyond 2 GiB together", () => {
    expect(thrown(() => newLoop({ peeks: 65536, peekBytes: 1 << 20 })).code).toBe("ENOMEM");
  });

  it("has functions that may be called without it", () => {
    const { wait, accept } = newLoop();
    expect(wait(0, 0)).toBe(0);
    expect(() => accept(-1, 1)).toThrow(RangeError);
  });
});

describe("add, modify, remove and wait", () => {
  it("give events with tag and index", () => {
    const loop = newLoop();
    const [a, b] = pair();
    loop.add(a, EPOLLIN, 0xfffffffd, 0xffffffff);
    loop.add(b, EPOLLIN | EPOLLOUT, 5, 6);
    expect(loop.wait(0, 0)).toBe(1);
    expect(events(loop, 1)).toEqual([[EPOLLOUT, 5, 6]]);
    native.sendMessage(b, Buffer.from("x"));
    expect(loop.wait(-1, 0)).toBe(2);
    expect(events(loop, 2)).toEqual(
      expect.arrayContaining([
        [EPOLLIN, 0xfffffffd, 0xffffffff],
        [EPOLLOUT, 5, 6],
      ]),
    );
    loop.modify(b, EPOLLIN, 7, 8);
    loop.remove(a);
    expect(loop.wait(0, 0)).toBe(0);
    native.sendMessage(a, Buffer.from("x"));
    expect(loop.wait(0, 0)).toBe(1);
    expect(events(loop, 1)).toEqual([[EPOLLIN, 7, 8]]);
    loop.remove(a);
  });

  it("pass all event bits", async () => {
    const loop = newLoop();
    const { client, fd } = await tcpPair();
    loop.add(fd, (EPOLLIN | EPOLLRDHUP | EPOLLET) >>> 0, 1, 2);
    client.write("x");
    await until("the byte", () => loop.wait(0, 0) === 1);
    expect(events(loop, 1)).toEqual([[EPOLLIN, 1, 2]]);
    expect(loop.wait(0, 0)).toBe(0); // edge-triggered
    client.end();
    await until("the end", () => loop.wait(0, 0) === 1);
    expect(events(loop, 1)).toEqual([[EPOLLIN | EPOLLRDHUP, 1, 2]]);
    client.resetAndDestroy();
    await until("the hang-up", () => loop.wait(0, 0) === 1 && (loop.events[0]! & EPOLLHUP) !== 0);
    expect(events(loop, 1)).toEqual([[EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP, 1, 2]]);
    const [a] = pair();
    loop.add(a, (EPOLLOUT | EPOLLONESHOT) >>> 0, 3, 4);
    expect(loop.wait(0, 0)).toBe(1);
    expect(loop.wait(0, 0)).toBe(0);
    const { fd: listening } = listener();
    loop.add(listening, (EPOLLIN | EPOLLEXCLUSIVE) >>> 0, 5, 6);
    expect(thrown(() => loop.modify(listening, EPOLLIN, 5, 6)).code).toBe("EINVAL");
  });

  it("throw what the kernel says", () => {
    const loop = newLoop();
    const [a] = pair();
    loop.add(a, EPOLLIN, 0, 0);
    expect(thrown(() => loop.add(a, EPOLLIN, 0, 0))).toMatchObject({ syscall: "epoll_ctl", code: "EEXIST" });
    loop.remove(a);
    loop.remove(a);
    expect(thrown(() => loop.modify(a, EPOLLIN, 0, 0)).code).toBe("ENOENT");
    expect(thrown(() => loop.add(1 << 20, EPOLLIN, 0, 0)).code).toBe("EBADF");
    expect(thrown(() => loop.remove(1 << 20)).code).toBe("EBADF");
    expect(thrown(() => loop.add(a, EPOLLIN, 0xffffffff, 0)).message).toMatch(/^tag must be /);
    expect(thrown(() => loop.add(a, -1, 0, 0)).message).toMatch(/^events must be /);
    expect(thrown(() => loop.wait(Number.NaN, 0)).message).toBe("timeout must be a number, not NaN");
  });

  it("pause for as long as asked, whatever happens meanwhile, and count it as waiting", () => {
    const loop = newLoop();
    const [a, b] = pair();
    loop.add(a, EPOLLIN, 1, 2);
    native.sendMessage(b, Buffer.from("x"));
    for (const milliseconds of [0, 0.05, 0.5, 1]) {
      const waited = loop.clock[2]!;
      const before = process.hrtime.bigint();
      loop.pause(milliseconds);
      const took = Number(process.hrtime.bigint() - before) / 1e6;
      expect(took).toBeGreaterThanOrEqual(milliseconds - 0.001);
      expect(loop.clock[2]! - waited).toBeGreaterThanOrEqual(milliseconds - 0.001);
      expect(loop.clock[2]! - waited).toBeLessThanOrEqual(took);
    }
    expect(loop.wait(0, 0)).toBe(1);
    for (const milliseconds of [-0.1, 1.1]) {
      expect(thrown(() => loop.pause(milliseconds)).message).toMatch(/^milliseconds must be 0 to 1/);
    }
    expect(thrown(() => loop.pause(Number.NaN)).message).toBe("milliseconds must be a number, not NaN");
  });

  it("wait for fractions of a millisecond, and never less than asked", () => {
    const loop = newLoop();
    for (const timeout of [0.05, 0.5, 1.25, 3, 999.9999999999999 / 400]) {
      const before = process.hrtime.bigint();
      expect(loop.wait(timeout, 0)).toBe(0);
      expect(Number(process.hrtime.bigint() - before) / 1e6).toBeGreaterThanOrEqual(timeout - 0.001);
    }
    // Rounded up to whole milliseconds, each of them would take one at least.
    const durations = Array.from({ length: 100 }, () => {
      const before = process.hrtime.bigint();
      loop.wait(0.05, 0);
      return Number(process.hrtime.bigint() - before) / 1e6;
    });
    expect(Math.min(...durations)).toBeLessThan(1);
  });

  it("return at most as many events as there is room for, and the others next time", () => {
    const loop = newLoop({ events: 2 });
    for (let i = 0; i < 5; i++) loop.add(pair()[0], EPOLLOUT, i, 0);
    const seen = new Set<number>();
    for (let i = 0; i < 5; i++) {
      expect(loop.wait(0, 0)).toBe(2);
      for (const [, tag] of events(loop, 2)) seen.add(tag!);
    }
    expect([...seen].sort()).toEqual([0, 1, 2, 3, 4]);
  });
});

describe("accept", () => {
  it("takes connections with their addresses and first bytes, which stay unread", async () => {
    const { fd, port } = listener();
    const loop = newLoop();
    const clients = ["first", "", "third"].map((text) => {
      const socket = client(port);
      if (text !== "") socket.write(text);
      return socket;
    });
    await until("the connections", () => clients.every((socket) => !socket.connecting && socket.writableLength === 0));
    expect(loop.accept(fd, 2)).toBe(2);
    expect(loop.flags[1]).toBe(0);
    const accepted = [...loop.peekDescriptors.subarray(0, 2)];
    const lengths = [...loop.peekLengths.subarray(0, 2)];
    const address = [...loop.peekAddresses.subarray(20, 40)];
    expect(loop.accept(fd, 8)).toBe(1);
    expect(loop.flags[1]).toBe(EAGAIN);
    accepted.push(loop.peekDescriptors[0]!);
    for (const descriptor of accepted) own(descriptor);
    expect(address).toEqual([
      4,
      0,
      clients[1]!.localPort! >> 8,
      clients[1]!.localPort! & 255,
      127,
      0,
      0,
      1,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
      0,
    ]);
    await arrived(accepted[0]!, 5);
    await arrived(accepted[2]!, 5);
    expect([5, -EAGAIN]).toContain(lengths[0]);
    expect(lengths[1]).toBe(-EAGAIN);
    // Peeked once more, and with room for less.
    const small = newLoop({ peekBytes: 3 });
    small.peekDescriptors.set(accepted);
    small.peek(3);
    expect([...small.peekLengths.subarray(0, 3)]).toEqual([3, -EAGAIN, 3]);
    expect(Buffer.from(small.peekBuffer.subarray(0, 9)).toString()).toBe("fir\0\0\0thi");
    // Fewer than there is room for; never more.
    const few = newLoop();
    few.peekDescriptors.set(accepted);
    for (const [most, peeked] of [
      [2, 2],
      [0, 1],
      [-1, 1],
      [1 << 30, 5],
    ] as const) {
      few.flags[2] = most;
      few.peek(3);
      expect(few.peekLengths[0]).toBe(peeked);
    }
    clients[1]!.end();
    await until("an end", () => {
      small.peek(3);
      return small.peekLengths[1] === 0;
    });
  });

  it("gives IPv6 addresses, and IPv4 ones of an IPv6 listener as IPv4", async () => {
    const fd = own(native.listenTcp({ address: "::", port: 0, backlog: 16, v6Only: false }));
    const { port } = native.localAddress(fd);
    const loop = newLoop();
    const expected: [host: string, bytes: number[]][] = [
      ["::1", [6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]],
      ["127.0.0.1", [4, 0, 127, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]],
    ];
    for (const [host, bytes] of expected) {
      const socket = client(port, host);
      await until("a connection", () => loop.accept(fd, 1) === 1);
      own(loop.peekDescriptors[0]!);
      await until("the client's port", () => socket.localPort !== undefined);
      const address = [...loop.peekAddresses.subarray(0, 20)];
      expect(address.splice(2, 2)).toEqual([socket.localPort! >> 8, socket.localPort! & 255]);
      expect(address).toEqual(bytes);
    }
  });

  it("makes blocking, close-on-exec sockets", async () => {
    const { readFileSync } = await import("node:fs");
    const { fd } = await tcpPair();
    expect(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8")).toMatch(/flags:\s+02000002\n/); // O_RDWR | O_CLOEXEC
  });

  it("tells the errno that ended it", () => {
    const loop = newLoop();
    expect([loop.accept(1 << 20, 8), loop.flags[1]]).toEqual([0, EBADF]);
    expect([loop.accept(pair("dgram")[0], 8), loop.flags[1]]).toEqual([0, 95]); // EOPNOTSUPP
    expect(thrown(() => loop.accept(0, sizes.peeks + 1)).message).toMatch(/^max must be /);
    expect(thrown(() => loop.peek(sizes.peeks + 1)).message).toMatch(/^count must be /);
  });

  it("peeks what numbers JavaScript left there, and finds no harm in them", () => {
    const loop = newLoop();
    loop.peekDescriptors.set([-1, -2147483648, 2147483647, file()]);
    loop.peek(4);
    expect([...loop.peekLengths.subarray(0, 3)]).toEqual([-EBADF, -EBADF, -EBADF]);
    expect(loop.peekLengths[3]).toBe(-88); // ENOTSOCK
  });
});

/** Message i goes to `channel` with `descriptor`; its text is one letter. */
function fill(loop: Loop, plan: readonly (readonly [channel: number, descriptor: number])[]): void {
  plan.forEach(([channel, descriptor], i) => {
    loop.sendBuffer[i] = 97 + i;
    loop.sendChannels[i] = channel;
    loop.sendDescriptors[i] = descriptor;
    loop.sendOffsets[i] = i;
    loop.sendLengths[i] = 1;
  });
}

function texts(loop: Loop, count: number): string {
  return Array.from({ length: count }, (_, i) => String.fromCharCode(loop.received.buffer[i * 1024]!)).join("");
}

describe("send", () => {
  it("sends runs of messages to several channels, with and without descriptors", async () => {
    const loop = newLoop();
    const { fd } = await tcpPair();
    const [a1, a2] = pair();
    const [b1, b2] = pair();
    fill(loop, [
      [a1, fd],
      [a1, -1],
      [b1, fd],
      [a1, fd],
      [b1, -1],
    ]);
    loop.send(5);
    expect([...loop.sendResults.subarray(0, 5)]).toEqual([0, 0, 0, 0, 0]);
    expect(isOpen(fd)).toBe(true);
    expect(loop.receive(a2)).toBe(3);
    expect(texts(loop, 3)).toBe("abd");
    expect([...loop.received.arrivals.subarray(0, 3)]).toEqual([5, 0, 5]); // OTHER: the door takes none
    expect(loop.receive(b2)).toBe(2);
    expect(texts(loop, 2)).toBe("ce");
    // The descriptor that a slot had in the call before is not sent again.
    fill(loop, [
      [a1, -1],
      [a1, -1],
    ]);
    loop.send(2);
    expect(loop.receive(a2)).toBe(2);
    expect([...loop.received.arrivals.subarray(0, 2)]).toEqual([0, 0]);
  });

  it("fails a run from its first failure on, and no other", () => {
    const loop = newLoop();
    const [a1, a2] = pair();
    const [b1, b2] = pair();
    const [c1, c2] = pair();
    closeOwned(b2);
    fill(loop, [
      [a1, -1],
      [a1, 1 << 20],
      [a1, -1],
      [b1, -1],
      [b1, -1],
      [c1, -1],
      [-1, -1],
      [c1, -7],
    ]);
    loop.send(8);
    expect([...loop.sendResults]).toEqual([0, EBADF, ECANCELED, EPIPE, ECANCELED, 0, EBADF, EBADF]);
    expect(loop.receive(a2)).toBe(1);
    expect(loop.receive(c2)).toBe(1);
    expect(texts(loop, 1)).toBe("f");
  });

  it("stops at EAGAIN when the queue is full", () => {
    const loop = newLoop();
    const [a] = pair();
    let sent = 0;
    for (;;) {
      fill(loop, Array(8).fill([a, -1]));
      loop.send(8);
      const results = [...loop.sendResults];
      const failed = results.findIndex((result) => result !== 0);
      if (failed === -1) {
        sent += 8;
        continue;
      }
      expect(results.slice(failed)).toEqual([EAGAIN, ...Array(7 - failed).fill(ECANCELED)]);
      break;
    }
    expect(sent).toBeGreaterThan(100);
  });

  it("sends nothing that lies outside of the buffer", () => {
    const loop = newLoop();
    const [a1, a2] = pair();
    const bad: [offset: number, length: number][] = [
      [sizes.sendBytes, 1],
      [0, sizes.sendBytes + 1],
      [0xffffffff, 2],
      [1, 0xffffffff],
    ];
    for (const [offset, length] of bad) {
      fill(loop, [
        [a1, -1],
        [a1, -1],
      ]);
      loop.sendOffsets[1] = offset;
      loop.sendLengths[1] = length;
      expect(thrown(() => loop.send(2))).toMatchObject({
        name: "RangeError",
        message: "sendOffsets[i] + sendLengths[i] must be within sendBuffer",
      });
    }
    expect(loop.receive(a2)).toBe(0);
    expect(thrown(() => loop.send(9)).message).toMatch(/^count must be /);
  });
});

describe("lazy descriptors", () => {
  it("end a wait without patience, as others do", () => {
    const loop = newLoop();
    const [a, b] = pair();
    loop.addLazy(a, EPOLLIN, 7, 8);
    expect(loop.wait(0, 0)).toBe(0);
    native.sendMessage(b, Buffer.from("x"));
    expect(loop.wait(-1, 0)).toBe(1);
    expect(events(loop, 1)).toEqual([[EPOLLIN, 7, 8]]);
    expect(loop.wait(-1, 0)).toBe(1); // level-triggered
  });

  it("come with what ends a wait, or when the patience is over", () => {
    const loop = newLoop();
    const [a, b] = pair();
    const [c, d] = pair();
    loop.addLazy(a, EPOLLIN, 7, 8);
    loop.add(c, EPOLLIN, 5, 6);
    native.sendMessage(b, Buffer.from("x"));
    expect(loop.wait(-1, 0)).toBe(1);
    native.sendMessage(d, Buffer.from("x"));
    expect(loop.wait(-1, 1e6)).toBe(2);
    expect(events(loop, 2)).toEqual([
      [EPOLLIN, 5, 6],
      [EPOLLIN, 7, 8],
    ]);
    loop.remove(c);
    expect(loop.wait(-1, 1)).toBe(1);
    expect(events(loop, 1)).toEqual([[EPOLLIN, 7, 8]]);
    loop.receive(a);
    expect(loop.wait(-1, 1)).toBe(0);
  });

  it("come although others fill every wait", () => {
    const loop = newLoop({ events: 2 });
    const [a, b] = pair();
    loop.addLazy(a, EPOLLIN, 7, 8);
    native.sendMessage(b, Buffer.from("x"));
    expect(loop.wait(-1, 0)).toBe(1);
    for (let i = 0; i < 3; i++) {
      const [c, d] = pair();
      loop.add(c, EPOLLIN, 5, i);
      native.sendMessage(d, Buffer.from("x"));
    }
    const tags = Array.from({ length: 8 }, () => events(loop, loop.wait(-1, 1e6)).map(([, tag]) => tag)).flat();
    expect(tags).toHaveLength(16);
    expect(tags).toContain(7);
  });

  it("are watched no more after removeLazy", () => {
    const loop = newLoop();
    const [a, b] = pair();
    loop.addLazy(a, EPOLLIN, 7, 8);
    loop.removeLazy(a);
    loop.removeLazy(a);
    native.sendMessage(b, Buffer.from("x"));
    expect(loop.wait(0, 0)).toBe(0);
    expect(thrown(() => loop.wait(0, Number.NaN)).message).toBe("patience must be a number, not NaN");
  });
});

describe("close", () => {
  it("closes the first ones, and passes over what is not open", () => {
    const loop = newLoop();
    const [a, b] = pair();
    const [c] = pair();
    loop.closeDescriptors.set([a, -1, 1 << 20, b, c]);
    expect(loop.close(4)).toBe(0);
    expect([isOpen(disown(a)), isOpen(disown(b)), isOpen(c)]).toEqual([false, false, true]);
    expect(thrown(() => loop.close(sizes.closes + 1)).message).toMatch(/^count must be /);
  });
});

describe("destroy", () => {
  it("frees the epoll sets; what is called after it fails without harm", () => {
    const before = descriptorCount();
    const loop = native.createLoop(sizes);
    expect(descriptorCount()).toBe(before + 2);
    loop.destroy();
    loop.destroy();
    expect(descriptorCount()).toBe(before);
    expect(thrown(() => loop.wait(0, 0)).code).toBe("EBADF");
    expect(thrown(() => loop.add(0, EPOLLIN, 0, 0)).code).toBe("EBADF");
    expect(thrown(() => loop.run(() => {})).code).toBe("EBADF");
    expect(loop.events).toHaveLength(24);
  });
});
