/** What a server under the preload library is told when it may not, or should not, listen. */
import { chmodSync, existsSync, mkdirSync, readdirSync } from "node:fs";
import { afterEach, beforeAll, describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { Folder } from "../support/folder.js";
import { compileServer, Server } from "./server.js";

const folder = new Folder();
let program: string;
let number = 0;
const servers: Server[] = [];

beforeAll(() => {
  program = compileServer(folder);
});
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.kill()));
});

function start(path: string, address: string, environment: NodeJS.ProcessEnv): Server {
  const server = new Server(program, path, [address], environment);
  servers.push(server);
  return server;
}

/** The call that failed, its error, and standard error. */
async function failureOf(environment: NodeJS.ProcessEnv, address = "127.0.0.1:443") {
  const server = start("/nowhere", address, environment);
  const { status } = await server.child.ended;
  const { call, error } = server.said.at(-1)!;
  return { status, call, error, stderr: server.child.stderr };
}

describe("wrong text in SNI_HANDOFF", () => {
  it.each([
    ["", "SNI_HANDOFF is empty; write [ADDRESS:]PORT=PATH, as 443=/run/app/door.sock, or unset it"],
    ["443", 'SNI_HANDOFF: "443" has no "=PATH"; write [ADDRESS:]PORT=PATH, as 443=/run/app/door.sock'],
    ["443=/a,", "SNI_HANDOFF=443=/a, has an empty entry; remove the comma"],
    ["443=a.sock", 'SNI_HANDOFF: the path "a.sock" in "443=a.sock" is not absolute; begin it with "/"'],
    ["443=/a,443=/b", "SNI_HANDOFF names 443 twice; remove one"],
    ...["0", "65536", "x", "localhost:443", "::1:443", "[::1]", "1.2.3:443", "[1.2.3.4]:443"].map((address) => [
      `${address}=/a`,
      `SNI_HANDOFF: "${address}" in "${address}=/a" is no [ADDRESS:]PORT; ` +
        "write 443, 0.0.0.0:443, 192.0.2.1:443 or [2001:db8::1]:443",
    ]),
    [
      `443=/${"x".repeat(107)}`,
      `SNI_HANDOFF: the path in "443=/${"x".repeat(107)}" has 108 bytes; a socket's path has at most 107`,
    ],
  ])("%j", async (text, complaint) => {
    expect(await failureOf({ SNI_HANDOFF: text })).toEqual({
      status: 1,
      call: "bind",
      error: "EINVAL",
      stderr: `sni-handoff: ${complaint}\n`,
    });
  });

  it.each([
    ["rw-", "SNI_HANDOFF_MODE=rw- is no octal number up to 0777; write for example 0660"],
    ["01777", "SNI_HANDOFF_MODE=01777 is no octal number up to 0777; write for example 0660"],
  ])("mode %s", async (mode, complaint) => {
    const { error, stderr } = await failureOf({ SNI_HANDOFF: "443=/a", SNI_HANDOFF_MODE: mode });
    expect({ error, stderr }).toEqual({ error: "EINVAL", stderr: `sni-handoff: ${complaint}\n` });
  });

  it("an unknown group", async () => {
    const environment = { SNI_HANDOFF: `443=${folder.at("group.sock")}`, SNI_HANDOFF_GROUP: "no-such-group" };
    const { error, stderr } = await failureOf(environment);
    expect(error).toBe("EINVAL");
    expect(stderr).toBe(
      "sni-handoff: SNI_HANDOFF_GROUP=no-such-group: there is no such group; create it or choose another\n",
    );
  });
});

describe("a path that can't be listened on", () => {
  it("in a folder that does not exist", async () => {
    const path = folder.at("missing/door.sock");
    const { call, error, stderr } = await failureOf({ SNI_HANDOFF: `443=${path}` });
    expect({ call, error }).toEqual({ call: "bind", error: "ENOENT" });
    expect(stderr).toBe(`sni-handoff: cannot listen on ${path}: No such file or directory; create its folder\n`);
  });

  it("where a file is in the way", async () => {
    const path = folder.write("file.sock", "");
    const { error, stderr } = await failureOf({ SNI_HANDOFF: `443=${path}` });
    expect(error).toBe("EEXIST");
    expect(stderr).toBe(
      `sni-handoff: cannot listen on ${path}: in the way: something that is no socket is there; ` +
        "remove it or choose another path\n",
    );
  });

  it("that is another server's: it is named, and goes on", async () => {
    const path = folder.at(`${number++}.sock`);
    const first = start(path, "0.0.0.0:443", { SNI_HANDOFF: `443=${path}` });
    await first.serving();
    const { call, error, stderr } = await failureOf({ SNI_HANDOFF: `443=${path}` });
    expect({ call, error }).toEqual({ call: "bind", error: "EADDRINUSE" });
    expect(stderr).toMatch(
      new RegExp(`^sni-handoff: cannot listen on ${path}: it is in use by process (\\d+); stop its server or choose`),
    );
    expect(first.helpers()).toContain(Number(/process (\d+)/.exec(stderr)![1]));
    expect(existsSync(path)).toBe(true);
  });

  it("in a folder that another process keeps locked", async () => {
    mkdirSync(folder.at("locked"));
    const path = folder.at("locked/door.sock");
    const lock = native.lockFolder(folder.at("locked"));
    const { call, error, stderr } = await failureOf({ SNI_HANDOFF: `443=${path}` });
    native.close(lock);
    expect({ call, error }).toEqual({ call: "listen", error: "EAGAIN" });
    expect(stderr).toContain("another process has kept its folder locked (flock) for 2 s; end that one");
  });

  it("is taken over from a server that is gone", async () => {
    const path = folder.at(`${number++}.sock`);
    const first = start(path, "0.0.0.0:443", { SNI_HANDOFF: `443=${path}` });
    await first.serving();
    await first.dieWithHelpers();
    expect(existsSync(path)).toBe(true);
    await start(path, "0.0.0.0:443", { SNI_HANDOFF: `443=${path}` }).serving();
  });

  it.runIf(process.getuid?.() === 0)("in a folder that the server's user may not write to", async () => {
    mkdirSync(folder.at("closed"));
    chmodSync(folder.path, 0o755);
    const path = folder.at("closed/door.sock");
    // It may read whatever there is, so that it matters not where this project is.
    const rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    const user = ["--reuid=65534", "--regid=65534", "--clear-groups", ...rights];
    const environment = { PATH: process.env.PATH, SNI_HANDOFF: `443=${path}` };
    const server = new Server("setpriv", path, [...user, program, "127.0.0.1:443"], environment);
    await server.child.ended;
    expect(server.said.at(-1)).toEqual({ call: "bind", error: "EACCES" });
    expect(server.child.stderr).toContain(
      `cannot listen on ${path}: Permission denied; let this program's user write to its folder, or choose another path`,
    );
  });
});

it("says when a listener of a named port is not received, and leaves others alone", async () => {
  const path = folder.at(`${number++}.sock`);
  const server = start(path, "127.0.0.1:0", { SNI_HANDOFF: `127.0.0.2:443=${path}` });
  await server.serving();
  expect(server.said[1]).toMatchObject({ when: "listening", listening: 1 });
  expect(server.child.stderr).toBe("");
  expect(existsSync(path)).toBe(false);
  const other = await failureOf({ SNI_HANDOFF: `127.0.0.2:443=${path}` }, "192.0.2.1:443");
  expect(other).toMatchObject({ call: "bind", error: "EADDRNOTAVAIL" });
  expect(other.stderr).toBe(
    "sni-handoff: 192.0.2.1:443 is not received from a door: SNI_HANDOFF names 127.0.0.2:443; " +
      `write 443=${path} for every address of this port\n`,
  );
});

it("makes a socket of its own in a folder, and removes there what killed ones have left", async () => {
  mkdirSync(folder.at("pool"));
  const environment = { SNI_HANDOFF: `443=${folder.at("pool")}/` };
  const server = start(folder.at("pool"), "0.0.0.0:443", environment);
  await server.serving();
  const path = folder.at(`pool/${server.child.pid}.sock`);
  await server.dieWithHelpers();
  expect(existsSync(path)).toBe(true);
  const living = start(folder.at("pool"), "0.0.0.0:443", environment);
  await living.serving();
  const next = start(folder.at("pool"), "0.0.0.0:443", environment);
  await next.serving();
  const sockets = [living, next].map(({ child }) => `${child.pid}.sock`);
  expect(readdirSync(folder.at("pool")).sort()).toEqual(sockets.sort());
});
