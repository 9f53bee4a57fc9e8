/** What comes in the middle of something else: signals, second orders, deaths, workers that are stuck. */
import { existsSync, readdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { askStatus, askTo } from "../../src/daemon/control/client.js";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { Installed } from "../support/installed.js";
import { isAlive, kill } from "../support/process-status.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const stopThread = fileURLToPath(new URL("../support/stop-thread.py", import.meta.url));
const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
let scene: Scene;
let children: Child[];
let manager: Manager;

beforeEach(() => {
  scene = new Scene();
  children = [];
  manager = new Manager(`${scene.folder}/notify`);
});

afterEach(async () => {
  for (const child of children) await child.end("SIGKILL");
  for (const pid of successors()) kill(pid);
  manager.close();
  await scene.end();
});

/** Processes of this test's installed program: those that took over are nobody's children. */
function successors(): number[] {
  return readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name) && Number(name) !== scene.door?.child.pid)
    .filter((name) => {
      try {
        return readFileSync(`/proc/${name}/cmdline`, "latin1").includes(scene.folder);
      } catch {
        return false; // ended
      }
    })
    .map(Number);
}

/** A service manager's socket, and what came to it. */
class Manager {
  readonly messages: string[] = [];
  private readonly descriptor: number;
  private readonly watch: ReturnType<typeof native.watchMessages>;

  readonly path: string;

  constructor(path: string) {
    this.path = path;
    this.descriptor = native.listenUnix(path, "dgram", { backlog: 0 });
    this.watch = native.watchMessages(
      this.descriptor,
      (count) => {
        const { buffer, stride, lengths } = this.watch.batch;
        for (let i = 0; i < count; i++) {
          this.messages.push(Buffer.from(buffer.subarray(i * stride, i * stride + lengths[i]!)).toString());
        }
        return 0;
      },
      () => {},
    );
  }

  close(): void {
    this.watch.close();
    native.close(this.descriptor);
  }
}

const control = () => `${scene.folder}/control.sock`;
const environment = (...more: string[]) => [program("env"), `NOTIFY_SOCKET=${manager.path}`, ...more];
const settings = (more = "") =>
  `backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\nroutes: { app.test: app }\ncontrol: "${control()}"\n${more}`;
/** Names enough for a second or so of reading. */
function manyNames(): string {
  const file = `${scene.folder}/many.map`;
  writeFileSync(file, Array.from({ length: 600_000 }, (_, i) => `name-${i}.example.com app\n`).join(""));
  return `maps: ["${file}"]\n`;
}

describe("a worker that dies", () => {
  /** A program whose workers run this first. */
  const installedWith = (first: string) => {
    const installed = new Installed(scene.folder);
    const worker = `${installed.folder}/dist/door/worker.js`;
    renameSync(worker, `${installed.folder}/dist/door/original.js`);
    writeFileSync(worker, `${first}\nawait import("./original.js");\n`);
    installed.unbundle();
    return installed;
  };

  it("at its start: the door does not start, and says so", async () => {
    const { program: broken } = installedWith('throw new Error("no luck");');
    const file = `${scene.folder}/door.yaml`;
    writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\nworkers: 2\n${settings()}`);
    const door = new Child(process.execPath, [broken, "serve", "--config", file]);
    children.push(door);
    expect(await door.ended).toMatchObject({ status: 1 });
    expect(door.stderr).toMatch(/worker.*no luck/);
    expect(existsSync(control())).toBe(false);
  });

  /** A program whose workers die when that file is there. */
  const mortal = () =>
    installedWith(`import { existsSync } from "node:fs";
      setInterval(() => { if (existsSync("${scene.folder}/die")) throw new Error("no luck"); }, 20);`);

  it("later: the door ends with status 1, so that it is started again", async () => {
    const door = await scene.startDoor(settings(), { workers: 2, program: mortal().program });
    writeFileSync(`${scene.folder}/die`, "");
    expect(await door.child.ended).toMatchObject({ status: 1 });
    expect(door.log.filter(({ event }) => event === "worker.died")).toHaveLength(1);
    expect(existsSync(control())).toBe(false);
  });

  it("while another process takes over: that process keeps the control socket, and the one before ends", async () => {
    const { door, successor } = await handingOver(mortal());
    writeFileSync(`${scene.folder}/die`, "");
    await door.event("worker.died");
    await until("the new process's answer", async () => (await askStatus(control())).pid === successor);
    await until("the end of the one before", () => !isAlive(door.pid));
    expect((await askStatus(control())).pid).toBe(successor);
  });
});

/** A door that gives all to a new process, and goes on for what a stopped instance does not acknowledge. */
async function handingOver(installed = new Installed(scene.folder)) {
  const stopped = await scene.raw("stopped");
  const more = `pidfile: "${scene.folder}/door.pid"\ntimeouts: { drain: 10m, hello: 10m }\n`;
  const backends = `stopped: { handoff: "${scene.at("stopped")}", acknowledgeTimeout: 10m }`;
  const door = await scene.startDoor(
    settings(more)
      .replace("backends: {", `backends: { ${backends},`)
      .replace("routes: {", "routes: { s.test: stopped,"),
    { program: installed.program, channels: 1 },
  );
  stopped.signal("SIGSTOP");
  const client = await scene.client(Buffer.concat([buildHello({ serverName: "s.test" }), Buffer.from("END\n")]));
  await scene.doorHas(1);
  installed.replace();
  process.kill(door.pid, "SIGUSR2");
  const { pid } = await door.event("ready", ({ pid }) => pid !== door.pid);
  return { door, stopped, client, successor: pid as number };
}

it("a pidfile that cannot be written: the door does not start, and says so", async () => {
  const file = `${scene.folder}/door.yaml`;
  writeFileSync(file, `listeners: [{ address: "127.0.0.1:0" }]\npidfile: nowhere/door.pid\n${settings()}`);
  const main = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
  const door = new Child(process.execPath, [main, "serve", "--config", file]);
  children.push(door);
  expect(await door.ended).toMatchObject({ status: 1 });
  expect(door.stderr).toMatch(/cannot write the pidfile/);
  expect(door.lines.join("")).not.toContain('"ready"');
  expect(existsSync(control())).toBe(false);
});

describe("a worker that is stuck", () => {
  async function stuck(more = "") {
    const door = await scene.startDoor(settings(`timeouts: { drain: 500ms }\n${more}`), { workers: 2 });
    const stopped = new Child(program("python3"), [stopThread, String(door.pid)], { stdio: ["pipe", "pipe", "pipe"] });
    children.push(stopped);
    await stopped.line("the thread's stop", (line) => line.startsWith("stopped"));
    return { door, goOn: () => stopped.process.stdin!.end() };
  }

  it("is shown in the status, and reloads and drains say that they wait for it; when it goes on, so do they", async () => {
    const { door, goOn } = await stuck("");
    // At once: before anyone could have noticed.
    const { workers } = await askStatus(control(), { timeout: 30_000 });
    expect(workers.map(({ responsive }) => responsive).sort()).toEqual([false, true]);
    const waits = { ok: false, message: expect.stringMatching(/worker \d does not answer/) };
    expect(await askTo(control(), "POST", "/drain/app", { timeout: 30_000 })).toMatchObject(waits);
    door.write(
      `backends: { sorry: { reject: unrecognized_name } }\nroutes: { app.test: sorry }\ncontrol: "${control()}"\n`,
    );
    expect(await askTo(control(), "POST", "/reload", { timeout: 30_000 })).toMatchObject(waits);
    expect(await askStatus(control(), { timeout: 30_000 })).toMatchObject({ state: "reloading" });
    expect(await askTo(control(), "POST", "/reload", { timeout: 30_000 })).toMatchObject(waits);
    goOn();
    await door.event("reloaded", ({ generation }) => generation === 2);
    await door.event("reloaded", ({ generation }) => generation === 3);
    await until("an end of that", async () => (await askStatus(control())).state === "running");
  });

  it("does not keep the door from ending", async () => {
    const { door } = await stuck();
    process.kill(door.pid, "SIGTERM");
    expect(await door.child.ended).toMatchObject({ signal: "SIGKILL" });
    expect(door.log.at(-1)).toMatchObject({ level: "fatal" });
  });

  it("does not keep a new process from taking over", async () => {
    const { door } = await stuck();
    const before = door.pid;
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    const { pid } = await askStatus(control());
    expect(pid).not.toBe(before);
    process.kill(pid, "SIGTERM");
    await door.child.ended;
  });
});

describe("a stop", () => {
  it("while the configuration is read again: that is not used any more, and nobody is told that all is well", async () => {
    // The order to stop comes with the one to reload, and is heard after it, however late this test is.
    const both = join(scene.folder, "both.mjs");
    writeFileSync(both, 'process.on("SIGHUP", () => process.kill(process.pid, "SIGTERM"));');
    const door = await scene.startDoor(settings(), { prefix: environment(`NODE_OPTIONS=--import=${both}`) });
    door.write(settings(manyNames()));
    process.kill(door.pid, "SIGHUP");
    expect(await door.child.ended).toMatchObject({ status: 0 });
    await until("its word of that", () => manager.messages.at(-1)?.includes("STOPPING=1"));
    expect(manager.messages.some((each) => each.includes("RELOADING=1"))).toBe(true);
    expect(door.log.filter(({ event }) => event === "reloaded")).toEqual([]);
  });

  it("while a new process takes over is that one's, too", async () => {
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(settings(), { program: installed.program });
    const client = await scene.client(hello);
    await scene.doorHas(1);
    installed.replace(`process.on("SIGTERM", () => { console.log("told to stop"); process.exit(0); });
      process.send({ type: "prepared" });
      process.on("message", () => { process.send({ type: "accepting" }); console.log("takes over"); });
      setInterval(() => {}, 1000);`);
    process.kill(door.pid, "SIGUSR2");
    await door.child.line("the take-over", (line) => line === "takes over");
    process.kill(door.pid, "SIGTERM");
    await door.child.line("its stop", (line) => line === "told to stop");
    client.close();
    expect(await door.child.ended).toMatchObject({ status: 0 });
  });

  it("of both processes, as a service manager has it, lets the new one finish what waits", async () => {
    const { door, stopped, client, successor } = await handingOver();
    const held = await scene.client(hello);
    await until("the new process to hold it", async () => {
      const { pid, workers } = await askStatus(control());
      return pid === successor && workers.some(({ held }) => held === 1);
    });
    for (const pid of [successor, door.pid]) process.kill(pid, "SIGTERM");
    await door.event("stopping");
    await scene.raw("app");
    expect(JSON.parse((await held.reply).received.toString())).toMatchObject({ name: "app" });
    stopped.signal("SIGCONT");
    expect(JSON.parse((await client.reply).received.toString())).toMatchObject({ name: "stopped" });
    expect(await door.child.ended).toMatchObject({ status: 0 });
    await until("the new one's end", () => !isAlive(successor));
    const said = door.log.filter(({ event }) => event === "stopped");
    expect(said).toMatchObject([{ message: "stopped", abandoned: 0 }]);
  });
});

describe("a reload that is asked for while something else goes on is done afterwards", () => {
  it("while what it would change is looked up", async () => {
    const door = await scene.startDoor(settings());
    door.write(settings(manyNames()));
    const diff = askTo(control(), "GET", "/diff", { timeout: 60_000 });
    const reload = askTo(control(), "POST", "/reload", { timeout: 60_000 });
    expect((await diff).ok).toBe(true);
    expect(await reload).toMatchObject({ ok: true, message: expect.stringContaining("generation 2 is in force") });
  });

  it("while another one goes on, and each is told of one that began after it asked", async () => {
    const door = await scene.startDoor(settings());
    door.write(settings(manyNames()));
    const answers = await Promise.all([1, 2, 3].map(() => askTo(control(), "POST", "/reload", { timeout: 60_000 })));
    expect(answers.map(({ ok }) => ok)).toEqual([true, true, true]);
    expect((await askStatus(control())).configuration.generation).toBeLessThanOrEqual(4);
    expect(door.log.filter(({ event }) => event === "reloaded").length).toBeGreaterThanOrEqual(1);
  });

  it("while an upgrade fails", async () => {
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(settings("timeouts: { upgrade: 1s }\n"), { program: installed.program });
    installed.replace("setInterval(() => {}, 1000);");
    process.kill(door.pid, "SIGUSR2");
    await door.event("upgrading");
    process.kill(door.pid, "SIGHUP");
    await door.event("upgrade.failed");
    await door.event("reloaded");
  });

  it("while an upgrade succeeds: by the new process", async () => {
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(settings(), { program: installed.program });
    const main = readFileSync(installed.program, "utf8").replace("#!/usr/bin/env node", "");
    installed.replace(`import { existsSync } from "node:fs";
      while (!existsSync("${scene.folder}/asked")) await new Promise((resolve) => setTimeout(resolve, 5));
      ${main}`);
    process.kill(door.pid, "SIGUSR2");
    await door.event("upgrading");
    process.kill(door.pid, "SIGHUP");
    writeFileSync(`${scene.folder}/asked`, "");
    await door.event("upgraded");
    // The process that was started may have ended by then.
    await until("the reload", () => door.log.some(({ event }) => event === "reloaded"));
    process.kill((await askStatus(control())).pid, "SIGTERM");
    await door.child.ended;
  });
});

describe("an upgrade that fails", () => {
  it("as the new process cannot have its metrics address: the control socket stays", async () => {
    const taken = createServer().listen(0, "127.0.0.1");
    await until("the port", () => taken.listening);
    const { port } = taken.address() as { port: number };
    const door = await scene.startDoor(settings());
    door.write(settings(`metrics: { address: "127.0.0.1:${port}" }\n`));
    expect(await askTo(control(), "POST", "/upgrade", { timeout: 30_000 })).toMatchObject({
      ok: false,
      message: expect.stringContaining("metrics"),
    });
    expect((await askStatus(control())).pid).toBe(door.pid);
    taken.close();
  });

  it("in the middle of the take-over: the pidfile names the process that goes on", async () => {
    const { door, successor } = await handingOver();
    const number = () => readFileSync(`${scene.folder}/door.pid`, "utf8");
    expect(number()).toBe(`${successor}\n`);
    process.kill(successor, "SIGKILL");
    await door.event("upgrade.failed");
    expect(number()).toBe(`${door.pid}\n`);
  });

  it("before that: nothing of the pidfile that it had prepared is left", async () => {
    const installed = new Installed(scene.folder);
    const pidfile = `${scene.folder}/door.pid`;
    const door = await scene.startDoor(settings(`pidfile: "${pidfile}"\n`), { program: installed.program });
    installed.replace(`import { writeFileSync } from "node:fs";
      writeFileSync("${pidfile}." + process.pid, "");
      process.kill(process.pid, "SIGKILL");`);
    expect(await door.upgrade()).toMatchObject({ event: "upgrade.failed" });
    expect(readdirSync(scene.folder).filter((name) => name.startsWith("door.pid"))).toEqual(["door.pid"]);
    expect(readFileSync(pidfile, "utf8")).toBe(`${door.pid}\n`);
  });

  it("in the middle of the take-over: the watchdog is fed as before", async () => {
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(settings(), {
      program: installed.program,
      prefix: environment("WATCHDOG_USEC=300000"),
    });
    await scene.client(hello);
    await scene.doorHas(1);
    installed.replace(`process.send({ type: "prepared" });
      process.on("message", () => {
        process.send({ type: "accepting" });
        setTimeout(() => process.exit(9), 500);
      });`);
    expect(await door.upgrade()).toMatchObject({ event: "upgrade.failed" });
    const from = manager.messages.length;
    await until(
      "signs of life",
      () => manager.messages.slice(from).filter((each) => each === "WATCHDOG=1\n").length > 2,
    );
  });

  it("for want of descriptors: each time the old process goes on, and keeps none of its own making", async () => {
    const door = await scene.startDoor(settings(), { workers: 3 });
    const failures: string[] = [];
    const descriptors = async () => (await askStatus(control())).process.descriptors;
    const before = await descriptors();
    for (let room = 0; room < 20; room++) {
      const limit = room + (await descriptors()) - 2;
      await new Child(program("prlimit"), ["--pid", String(door.pid), `--nofile=${limit}:1024`]).ended;
      const from = door.child.lines.length;
      process.kill(door.pid, "SIGUSR2");
      const line = await door.event("upgrade.failed", () => true, from).catch(() => undefined);
      await new Child(program("prlimit"), ["--pid", String(door.pid), "--nofile=1024:1024"]).ended;
      if (line === undefined) break;
      failures.push(line.message);
      expect(await descriptors(), line.message).toBe(before);
    }
    // None for the channels, and none for the child's start.
    for (const call of ["socketpair", "spawn"]) expect(failures.join("\n")).toContain(call);
    expect(door.child.stderr).toBe("");
  });
});

it("the process before an upgrade is killed while the new one still starts: that one serves", async () => {
  const installed = new Installed(scene.folder);
  const door = await scene.startDoor(settings(), { program: installed.program });
  const main = readFileSync(installed.program, "utf8").replace("#!/usr/bin/env node", "");
  installed.replace(`process.kill(process.ppid, "SIGKILL");
    while (process.connected) await new Promise((resolve) => setTimeout(resolve, 5));
    ${main}`);
  const before = door.pid;
  process.kill(before, "SIGUSR2");
  await until("the new process", () => door.log.some(({ event, pid }) => event === "ready" && pid !== before));
  const { pid } = await askStatus(control());
  expect(pid).not.toBe(before);
  process.kill(pid, "SIGTERM");
  await door.child.ended;
});
