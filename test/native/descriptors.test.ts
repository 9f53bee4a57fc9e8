import { closeSync, openSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { SystemCallError } from "../../src/errors.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { fixture } from "./fixture.js";
import { closeOwned, countDescriptors, file, isOpen, own, pair, temporaryFolder, thrown } from "./resources.js";

countDescriptors();

describe("close", () => {
  it("closes sockets and files", async () => {
    const [socket] = pair();
    for (const fd of [socket, file()]) {
      expect(isOpen(fd)).toBe(true);
      closeOwned(fd);
      expect(isOpen(fd)).toBe(false);
    }
  });

  it("of a descriptor that is not open throws EBADF", () => {
    const fd = openSync("/dev/null", "r");
    closeSync(fd);
    expect(thrown(() => native.close(fd))).toMatchObject({ syscall: "close", code: "EBADF", errno: 9 });
  });
});

describe("duplicate", () => {
  it("gives another descriptor of the same socket", () => {
    const [a, b] = pair();
    const copy = own(native.duplicate(a));
    expect(copy).not.toBe(a);
    closeOwned(a);
    expect(native.sendMessage(copy, Buffer.from("x"))).toBe(0);
    expect(isOpen(b)).toBe(true);
  });

  it("of a descriptor that is not open throws EBADF", () => {
    expect(thrown(() => native.duplicate(1 << 20))).toMatchObject({ syscall: "fcntl", code: "EBADF" });
  });
});

describe("setNonBlocking", () => {
  it("sets and clears O_NONBLOCK", async () => {
    const { readFileSync } = await import("node:fs");
    const [fd] = pair();
    const flags = () => Number.parseInt(/flags:\s+(\d+)/.exec(readFileSync(`/proc/self/fdinfo/${fd}`, "utf8"))![1]!, 8);
    const nonBlocking = 0o4000;
    expect(flags() & nonBlocking).toBe(nonBlocking);
    native.setNonBlocking(fd, false);
    expect(flags() & nonBlocking).toBe(0);
    native.setNonBlocking(fd, true);
    expect(flags() & nonBlocking).toBe(nonBlocking);
  });
});

describe("lockFolder", () => {
  it("is had by one at a time", async () => {
    const folder = await temporaryFolder();
    const lock = own(native.lockFolder(folder));
    const other = new Child(process.execPath, [fixture, "lock", folder]);
    await other.line("its attempt", (line) => line === "trying");
    // It blocks, so its only other line cannot have come.
    expect(other.lines).toEqual(["trying"]);
    closeOwned(lock);
    await other.line("its lock", (line) => line === "locked");
    expect(await other.ended).toEqual({ status: 0, signal: null });
  });

  it("is given up after a while: whoever may open the folder may hold it", async () => {
    const folder = await temporaryFolder();
    own(native.lockFolder(folder));
    expect(thrown(() => native.lockFolder(folder))).toMatchObject({
      syscall: "flock",
      code: "EAGAIN",
      subject: folder,
    });
  });

  it("of nothing, or of a file, throws with the path", async () => {
    const path = join(await temporaryFolder(), "missing");
    expect(thrown(() => native.lockFolder(path))).toMatchObject({ syscall: "open", code: "ENOENT", subject: path });
    expect(thrown(() => native.lockFolder("/dev/null"))).toMatchObject({ syscall: "open", code: "ENOTDIR" });
  });
});

describe("errors", () => {
  it("are SystemCallErrors with call, name, number, and text", () => {
    let error: unknown;
    try {
      native.lockFolder("/proc/nonexistent");
    } catch (caught) {
      error = caught;
    }
    expect(error).toBeInstanceOf(SystemCallError);
    expect((error as Error).message).toBe("open /proc/nonexistent: No such file or directory (ENOENT)");
  });

  // One row for each way in which an argument can be wrong.
  const wrong: [why: string, call: () => unknown, name: string, message: string][] = [
    ["missing", () => (native.close as () => void)(), "TypeError", "fd must be a number"],
    ["a string", () => native.close("3" as never), "TypeError", "fd must be a number"],
    ["negative", () => native.close(-1), "RangeError", "fd must be an integer from 0 to 2147483647, not -1"],
    ["a fraction", () => native.close(1.5), "RangeError", "fd must be an integer from 0 to 2147483647, not 1.5"],
    ["NaN", () => native.close(Number.NaN), "RangeError", "fd must be an integer from 0 to 2147483647, not nan"],
    [
      "beyond int",
      () => native.close(2 ** 31),
      "RangeError",
      "fd must be an integer from 0 to 2147483647, not 2147483648",
    ],
    ["no boolean", () => native.setNonBlocking(0, 1 as never), "TypeError", "on must be a boolean"],
    ["no text", () => native.lockFolder(7 as never), "TypeError", "path must be a string"],
    ["text with NUL", () => native.lockFolder("/tmp\0x"), "RangeError", "path must be without NUL characters"],
    [
      "text too long",
      () => native.lockFolder("x".repeat(5000)),
      "RangeError",
      "path must be at most 4095 bytes long, not 5000",
    ],
    ["no bytes", () => native.sendMessage(0, "x" as never), "TypeError", "bytes must be a Uint8Array"],
    [
      "other arrays",
      () => native.sendMessage(0, new Uint16Array(2) as never),
      "TypeError",
      "bytes must be a Uint8Array",
    ],
    ["no function", () => native.watch(0, undefined as never), "TypeError", "ready must be a function"],
    ["no options", () => native.listenTcp(undefined as never), "TypeError", "options must be an object"],
    ["no port", () => native.listenTcp({ address: "::" } as never), "RangeError", "port must be given"],
    [
      "an unknown type",
      () => native.socketPair("raw" as never),
      "RangeError",
      'type must be "seqpacket", "stream" or "dgram"',
    ],
  ];
  it.each(wrong)("tell which argument is wrong: %s", (_why, call, name, message) => {
    expect(thrown(call)).toMatchObject({ name, message });
  });
});
