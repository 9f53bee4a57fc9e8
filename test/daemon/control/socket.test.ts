/** The control socket: who has it, who may use it, and that sharing it is safe. */
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { adoptControlSocket, openControlSocket } from "../../../src/daemon/control/socket.js";
import { native } from "../../../src/native/addon.js";
import { Child } from "../../support/child.js";
import { openDescriptors } from "../../support/descriptors.js";
import { Folder } from "../../support/folder.js";
import { until } from "../../support/wait.js";

const folder = new Folder();
let path: string;
let count = 0;
let before: number;
let servers: Server[] = [];

beforeEach(() => {
  path = folder.at(`${count++}.sock`);
  before = openDescriptors().length;
});

afterEach(async () => {
  for (const server of servers) await new Promise((resolve) => server.close(resolve));
  servers = [];
  await until("descriptors as before", () => openDescriptors().length === before);
});

/** A server behind a descriptor, which says one word to each client. */
async function serve(descriptor: number, word: string): Promise<Server> {
  const server = createServer((socket) => socket.end(word)).listen({ fd: descriptor });
  await once(server, "listening");
  servers.push(server);
  return server;
}

async function hear(): Promise<string> {
  const socket = connect(path);
  let heard = "";
  for await (const data of socket) heard += data;
  return heard;
}

const failure = (code: string, message: RegExp) =>
  expect.objectContaining({ code, message: expect.stringMatching(message) });

describe("a free path", () => {
  test("is for its owner and group only, unless another mode is asked for", async () => {
    const { descriptor } = openControlSocket(path);
    expect(statSync(path).mode & 0o777).toBe(0o660);
    const other = openControlSocket(folder.at("other.sock"), { mode: 0o600 });
    expect(statSync(other.path).mode & 0o777).toBe(0o600);
    native.close(other.descriptor);
    await serve(descriptor, "hello");
    expect(await hear()).toBe("hello");
  });

  test.runIf(process.getuid?.() === 0)("gets the group asked for", () => {
    const { descriptor } = openControlSocket(path, { gid: 54_321 });
    expect(statSync(path)).toMatchObject({ uid: 0, gid: 54_321 });
    native.close(descriptor);
  });

  test("may be an abstract address", () => {
    const address = `@sni-handoff-control-test-${process.pid}`;
    const { descriptor } = openControlSocket(address);
    expect(native.unixSocket(descriptor)).toEqual({ path: address, type: "stream", listening: true });
    expect(() => openControlSocket(address)).toThrowError(
      failure("ERR_PATH_IN_USE", new RegExp(`process ${process.pid}; stop it, or choose another path$`)),
    );
    native.close(descriptor);
  });
});

describe("a path that exists", () => {
  test("is taken from a daemon that died", async () => {
    native.close(openControlSocket(path).descriptor);
    expect(existsSync(path)).toBe(true);
    await serve(openControlSocket(path).descriptor, "mine");
    expect(await hear()).toBe("mine");
  });

  test("is left to a daemon that lives, which is named", async () => {
    const program = new URL("../../../dist/daemon/control/socket.js", import.meta.url).href;
    const holder = new Child(process.execPath, [
      "--input-type=module",
      "-e",
      `import { openControlSocket } from ${JSON.stringify(program)};
       import { createServer } from "node:net";
       createServer().listen({ fd: openControlSocket(${JSON.stringify(path)}).descriptor }, () => console.log("ready"));`,
    ]);
    await holder.line("the holder's socket", (line) => line === "ready");
    expect(() => openControlSocket(path)).toThrowError(
      failure("ERR_PATH_IN_USE", new RegExp(`^${path} is in use by process ${holder.pid}; stop it`)),
    );
    await holder.end("SIGKILL");
    const { descriptor, release } = openControlSocket(path);
    release();
    native.close(descriptor);
  });

  test("and is no socket, or a folder, or a link: it is left alone", () => {
    writeFileSync(path, "precious");
    expect(() => openControlSocket(path)).toThrowError(failure("ERR_PATH_UNUSABLE", /is a file, not a socket/));
    expect(readFileSync(path, "utf8")).toBe("precious");
    const inner = folder.at(`${count}-folder`);
    mkdirSync(inner);
    expect(() => openControlSocket(inner)).toThrowError(failure("ERR_PATH_UNUSABLE", /is a folder, not a socket/));
    expect(() => openControlSocket(`${inner}/`)).toThrowError(failure("ERR_PATH_UNUSABLE", /give it a file name/));
    const link = folder.at(`${count}-link`);
    symlinkSync(path, link);
    expect(() => openControlSocket(link)).toThrowError(failure("ERR_PATH_UNUSABLE", /a symbolic link/));
  });

  test("and is an instance's socket: it is left alone", () => {
    const instance = native.listenUnix(path, "seqpacket", { backlog: 1 });
    expect(() => openControlSocket(path)).toThrowError(failure("ERR_PATH_IN_USE", /in use by a living process/));
    native.close(instance);
  });

  test.each([
    ["a folder that isn't there", "/nowhere/at/all/c.sock", /its folder \/nowhere\/at\/all does not exist; create it/],
    ["a path that is too long", `/tmp/${"x".repeat(110)}`, /has 115 bytes; 107 are allowed/],
  ])("%s is said", (_what, wrong, message) => {
    expect(() => openControlSocket(wrong)).toThrowError(failure("ERR_PATH_UNUSABLE", message));
  });
});

describe("two owners of one socket", () => {
  test("either may close: the path stays, and the other one serves on", async () => {
    const { descriptor } = openControlSocket(path);
    const copy = native.duplicate(descriptor);
    const first = await serve(descriptor, "first");
    await serve(copy, "second");
    servers = servers.filter((server) => server !== first);
    await new Promise((resolve) => first.close(resolve));
    expect(existsSync(path)).toBe(true);
    expect(await hear()).toBe("second");
  });

  test("a process inherits it, serves after its predecessor's end, and removes the path as the last", async () => {
    const { descriptor } = openControlSocket(path);
    const program = new URL("../../../dist/daemon/control/socket.js", import.meta.url).href;
    const successor = new Child(
      process.execPath,
      [
        "--input-type=module",
        "-e",
        `import { adoptControlSocket } from ${JSON.stringify(program)};
         import { createServer } from "node:net";
         const { descriptor, release } = adoptControlSocket(3, ${JSON.stringify(path)});
         const server = createServer((socket) => socket.on("error", () => {}).end("successor"));
         server.listen({ fd: descriptor }, () => console.log("ready"));
         process.on("SIGTERM", () => { release(); server.close(); });`,
      ],
      { stdio: ["ignore", "pipe", "pipe", descriptor] },
    );
    await successor.line("the successor's socket", (line) => line === "ready");
    native.close(descriptor);
    expect(await hear()).toBe("successor");
    // SO_PEERCRED tells of the process that called listen(2) last.
    expect(() => openControlSocket(path)).toThrowError(
      failure("ERR_PATH_IN_USE", new RegExp(`process ${successor.pid}`)),
    );
    expect({ ...(await successor.end()), stderr: successor.stderr }).toEqual({ status: 0, signal: null, stderr: "" });
    expect(existsSync(path)).toBe(false);
  });

  test("release leaves a path that somebody else has bound since", () => {
    const old = openControlSocket(path);
    native.close(old.descriptor);
    const young = openControlSocket(path);
    old.release();
    expect(existsSync(path)).toBe(true);
    young.release();
    expect(existsSync(path)).toBe(false);
    native.close(young.descriptor);
  });

  test("only the listening socket of that path can be inherited", () => {
    const [a, b] = native.socketPair("stream");
    const { descriptor } = openControlSocket(path);
    expect(() => adoptControlSocket(a, path)).toThrowError(failure("ERR_PATH_UNUSABLE", /is a stream socket at ""/));
    expect(() => adoptControlSocket(descriptor, "/elsewhere")).toThrowError(
      failure("ERR_PATH_UNUSABLE", /a listening stream socket at \/elsewhere is needed/),
    );
    const file = native.lockFolder(folder.path);
    expect(() => adoptControlSocket(file, path)).toThrowError(failure("ERR_PATH_UNUSABLE", /is no unix socket/));
    for (const each of [a, b, descriptor, file]) native.close(each);
  });
});
