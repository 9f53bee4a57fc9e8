import { existsSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { passedDescriptors } from "../../src/handoff/activation.js";
import { native, type UnixSocketType } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { FakeDoor } from "../support/fake-door.js";

describe("LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES", () => {
  it("name the descriptors from 3 on", () => {
    expect(passedDescriptors({ LISTEN_PID: "77", LISTEN_FDS: "3", LISTEN_FDNAMES: "web::door" }, 77)).toEqual([
      { descriptor: 3, name: "web" },
      { descriptor: 4, name: "unknown" },
      { descriptor: 5, name: "door" },
    ]);
  });

  it("may come without names", () => {
    expect(passedDescriptors({ LISTEN_PID: "77", LISTEN_FDS: "1" }, 77)).toEqual([{ descriptor: 3, name: "unknown" }]);
  });

  it.each([
    ["meant for another process", { LISTEN_PID: "78", LISTEN_FDS: "1" }],
    ["absent", {}],
    ["no number", { LISTEN_PID: "77", LISTEN_FDS: "many" }],
    ["negative", { LISTEN_PID: "77", LISTEN_FDS: "-1" }],
  ])("are nothing when %s", (_, environment) => {
    expect(passedDescriptors(environment, 77)).toEqual([]);
  });
});

describe("a socket passed by the service manager", () => {
  let folder: string;
  let path: string;
  let held: number;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "sni-handoff-"));
    path = join(folder, "door.sock");
  });
  afterEach(() => {
    native.close(held);
    rmSync(folder, { recursive: true });
  });

  /** A process that is given `held` as descriptor 3, as systemd does it. */
  function activate(options: object, name: string): Child {
    const library = new URL("../../dist/backend/index.js", import.meta.url).href;
    const script = `
      import { receive } from ${JSON.stringify(library)};
      try {
        const receiver = await receive(${JSON.stringify(options)}, (socket) => socket.end());
        process.once("SIGTERM", () => receiver.close());
        console.log("path " + receiver.path);
      } catch (error) {
        console.log(error.code + " " + error.message);
      }`;
    const shell = 'LISTEN_PID=$$ exec "$0" --input-type=module --eval "$1"';
    return new Child("/bin/sh", ["-c", shell, process.execPath, script], {
      stdio: ["ignore", "pipe", "pipe", held],
      env: { ...process.env, LISTEN_FDS: "1", LISTEN_FDNAMES: name },
    });
  }

  const hold = (type: UnixSocketType = "seqpacket") => {
    held = native.listenUnix(path, type, { backlog: 4 });
  };

  it.each([
    ["bound to the path", () => ({ path })],
    ["of the name", () => ({ fdName: "door" })],
    ["of the name, whatever the path", () => ({ fdName: "door", path: join(folder, "other.sock") })],
  ])("%s is used, keeps its queue, and its path stays", async (_, options) => {
    hold();
    const early = new FakeDoor(path);
    const child = activate(options(), "door");
    expect(await child.line("the path", (line) => line)).toBe(`path ${path}`);
    await early.next(1);
    const late = await FakeDoor.open(path);
    early.close();
    late.close();
    expect(await child.end("SIGTERM")).toEqual({ status: 0, signal: null });
    expect(existsSync(path)).toBe(true);
    // The next process takes over.
    const next = activate(options(), "door");
    await next.line("the path", (line) => line);
    (await FakeDoor.open(path)).close();
    await next.end("SIGTERM");
  });

  it("of another type is an error that names the unit's setting", async () => {
    hold("dgram");
    const line = await activate({ path }, "door").line("the error", (line) => line);
    expect(line).toMatch(
      /^ERR_PATH_UNUSABLE the passed descriptor 3 \(door\) is a dgram socket; .*ListenSequentialPacket=/,
    );
  });

  it("under another name is an error that names those that came", async () => {
    hold();
    const line = await activate({ fdName: "front" }, "door").line("the error", (line) => line);
    expect(line).toMatch(/^ERR_PATH_UNUSABLE no free passed descriptor is named "front"; .*passed: door /);
  });

  it("for another path leaves the path to be bound", async () => {
    hold();
    const other = join(folder, "other.sock");
    const child = activate({ path: other }, "door");
    expect(await child.line("the path", (line) => line)).toBe(`path ${other}`);
    await child.end("SIGTERM");
    expect(existsSync(other)).toBe(false);
  });
});
