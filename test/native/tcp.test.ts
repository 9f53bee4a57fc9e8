import { constants } from "node:os";
import { describe, expect, it } from "vitest";
import { Intact, native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { until } from "../support/wait.js";
import { sockets } from "./python.js";
import {
  arrived,
  client,
  closeOwned,
  countDescriptors,
  disown,
  file,
  isOpen,
  listener,
  newLoop,
  own,
  tcpPair,
  thrown,
} from "./resources.js";

const addon = new URL("../../dist/native/addon.js", import.meta.url).href;

countDescriptors();

describe("listenTcp", () => {
  it("listens on a port of the kernel's choice and sets the options given", () => {
    const fd = own(
      native.listenTcp({
        address: "::",
        port: 0,
        backlog: 16,
        v6Only: true,
        freebind: true,
        deferAccept: 1,
        keepAlive: true,
      }),
    );
    expect(native.localAddress(fd)).toEqual({ family: "IPv6", address: "::", port: expect.any(Number) });
    expect(native.localAddress(fd).port).toBeGreaterThan(0);
    expect(sockets("options", [], [fd])).toEqual(
      expect.arrayContaining([
        "SO_REUSEADDR=1",
        "SO_KEEPALIVE=1",
        "TCP_DEFER_ACCEPT=1",
        "IPV6_V6ONLY=1",
        "IP_FREEBIND=1",
      ]),
    );
  });

  it("leaves the others as they are", () => {
    const { fd } = listener();
    expect(sockets("options", [], [fd])).toEqual(
      expect.arrayContaining(["SO_KEEPALIVE=0", "TCP_DEFER_ACCEPT=0", "IP_FREEBIND=0"]),
    );
    const dual = own(native.listenTcp({ address: "::", port: 0, backlog: 16, v6Only: false }));
    expect(sockets("options", [], [dual])).toContain("IPV6_V6ONLY=0");
  });

  it("binds an address that the host doesn't have only with freebind", () => {
    const options = { address: "192.0.2.1", port: 0, backlog: 1 };
    expect(thrown(() => native.listenTcp(options))).toMatchObject({
      syscall: "bind",
      code: "EADDRNOTAVAIL",
      subject: "192.0.2.1:0",
    });
    expect(native.localAddress(own(native.listenTcp({ ...options, freebind: true }))).address).toBe("192.0.2.1");
  });

  it("names the address that is taken", () => {
    const { port } = listener();
    expect(thrown(() => native.listenTcp({ address: "127.0.0.1", port, backlog: 1 }))).toMatchObject({
      name: "SystemCallError",
      code: "EADDRINUSE",
      subject: `127.0.0.1:${port}`,
    });
  });

  it.each(["", "localhost", "127.0.0", "1.2.3.4.5", "[::1]", "::1%", ":::", "fe80::1%nosuchzone0"])(
    "refuses %j, which is no numeric address",
    (address) => {
      const { code, subject } = thrown(() => native.listenTcp({ address, port: 1, backlog: 1 }));
      expect(code).toBe(address.includes("%") ? "ENODEV" : "EINVAL");
      expect(subject).toBe(address.includes(":") ? `[${address}]:1` : `${address}:1`);
    },
  );

  it("keeps the zone of a link-local address", async () => {
    // In a network namespace of its own, since not every machine has such an address (unshare(1), ip-address(8)).
    const program = `
      const { native } = await import(${JSON.stringify(addon)});
      const fd = native.listenTcp({ address: "fe80::1%lo", port: 0, backlog: 1 });
      console.log(JSON.stringify(native.localAddress(fd)));`;
    const script =
      'ip link set lo up && ip -6 addr add fe80::1/64 dev lo nodad && exec "$0" --input-type=module -e "$1"';
    const child = new Child("unshare", ["-r", "-n", "sh", "-c", script, process.execPath, program]);
    const { status } = await child.ended;
    expect({ status, stderr: child.stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(child.lines[0]!)).toMatchObject({ family: "IPv6", address: "fe80::1%lo" });
  });
});

describe("dial", () => {
  it.each(["127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "::ffff:0.0.0.0"])(
    "is refused where it would be connected to itself: %s",
    async (address) => {
      // In a network namespace where the kernel has no other port to choose: ip(7), ip_local_port_range.
      const program = `
      const { native } = await import(${JSON.stringify(addon)});
      const results = Array.from({ length: 3 }, () => native.dial(native.socketAddress("${address}", 40000), false));
      const fd = native.listenTcp({ address: "${address}", port: 40000, backlog: 1 });
      console.log(JSON.stringify([...results, native.localAddress(fd).port]));`;
      const script =
        'ip link set lo up && echo "40000 40000" >/proc/sys/net/ipv4/ip_local_port_range && exec "$0" --input-type=module -e "$1"';
      const child = new Child("unshare", ["-r", "-n", "sh", "-c", script, process.execPath, program]);
      const { status } = await child.ended;
      expect({ status, stderr: child.stderr }).toEqual({ status: 0, stderr: "" });
      const refused = -constants.errno.ECONNREFUSED;
      expect(JSON.parse(child.lines[0]!)).toEqual([refused, refused, refused, 40_000]);
    },
  );
});

describe("addresses", () => {
  it("of both ends of a connection", async () => {
    const { client, fd } = await tcpPair();
    await until("the connection", () => !client.connecting);
    expect(native.peerAddress(fd)).toEqual({ family: "IPv4", address: "127.0.0.1", port: client.localPort });
    expect(native.localAddress(fd)).toEqual({ family: "IPv4", address: "127.0.0.1", port: client.remotePort });
  });

  it("of IPv6, and of an IPv4 client of an IPv6 listener", async () => {
    const fd = own(native.listenTcp({ address: "::", port: 0, backlog: 16, v6Only: false }));
    const { port } = native.localAddress(fd);
    const loop = newLoop();
    for (const [host, family] of [
      ["::1", "IPv6"],
      ["127.0.0.1", "IPv4"],
    ] as const) {
      client(port, host);
      await until("a connection", () => loop.accept(fd, 1) === 1);
      const accepted = own(loop.peekDescriptors[0]!);
      expect(native.peerAddress(accepted)).toMatchObject({ family, address: host });
    }
  });

  it("of something else is an error", () => {
    const [a, b] = native.socketPair("dgram");
    own(a);
    own(b);
    expect(thrown(() => native.localAddress(a)).code).toBe("EAFNOSUPPORT");
    expect(thrown(() => native.peerAddress(listener().fd)).code).toBe("ENOTCONN");
    expect(thrown(() => native.peerAddress(file())).code).toBe("ENOTSOCK");
  });
});

describe("setReceiveLowWater", () => {
  it("sets SO_RCVLOWAT, so that epoll waits for so many bytes", async () => {
    const { client, fd } = await tcpPair();
    const loop = newLoop();
    native.setReceiveLowWater(fd, 10);
    expect(sockets("options", [], [fd])).toContain("SO_RCVLOWAT=10");
    loop.add(fd, 1, 0, 0);
    client.write("12345");
    await arrived(fd, 5);
    expect(loop.wait(0, 0)).toBe(0);
    client.write("67890");
    await arrived(fd, 10);
    expect(loop.wait(1000, 0)).toBe(1);
    native.setReceiveLowWater(fd, 1);
    expect(sockets("options", [], [fd])).toContain("SO_RCVLOWAT=1");
  });
});

describe("intact", () => {
  it("holds while nothing was read or written, whatever has arrived", async () => {
    const { client, fd } = await tcpPair();
    expect(native.intact(fd, 0)).toBe(Intact.WHOLE);
    client.write("hello");
    await arrived(fd, 5);
    expect(native.intact(fd, 0)).toBe(Intact.WHOLE);
  });

  it("holds when the client has closed its side, with and without bytes before", async () => {
    for (const bytes of [0, 5]) {
      const { client, fd } = await tcpPair();
      if (bytes > 0) client.write("x".repeat(bytes));
      client.end();
      const loop = newLoop();
      loop.add(fd, 0x2000, 0, 0); // EPOLLRDHUP
      await until("the client's end", () => loop.wait(0, 0) === 1);
      expect(native.intact(fd, 0)).toBe(Intact.WHOLE);
    }
  });

  it("does not hold once a byte was read, unless the door read it itself", async () => {
    const { client, fd } = await tcpPair();
    client.write("hello");
    await arrived(fd, 5);
    sockets("read", [], [fd]);
    expect(native.intact(fd, 0)).toBe(Intact.TOUCHED);
    expect(native.intact(fd, 1)).toBe(Intact.WHOLE);
    expect(native.intact(fd, 2)).toBe(Intact.TOUCHED);
  });

  it("does not hold once something was written, or writing was shut down", async () => {
    for (const act of ["write", "shut-write"]) {
      const { fd } = await tcpPair();
      sockets(act, [], [fd]);
      expect(native.intact(fd, 0)).toBe(Intact.TOUCHED);
    }
  });

  it("tells a connection that is gone", async () => {
    const { client, fd } = await tcpPair();
    client.resetAndDestroy();
    await until("the reset", () => native.intact(fd, 0) === Intact.GONE);
  });

  it("holds all the time while data arrive", async () => {
    const { client, fd } = await tcpPair();
    const loop = newLoop({ peeks: 1, peekBytes: 1 << 20 });
    client.write(Buffer.alloc(1 << 19));
    await until("much data", () => {
      expect(native.intact(fd, 0)).toBe(Intact.WHOLE);
      loop.peekDescriptors[0] = fd;
      loop.peek(1);
      return loop.peekLengths[0]! > 1 << 16;
    });
  });

  it("of a listening or other socket is an error", () => {
    expect(thrown(() => native.intact(listener().fd, 0)).code).toBe("EINVAL");
    const [a] = native.socketPair("seqpacket").map(own);
    expect(thrown(() => native.intact(a!, 0)).code).toBe("EOPNOTSUPP");
  });
});

describe("discard", () => {
  it("forgets what is there, up to the limit", async () => {
    const { client, fd } = await tcpPair();
    client.write("0123456789");
    await arrived(fd, 10);
    expect(native.discard(fd, 4)).toBe(false);
    const loop = newLoop();
    loop.peekDescriptors[0] = fd;
    loop.peek(1);
    expect(Buffer.from(loop.peekBuffer.subarray(0, loop.peekLengths[0])).toString()).toBe("456789");
    expect(native.discard(fd, 100)).toBe(false);
    loop.peek(1);
    expect(loop.peekLengths[0]).toBe(-11); // EAGAIN
    client.end();
    await until("the end", () => native.discard(fd, 100));
  });

  it("takes a dead connection for closed", async () => {
    const { client, fd } = await tcpPair();
    client.resetAndDestroy();
    await until("the reset", () => native.discard(fd, 100));
  });

  it("of no socket is an error", () => {
    expect(thrown(() => native.discard(file(), 1)).code).toBe("ENOTSOCK");
  });
});

describe("farewell", () => {
  it("reads what the client sent, so that it gets the bytes and then an end, not a reset", async () => {
    const { client, fd } = await tcpPair();
    client.write("x".repeat(1000));
    await arrived(fd, 1000);
    const received: Buffer[] = [];
    let end = false;
    client.on("data", (data) => received.push(data)).on("end", () => (end = true));
    expect(native.farewell(fd, Buffer.from("alert"), 65536)).toBe(false);
    closeOwned(fd);
    await until("the client's end", () => end);
    expect(Buffer.concat(received).toString()).toBe("alert");
    expect(client.errored).toBeNull();
  });

  it("tells that the client has closed its side", async () => {
    const { client, fd } = await tcpPair();
    client.end("bye");
    await arrived(fd, 3);
    const loop = newLoop();
    loop.add(fd, 0x2000, 0, 0);
    await until("the client's end", () => loop.wait(0, 0) === 1);
    expect(native.farewell(fd, new Uint8Array(0), 65536)).toBe(true);
  });

  it("takes a dead connection for closed, and no socket for an error", async () => {
    const { client, fd } = await tcpPair();
    client.resetAndDestroy();
    await until("the reset", () => native.intact(fd, 0) === Intact.GONE);
    expect(native.farewell(fd, Buffer.from("alert"), 65536)).toBe(true);
    expect(thrown(() => native.farewell(1 << 20, Buffer.from("alert"), 1)).code).toBe("EBADF");
  });
});

describe("resetOnClose", () => {
  it("makes the close a reset", async () => {
    const { client, fd } = await tcpPair();
    await until("the connection", () => !client.connecting);
    native.resetOnClose(fd);
    expect(sockets("options", [], [fd])).toContain("SO_LINGER=[1, 0]");
    const failed = new Promise<Error>((resolve) => client.once("error", resolve));
    client.resume();
    closeOwned(fd);
    expect((await failed) as NodeJS.ErrnoException).toMatchObject({ code: "ECONNRESET" });
  });
});

describe("a socket whose close lingers", () => {
  it("is closed by a thread: the caller goes on, and the client gets every byte", async () => {
    const { client, fd } = await tcpPair();
    client.pause();
    sockets("fill-and-linger", [600, 1], [fd]);
    const loop = newLoop();
    loop.closeDescriptors[0] = fd;
    // A close that lingered here would wait for ten minutes: the client is read by this very thread.
    expect(loop.close(1)).toBe(1);
    disown(fd);
    let received = 0;
    let end = false;
    client.on("data", (data) => (received += data.length)).on("end", () => (end = true));
    client.resume();
    await until("the client's end", () => end);
    expect(received).toBeGreaterThan(65536);
    client.end();
    await until("the close", () => !isOpen(fd));
  });

  it("is closed by the thread through close() too", async () => {
    const { client, fd } = await tcpPair();
    client.pause();
    sockets("fill-and-linger", [600, 1], [fd]);
    const before = performance.now();
    closeOwned(fd);
    expect(performance.now() - before).toBeLessThan(60_000);
    client.resetAndDestroy();
    await until("the close", () => !isOpen(fd));
  });

  it("lingers no more when 64 wait already", async () => {
    const count = 70;
    const { fd: listening, port } = listener();
    const loop = newLoop({ peeks: 128 });
    const all = Array.from({ length: count }, () => client(port));
    const accepted: number[] = [];
    await until("all connections", () => {
      const more = loop.accept(listening, count - accepted.length);
      accepted.push(...loop.peekDescriptors.subarray(0, more));
      return accepted.length === count;
    });
    for (const socket of all) socket.pause();
    sockets("fill-and-linger", [600, count], accepted);
    loop.closeDescriptors.set(accepted);
    // One more than 64 if the thread has taken the first already.
    const lingering = loop.close(count);
    expect([64, 65]).toContain(lingering);
    // The thread's own is in close(2), where the number is free already.
    expect(lingering - accepted.filter(isOpen).length).toBeLessThan(2);
    for (const socket of all) socket.resetAndDestroy();
    await until("all closes", () => !accepted.some(isOpen));
  });
});
