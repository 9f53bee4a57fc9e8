/** What an operator asks of a running door and tells it: with the command line, and with curl. */
import { execFile } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { connect, type Socket } from "node:net";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import { parseExposition } from "../support/exposition.js";
import { Installed } from "../support/installed.js";
import { program } from "../support/programs.js";
import type { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const run = promisify(execFile);
const main = new URL("../../dist/cli/main.js", import.meta.url).pathname;
const hello = (serverName: string) => Buffer.concat([buildHello({ serverName }), Buffer.from("END\n")]);
const servedBy = async (client: RawClient) => JSON.parse((await client.reply).received.toString()).name;

let scene: Scene;
const sockets: Socket[] = [];

beforeEach(() => {
  scene = new Scene();
  mkdirSync(pool());
});

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy();
  await scene.end();
});

const pool = () => join(scene.folder, "pool");
const control = () => join(scene.folder, "control.sock");
const pidfile = () => join(scene.folder, "door.pid");
const configuration = (more = "", hold = "60s") => `
control: { path: ${control()}, mode: "0620", group: ${process.getgid!()} }
metrics: { address: 127.0.0.1:0 }
pidfile: ${pidfile()}
backends:
  app: { handoff: "${scene.at("app")}", hold: ${hold} }
  pool: { handoff: "${pool()}/", hold: 60s }
  quick: { handoff: "${scene.at("quick")}", hold: 0s, fallback: app }
routes: { app.test: app, pool.test: pool, quick.test: quick }
${more}`;

const ask = (...args: string[]) => sniHandoff([...args, "--control", control()]);
async function curl(path: string, ...args: string[]): Promise<string> {
  return (await run(program("curl"), ["-sS", "--unix-socket", control(), ...args, `http://door${path}`])).stdout;
}
const status = async () => JSON.parse(await curl("/status"));
const served = async (name: string) => servedBy(await scene.client(hello(name)));
/** An instance of the pool: its process, and what it is called. */
async function instance(name: string) {
  const process = await scene.backend({ kind: "raw", path: join(pool(), `${name}.sock`), name });
  return { process, target: `pool/${name}.sock` };
}

describe("status", () => {
  it("tells the same to a reader, to jq and to curl", async () => {
    await scene.raw("app");
    const { process } = await instance("one");
    const door = await scene.startDoor(configuration(), { workers: 2, channels: 4 });
    await served("pool.test");
    await scene.doorHas(0);
    const text = await ask("status");
    expect(text).toMatchObject({ status: 0, stderr: "" });
    const json = JSON.parse((await ask("status", "--json")).stdout);
    for (const told of [json, await status()]) {
      expect(told).toMatchObject({
        pid: door.pid,
        state: "running",
        configuration: { file: door.file, generation: 1, names: 3 },
        listeners: [
          { name: "127.0.0.1:0", address: `127.0.0.1:${door.port}`, protocol: "tls", source: "configuration" },
        ],
        workers: [
          { index: 0, responsive: true, connections: 0 },
          { index: 1, responsive: true },
        ],
        counters: { accepted: 1, acknowledged: 1 },
        control: control(),
        accessLog: { mode: "errors", dropped: 0 },
      });
      const { instances, counters, latency } = told.backends.find(({ name }: { name: string }) => name === "pool");
      expect(instances).toMatchObject([{ path: join(pool(), "one.sock"), pid: process.pid, state: "ready" }]);
      expect(counters).toMatchObject({ handed_over: 1, acknowledged: 1 });
      expect(latency.count).toBe(1);
    }
    expect(text.stdout).toMatch(/^sni-handoff +\S+ running, up \d+s, pid \d+/);
    expect(text.stdout).toContain("3 names in ");
    expect(text.stdout).toMatch(/^ {2}one\.sock +ready +\d+/m);
    expect(text.stdout).toMatch(/^accepted +1/m);
    expect(text.stdout.split("\n").filter((line) => line.length > 80)).toEqual([]);
    await door.stop();
  });

  it("of a route: who takes the name now", async () => {
    const door = await scene.startDoor(configuration());
    const explain = async (name: string) => (await sniHandoff(["explain", name, "--config", door.file])).stdout;
    expect(await explain("pool.test")).toContain("now      nobody takes it");
    const { process } = await instance("one");
    await scene.channels(1);
    expect(await explain("pool.test")).toMatch(
      new RegExp(`now      1 of 1 ready\n +${pool()}/one\\.sock: ready, process ${process.pid}\n`),
    );
    await door.stop();
  });
});

describe("reload", () => {
  it("lists what changes, as check --diff does before", async () => {
    await scene.raw("app");
    const door = await scene.startDoor(configuration(), { channels: 1 });
    door.write(configuration("noServerName: app\naccessLog: all\n", "61s"));
    const changes = "  ~ backends.app.hold: 1m -> 61s\n  ~ accessLog: errors -> all\n  ~ noServerName: none -> app\n";
    const looked = await sniHandoff(["check", "--diff", "--config", door.file]);
    expect(looked).toMatchObject({ status: 0, stderr: "" });
    expect(looked.stdout).toContain(`what a reload of ${door.file} would change\n${changes}`);
    expect((await status()).configuration).toMatchObject({ generation: 1 });
    const { status: done, stdout } = await ask("reload");
    expect(stdout).toBe(`generation 2 is in force: 3 names, 3 backends\n${changes}`);
    expect(done).toBe(0);
    expect(await servedBy(await scene.client(Buffer.concat([buildHello({}), Buffer.from("END\n")])))).toBe("app");
    expect(JSON.parse(await curl("/reload", "-X", "POST"))).toEqual({
      ok: true,
      message: "generation 3 is in force: 3 names, 3 backends",
      details: ["nothing changes"],
    });
    await door.stop();
  });

  it("with a wrong file changes nothing, and lists all that is wrong", async () => {
    const door = await scene.startDoor(configuration());
    door.write(configuration("rutes: {}\ndefault: ap\n"));
    const { status: failed, stdout, stderr } = await ask("reload");
    expect({ failed, stdout }).toEqual({ failed: 1, stdout: "" });
    expect(stderr).toMatch(/^generation 1 stays in force: the new configuration cannot be used\n/);
    expect(stderr).toMatch(/door-.*\.yaml:\d+:1: rutes: is not a known key, did you mean "routes"\?/);
    expect(stderr).toMatch(/door-.*\.yaml:\d+:10: default: found "ap", which is not a backend, did you mean "app"\?/);
    const answer = await curl("/reload", "-X", "POST", "-w", "%{http_code}");
    expect(answer).toMatch(/^\{"ok":false.*\}\n409$/);
    const { configuration: told } = await status();
    expect(told).toMatchObject({ generation: 1, lastReload: { ok: false } });
    expect((await ask("status")).stdout).toMatch(/^last reload +FAILED at /m);
    await door.stop();
  });
});

describe("drain", () => {
  it("of an instance: the others get its clients, until undrain, over a reload and an upgrade", async () => {
    const [one, two] = [await instance("one"), await instance("two")];
    const door = await scene.startDoor(configuration(), { workers: 2, channels: 4 });
    const several = async () => {
      const names = new Set<string>();
      for (let i = 0; i < 8; i++) names.add(await served("pool.test"));
      return [...names].sort();
    };
    expect(await several()).toEqual(["one", "two"]);
    expect(await ask("drain", one.target)).toMatchObject({
      status: 0,
      stdout: "pool/one.sock gets nothing new; what it has goes on\n",
    });
    expect(await several()).toEqual(["two"]);
    expect((await ask("status")).stdout).toMatch(/^ {2}one\.sock +drained/m);
    door.write(configuration("default: app\n"));
    await door.reload();
    expect(await several()).toEqual(["two"]);
    await door.upgrade();
    expect(await several()).toEqual(["two"]);
    expect(JSON.parse(await curl("/undrain/pool/one.sock", "-X", "POST"))).toEqual({
      ok: true,
      message: "pool/one.sock gets connections again",
    });
    // The new process may not have a channel to it yet.
    await until("both to be asked", async () => (await several()).length === 2);
    await two.process.stop();
    await one.process.stop();
    await door.stop();
  });

  it("of a backend: its clients are held and come back, or go to its fallback", async () => {
    for (const name of ["app", "quick"]) await scene.raw(name);
    await scene.startDoor(configuration(), { channels: 2 });
    expect(await served("quick.test")).toBe("quick");
    expect(JSON.parse(await curl("/drain/quick", "-X", "POST"))).toMatchObject({ ok: true });
    expect(await served("quick.test")).toBe("app");
    expect((await ask("drain", "app")).status).toBe(0);
    const held = await scene.client(hello("app.test"));
    await scene.doorHas(1);
    expect((await status()).backends[0]).toMatchObject({ name: "app", drained: true, held: 1 });
    expect((await ask("status")).stdout).toMatch(/^app +DRAINED/m);
    expect((await ask("undrain", "app")).stdout).toBe("app gets connections again\n");
    expect(await servedBy(held)).toBe("app");
    expect((await ask("undrain", "app")).stdout).toBe("app was not drained\n");
    await scene.counters();
  });

  it("of what isn't there says what is", async () => {
    await instance("one");
    const door = await scene.startDoor(configuration(), { channels: 1 });
    expect(await ask("drain", "ap")).toMatchObject({
      status: 1,
      stderr: 'there is no backend "ap" whose processes take connections; there are app, pool, quick\n',
    });
    expect(await ask("drain", "pool/two.sock")).toMatchObject({
      status: 1,
      stderr: 'backend pool has no instance "two.sock"; it has one.sock\n',
    });
    await door.stop();
  });
});

describe("orders", () => {
  it("log-level, upgrade and stop", async () => {
    const door = await scene.startDoor(configuration());
    expect(await ask("log-level", "error")).toMatchObject({ status: 0 });
    const lines = door.log.length;
    expect((await ask("drain", "app")).status).toBe(0);
    expect(door.log.slice(lines)).toEqual([]);
    expect(JSON.parse(await curl("/log-level", "-X", "PUT", "-d", "info"))).toMatchObject({ ok: true });
    const before = door.pid;
    const { stdout, status: upgraded } = await ask("upgrade");
    const pid = Number(/^process (\d+) has taken over from process (\d+)\n$/.exec(stdout)?.[1]);
    expect(upgraded).toBe(0);
    expect((await status()).pid).toBe(pid);
    expect(pid).not.toBe(before);
    expect(readFileSync(pidfile(), "utf8")).toBe(`${pid}\n`);
    expect(readdirSync(scene.folder).filter((name) => name.startsWith("door.pid"))).toEqual(["door.pid"]);
    const stopped = await ask("stop");
    expect(stopped).toMatchObject({ status: 0, stdout: expect.stringContaining(`process ${pid} accepts no more`) });
    await door.child.ended;
    expect([existsSync(control()), existsSync(pidfile())]).toEqual([false, false]);
    expect(await ask("status")).toMatchObject({
      status: 1,
      stderr: expect.stringContaining(`there is no control socket ${control()}: no daemon runs`),
    });
  });
});

describe("the control socket", () => {
  it("has the mode and the group that are configured, and one daemon", async () => {
    const group = process.getuid!() === 0 ? 65534 : process.getgid!();
    const door = await scene.startDoor(configuration().replace(/group: \d+/, `group: ${group}`));
    const { mode, gid } = statSync(control());
    expect({ mode: mode & 0o777, gid }).toEqual({ mode: 0o620, gid: group });
    expect(readFileSync(pidfile(), "utf8")).toBe(`${door.pid}\n`);
    const second = new Child(process.execPath, [main, "serve", "--config", door.file]);
    expect(await second.ended).toMatchObject({ status: 1 });
    expect(second.stderr).toBe(`${control()} is in use by process ${door.pid}; stop it, or choose another path\n`);
    expect(await status()).toMatchObject({ pid: door.pid });
    expect(readFileSync(pidfile(), "utf8")).toBe(`${door.pid}\n`);
    await door.stop();
  });

  it("takes garbage and slow clients, and answers others meanwhile", async () => {
    const door = await scene.startDoor(configuration());
    const open = async (bytes: string | Uint8Array) => {
      const socket = connect(control());
      sockets.push(socket);
      socket.on("error", () => {});
      await once(socket, "connect");
      socket.write(bytes);
      return socket;
    };
    const slow = await Promise.all(Array.from({ length: 30 }, () => open("GET /status HTTP/1.1\r\nX: ")));
    for (const bytes of ["\x16\x03\x01garbage\r\n\r\n", Buffer.alloc(100_000, "x"), "GET / HTTP/9.9\r\n\r\n"]) {
      const socket = await open(bytes);
      socket.resume();
      await once(socket, "close");
    }
    expect((await status()).pid).toBe(door.pid);
    expect((await ask("status")).status).toBe(0);
    expect(slow.every((socket) => !socket.closed)).toBe(true);
    // And in time they are let go of.
    for (const socket of slow) socket.resume();
    await until("the slow ones to be closed", () => slow.every((socket) => socket.closed));
    await scene.counters();
  });

  it("is not for everybody", async () => {
    if (process.getuid!() !== 0) return;
    chmodSync(scene.folder, 0o755);
    const door = await scene.startDoor(configuration());
    // This project's own folder may not be for everybody either.
    const { program: theirs } = new Installed(scene.folder, { whole: true });
    const prefix = ["--reuid=65534", "--regid=65534", "--clear-groups", process.execPath, theirs];
    const child = new Child(program("setpriv"), [...prefix, "status", "--control", control()]);
    expect(await child.ended).toMatchObject({ status: 1 });
    expect(child.stderr).toContain(`no permission to use ${control()}: be root, its owner, or in its group`);
    await door.stop();
  });
});

describe("metrics", () => {
  it("go up by what clients did, over TCP and over the control socket, and don't fall over a reload", async () => {
    await scene.raw("app");
    const door = await scene.startDoor(configuration(), { workers: 2, channels: 2 });
    const { metrics } = await status();
    const read = async (text: string) => {
      const families = parseExposition(text);
      return (name: string, labels: object = {}) => {
        const matches = (each: object) => JSON.stringify(each) === JSON.stringify(labels);
        return families.get(`sni_handoff_${name}`)?.samples.find((sample) => matches(sample.labels))?.value;
      };
    };
    const overTcp = async () => read((await run(program("curl"), ["-sS", `http://${metrics}/metrics`])).stdout);
    const overSocket = async () => read(await curl("/metrics"));
    for (let i = 0; i < 3; i++) expect(await served("app.test")).toBe("app");
    await (await scene.client(hello("no.test"))).reply;
    await (await scene.client(Buffer.from("GET / HTTP/1.0\r\n\r\n"))).reply;
    await scene.doorHas(0);
    const expectCounts = (value: Awaited<ReturnType<typeof read>>, handedOver: number) => {
      expect(value("accepted_total")).toBe(handedOver + 2);
      expect(value("acknowledged_total", { backend: "app" })).toBe(handedOver);
      expect(value("refused_total", { reason: "no_route", backend: "" })).toBe(1);
      expect(value("refused_total", { reason: "not_tls", backend: "" })).toBe(1);
    };
    for (const value of [await overTcp(), await overSocket()]) expectCounts(value, 3);
    door.write(configuration("default: app\n").replace("  app:", "  zero: { reject: close }\n  app:"));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expectCounts(await overTcp(), 3);
    expect(await served("app.test")).toBe("app");
    await scene.doorHas(0);
    for (const value of [await overSocket(), await overTcp()]) expectCounts(value, 4);
    await door.upgrade();
    expect((await overTcp())("accepted_total")).toBe(0);
    await door.stop();
  });
});
