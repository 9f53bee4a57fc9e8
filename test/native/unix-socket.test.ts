import { chmodSync, existsSync, lstatSync, mkdirSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { native, type UnixListenOptions, type UnixSocketType } from "../../src/native/addon.js";
import {
  closeOwned,
  countDescriptors,
  file,
  listener,
  newLoop,
  own,
  pair,
  temporaryFolder,
  thrown,
} from "./resources.js";

countDescriptors();

function listen(path: string, type: UnixSocketType = "seqpacket", options: Partial<UnixListenOptions> = {}): number {
  return own(native.listenUnix(path, type, { backlog: 16, ...options }));
}

function connect(path: string, type: UnixSocketType = "seqpacket", options = {}): number {
  return own(native.connectUnix(path, type, options));
}

/** Whether a message goes from one to the other. */
function expectConnected(from: number, to: number): void {
  expect(native.sendMessage(from, Buffer.from("over"))).toBe(0);
  const loop = newLoop();
  expect(loop.receive(to)).toBe(1);
  expect(Buffer.from(loop.received.buffer.subarray(0, loop.received.lengths[0])).toString()).toBe("over");
}

const unique = `sni-handoff-test-${process.pid}-${Math.random().toString(36).slice(2)}`;

describe("listenUnix and connectUnix", () => {
  it("connect through a path", async () => {
    const path = join(await temporaryFolder(), "a.sock");
    const fd = listen(path);
    expect(native.acceptUnix(fd)).toBe(-1);
    const door = connect(path);
    const instance = own(native.acceptUnix(fd));
    expectConnected(door, instance);
    expectConnected(instance, door);
    expect(native.acceptUnix(fd)).toBe(-1);
  });

  it("connect through an abstract name, of up to 107 bytes", () => {
    for (const address of [`@${unique}`, `@${unique.padEnd(107, "x")}`]) {
      const fd = listen(address, "seqpacket", { mode: 0o600 });
      const door = connect(address);
      expectConnected(door, own(native.acceptUnix(fd)));
      expect(native.unixSocket(fd)).toEqual({ path: address, type: "seqpacket", listening: true });
      closeOwned(fd);
    }
    expect(thrown(() => listen(`@${"x".repeat(108)}`))).toMatchObject({ code: "ENAMETOOLONG" });
  });

  it("connect streams", async () => {
    const path = join(await temporaryFolder(), "s.sock");
    const fd = listen(path, "stream");
    expect(native.unixSocket(fd)).toEqual({ path, type: "stream", listening: true });
    expectConnected(connect(path, "stream"), own(native.acceptUnix(fd)));
    expect(thrown(() => connect(path))).toMatchObject({ code: "EPROTOTYPE" });
  });

  it("send datagrams", async () => {
    const path = join(await temporaryFolder(), "d.sock");
    const fd = listen(path, "dgram");
    expectConnected(connect(path, "dgram"), fd);
    expect(native.unixSocket(fd)).toEqual({ path, type: "dgram", listening: false });
  });

  it("reach paths of any length, at the limit of sun_path and beyond", async () => {
    const folder = await temporaryFolder();
    for (const length of [107, 108, 109, 300, 2000]) {
      let path = folder;
      while (length - path.length > 90) path += `/${"d".repeat(Math.min(200, length - path.length - 60))}`;
      mkdirSync(path, { recursive: true });
      path += `/${"s".repeat(length - path.length - 1)}`;
      expect(path).toHaveLength(length);
      const fd = listen(path, "seqpacket", { mode: 0o640 });
      expect(lstatSync(path).mode & 0o7777).toBe(0o640);
      expectConnected(connect(path), own(native.acceptUnix(fd)));
    }
    const path = `${folder}/${"n".repeat(150)}`;
    expect(thrown(() => listen(path))).toMatchObject({ code: "ENAMETOOLONG", subject: path });
    expect(thrown(() => connect(path))).toMatchObject({ code: "ENAMETOOLONG", subject: path });
    expect(thrown(() => listen(`${folder}/${"missing/".repeat(20)}x`)).code).toBe("ENOENT");
  });

  it("give the path its mode, whatever the umask", async () => {
    const folder = await temporaryFolder();
    const before = process.umask(0o077);
    try {
      for (const mode of [0o600, 0o660, 0o666]) {
        const path = join(folder, mode.toString(8));
        listen(path, "seqpacket", { mode });
        expect(lstatSync(path).mode & 0o7777).toBe(mode);
      }
      process.umask(0o022);
      const path = join(folder, "without");
      listen(path);
      expect(lstatSync(path).mode & 0o7777).toBe(0o755);
    } finally {
      process.umask(before);
    }
  });

  it("give the path its owner and group, or leave no path where that takes privileges", async () => {
    const path = join(await temporaryFolder(), "owned");
    if (process.getuid!() !== 0) {
      const give = () => listen(path, "seqpacket", { mode: 0o660, uid: 12345, gid: 54321 });
      expect(thrown(give)).toMatchObject({ code: "EPERM" });
      expect(existsSync(path)).toBe(false);
      return;
    }
    listen(path, "seqpacket", { mode: 0o660, uid: 12345, gid: 54321 });
    expect(lstatSync(path)).toMatchObject({ uid: 12345, gid: 54321 });
    expect(lstatSync(path).mode & 0o7777).toBe(0o660);
    const other = `${path}-group-only`;
    listen(other, "seqpacket", { uid: -1, gid: 54321 });
    expect(lstatSync(other)).toMatchObject({ uid: 0, gid: 54321 });
  });

  it("leave an existing path alone, whatever it is", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "taken");
    const fd = listen(path);
    expect(thrown(() => listen(path))).toMatchObject({ syscall: "bind", code: "EADDRINUSE", subject: path });
    closeOwned(fd);
    expect(existsSync(path)).toBe(true);
    expect(thrown(() => listen(path)).code).toBe("EADDRINUSE");
    writeFileSync(join(folder, "file"), "");
    expect(thrown(() => listen(join(folder, "file"))).code).toBe("EADDRINUSE");
    symlinkSync("nowhere", join(folder, "link"));
    expect(thrown(() => listen(join(folder, "link"))).code).toBe("EADDRINUSE");
  });

  it("leave nothing behind when they fail", async () => {
    const folder = await temporaryFolder();
    const path = join(folder, "x");
    // The owner cannot be given away without privileges, nor may an unknown folder be written to.
    if (process.getuid!() !== 0) {
      expect(thrown(() => listen(path, "seqpacket", { uid: 0 })).code).toBe("EPERM");
      expect(existsSync(path)).toBe(false);
      chmodSync(folder, 0o500);
      expect(thrown(() => listen(path)).code).toBe("EACCES");
    }
    expect(thrown(() => listen("")).code).toBe("EINVAL");
    expect(thrown(() => connect("")).code).toBe("EINVAL");
  });

  it("tell why a connection cannot be had", async () => {
    const path = join(await temporaryFolder(), "x");
    expect(thrown(() => connect(path))).toMatchObject({ syscall: "connect", code: "ENOENT", subject: path });
    closeOwned(listen(path));
    expect(thrown(() => connect(path)).code).toBe("ECONNREFUSED");
    const dgram = `${path}-dgram`;
    listen(dgram, "dgram");
    expect(thrown(() => connect(dgram)).code).toBe("EPROTOTYPE");
  });

  it("answer EAGAIN at once when the backlog is full", async () => {
    const path = join(await temporaryFolder(), "x");
    listen(path, "seqpacket", { backlog: 0 });
    connect(path);
    expect(thrown(() => connect(path))).toMatchObject({ syscall: "connect", code: "EAGAIN", subject: path });
  });
});

describe("credentials", () => {
  it("of the listener, and with each message where they are asked for", async () => {
    const path = join(await temporaryFolder(), "x");
    const fd = listen(path);
    const me = { pid: process.pid, uid: process.getuid!(), gid: process.getgid!() };
    const door = connect(path, "seqpacket", { credentials: true });
    const instance = own(native.acceptUnix(fd));
    expect(native.peerCredentials(door)).toEqual(me);
    expect(native.peerCredentials(instance)).toEqual(me);
    const loop = newLoop();
    native.sendMessage(instance, Buffer.from("ready"));
    expect(loop.receive(door)).toBe(1);
    expect([...loop.received.credentials.subarray(0, 3)]).toEqual([me.pid, me.uid, me.gid]);
    native.askCredentials(door, false);
    native.sendMessage(instance, Buffer.from("ready"));
    expect(loop.receive(door)).toBe(1);
    expect([...loop.received.credentials.subarray(0, 3)]).toEqual([-1, -1, -1]);
    native.sendMessage(door, Buffer.from("handoff"));
    expect(loop.receive(instance)).toBe(1);
    expect([...loop.received.credentials.subarray(0, 3)]).toEqual([-1, -1, -1]);
  });

  it("of no unix socket are an error", () => {
    expect(thrown(() => native.peerCredentials(file())).code).toBe("ENOTSOCK");
  });
});

describe("refuseDescriptors", () => {
  it("makes sending descriptors fail with EPERM, where the kernel has SO_PASSRIGHTS", async () => {
    const path = join(await temporaryFolder(), "x");
    const fd = listen(path);
    const door = connect(path, "seqpacket", { refuseDescriptors: true });
    const instance = own(native.acceptUnix(fd));
    const result = native.sendMessage(instance, Buffer.from("x"), [instance]);
    const [, release] = /^(\d+\.\d+)/.exec((await import("node:os")).release())!;
    const [major, minor] = release!.split(".").map(Number) as [number, number];
    expect(result).toBe(major > 6 || (major === 6 && minor >= 16) ? 1 : 0);
    expectConnected(door, instance);
  });
});

describe("unixSocket", () => {
  it("describes unnamed sockets, and nothing else", async () => {
    const [a] = pair();
    expect(native.unixSocket(a)).toEqual({ path: "", type: "seqpacket", listening: false });
    expect(native.unixSocket(listener().fd)).toBeUndefined();
    expect(native.unixSocket(file())).toBeUndefined();
    expect(thrown(() => native.unixSocket(1 << 20)).code).toBe("EBADF");
  });

  it("gives the path that a connection was accepted on", async () => {
    const path = join(await temporaryFolder(), "x");
    const fd = listen(path);
    connect(path);
    expect(native.unixSocket(own(native.acceptUnix(fd)))).toEqual({ path, type: "seqpacket", listening: false });
  });
});

describe("shutdown", () => {
  it("of reading makes the peer's sends fail with EPIPE, and leaves what is queued", () => {
    const [door, instance] = pair();
    native.sendMessage(instance, Buffer.from("ack"));
    native.shutdown(door, 0);
    expect(native.sendMessage(instance, Buffer.from("late"))).toBe(32); // EPIPE
    const loop = newLoop();
    expect(loop.receive(door)).toBe(1);
    expect(loop.received.end[0]).toBe(2); // CLOSED
    expectConnected(door, instance);
  });

  it("of no socket, or in no known way, is an error", () => {
    expect(thrown(() => native.shutdown(file(), 1))).toMatchObject({ syscall: "shutdown", code: "ENOTSOCK" });
    expect(thrown(() => native.shutdown(0, 3 as never)).name).toBe("RangeError");
  });
});

describe("sendMessage", () => {
  it("returns the errno", () => {
    const [a, b] = pair();
    closeOwned(b);
    expect(native.sendMessage(a, Buffer.from("x"))).toBe(32); // EPIPE
    expect(native.sendMessage(1 << 20, Buffer.from("x"))).toBe(9); // EBADF
    const [c] = pair();
    expect(native.sendMessage(c, Buffer.from("x"), [1 << 20])).toBe(9);
    let result = 0;
    while (result === 0) result = native.sendMessage(c, Buffer.alloc(1000));
    expect(result).toBe(11); // EAGAIN
  });

  it("sends up to 253 descriptors", () => {
    const [a, b] = pair();
    const loop = newLoop();
    expect(native.sendMessage(a, Buffer.from("many"), Array(253).fill(a))).toBe(0);
    expect(thrown(() => native.sendMessage(a, Buffer.from("x"), Array(254).fill(a))).message).toBe(
      "descriptors must be at most 253 (SCM_MAX_FD)",
    );
    expect(loop.receive(b)).toBe(1);
  });
});
