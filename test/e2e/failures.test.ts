/** A door that cannot start, or cannot go on, ends, says why, and leaves nothing behind. */
import { once } from "node:events";
import { appendFileSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { Installed } from "../support/installed.js";
import { Scene } from "../support/scene.js";

let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const main = new URL("../../dist/cli/main.js", import.meta.url).pathname;
const at = (name: string) => join(scene.folder, name);
const configuration = (pidfile = "door.pid", address = "127.0.0.1:0") => `listeners: [{ address: "${address}" }]
control: ${at("control.sock")}
pidfile: ${at(pidfile)}
workers: 2
backends: { app: { handoff: "${at("app.sock")}" } }
routes: { app.test: app }
`;

/** Serves until it ends by itself. */
async function serve(text: string, program = main) {
  writeFileSync(at("door.yaml"), text);
  const child = new Child(process.execPath, [program, "serve", "--config", at("door.yaml")]);
  const { status } = await child.ended;
  return { status, said: child.stderr, lines: child.lines };
}

/** Makes the workers of a copy of the program throw: at their start, or later. */
function breakWorkers(code: string): string {
  const installed = new Installed(scene.folder);
  breakWorkersOf(installed, code);
  return installed.program;
}

function breakWorkersOf(installed: Installed, code: string): void {
  appendFileSync(join(installed.folder, "dist", "door", "worker.js"), `\n${code}\n`);
  installed.unbundle();
}

describe("a door that cannot start", () => {
  it.each([
    ["is in no folder", "missing/door.pid", "its folder does not exist; create it"],
    ["is a folder", "folder", "it is a folder"],
  ])("because its pidfile %s", async (_title, pidfile, why) => {
    mkdirSync(at("folder"));
    const { status, said } = await serve(configuration(pidfile));
    expect(said).toBe(`cannot write the pidfile ${at(pidfile)}: ${why}\n`);
    expect(status).toBe(1);
    expect(readdirSync(scene.folder).sort()).toEqual(["door.yaml", "folder"]);
  });

  it("because its port is taken", async () => {
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const address = `127.0.0.1:${(other.address() as AddressInfo).port}`;
    const { status, said } = await serve(configuration("door.pid", address));
    other.close();
    expect(said).toContain(`cannot listen on ${address}`);
    expect(said).toContain(`process ${process.pid} (`);
    expect(status).toBe(1);
    expect(readdirSync(scene.folder)).toEqual(["door.yaml"]);
  });

  it("because its workers can't", async () => {
    const program = breakWorkers(`throw new Error("no worker today");`);
    const { status, said } = await serve(configuration(), program);
    expect(said).toBe("a worker cannot be started: no worker today\n");
    expect(status).toBe(1);
    expect(readdirSync(scene.folder).sort()).toEqual(["door.yaml", "installed"]);
  });
});

describe("a door one of whose workers dies", () => {
  // It is asked for signs of life once the door is ready.
  const dies = `import { threadId } from "node:worker_threads";
    port.on("message", ({ type }) => { if (threadId === 1 && type === "ping") throw new Error("gone"); });`;

  it("ends as a whole, with status 1", async () => {
    const { status, lines } = await serve(configuration(), breakWorkers(dies));
    const log = lines.map((line) => JSON.parse(line));
    expect(log.some(({ event }) => event === "ready")).toBe(true);
    const died = { level: "fatal", event: "worker.died", message: "a worker died: gone" };
    expect(log.at(-1)).toMatchObject({ ...died, stack: expect.stringContaining("worker.js") });
    expect(status).toBe(1);
    expect(existsSync(at("control.sock"))).toBe(false);
    expect(existsSync(at("door.pid"))).toBe(false);
  });
});

describe("a process of an upgrade that cannot start", () => {
  it.each([
    ["has no place for its pidfile", "missing/door.pid", /cannot write the pidfile .*: its folder does not exist/],
    ["has workers that can't", undefined, /a worker cannot be started: no worker today/],
  ])("because it %s leaves the one before in charge", async (_title, pidfile, why) => {
    const installed = new Installed(scene.folder);
    const rest = (file: string) => `control: ${at("control.sock")}\npidfile: ${at(file)}\nbackends: {}\n`;
    const door = await scene.startDoor(rest("door.pid"), { program: installed.program, workers: 2 });
    if (pidfile !== undefined) door.write(rest(pidfile));
    else {
      installed.replace();
      breakWorkersOf(installed, `throw new Error("no worker today");`);
    }
    const line = await door.upgrade();
    expect(line).toMatchObject({ event: "upgrade.failed" });
    expect(line.message).toMatch(why);
    expect(readFileSync(at("door.pid"), "utf8")).toBe(`${door.pid}\n`);
    expect(existsSync(at("control.sock"))).toBe(true);
    await scene.counters();
    expect(existsSync(at("control.sock"))).toBe(false);
  });
});
