/**
 * A backend that was broken into, and one that is only slow: whatever an instance does, clients of other backends are
 * served as before, and the door is not kept busy once it has stopped. (That its own clients are served by the backend's
 * other instances: test/e2e/rogues.test.ts.)
 */
import { chmodSync, chownSync, mkdirSync, writeFileSync } from "node:fs";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { compilePrograms } from "../../bench/compile.mjs";
import { clientHello } from "../../bench/hello.mjs";
import { Child } from "../support/child.js";
import { openSockets } from "../support/descriptors.js";
import type { DoorOptions } from "../support/door-process.js";
import { Folder } from "../support/folder.js";
import { processorShare } from "../support/process-limits.js";
import { program } from "../support/programs.js";
import { inParallel } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";
import { expectServed, Others } from "./support/others.js";
import { compileFixture, compileLibrary } from "./support/programs.js";
import { startRogue } from "./support/rogue.js";

/** Of a processor: a door that has nothing to do takes less. */
const IDLE = 0.2;
const NOBODY = 65534;

const folder = new Folder();
let rogueProgram: string;
let load: string;
let scene: Scene;
let others: Others;
let rogue: Child | undefined;

beforeAll(async () => {
  rogueProgram = compileFixture("rogue", folder.path);
  ({ load } = await compilePrograms());
});

beforeEach(async () => {
  scene = new Scene();
  chmodSync(scene.folder, 0o755);
  others = await Others.start(scene.folder);
});

afterEach(async () => {
  await rogue?.end("SIGKILL");
  rogue = undefined;
  await scene.end();
  await others.end();
});

/** A door for the rogue's backend, and the others'. Resolves to its address. */
async function startDoor(settings: string, channels = 2, options: DoorOptions = {}): Promise<string> {
  await scene.startDoor(
    `backends:
  rogue: { ${settings} }
  ${others.backend}
routes: { rogue.test: rogue, others.test: others }
accessLog: off
`,
    { ...options, channels },
  );
  return `127.0.0.1:${scene.door.port}`;
}

/** Clients of the rogue, until they are ended: so many at once, each as soon as the one before has an end. */
function clientsOfRogue(address: string, count: number): Child {
  const hello = folder.at("rogue.hello");
  writeFileSync(hello, clientHello("rogue.test", 517));
  return new Child(load, ["-f", hello, "-c", `${count}`, "-w", "0", "-d", "3600", "-T", "3000", address]);
}

const pathOfRogue = () => `${scene.folder}/rogue.sock`;

describe("an instance that", () => {
  it.each(["never", "ahead", "refuses", "late", "talks"])(
    "%s (fixtures/rogue.c): clients of other backends are served as before",
    async (behaviour) => {
      const address = await startDoor(`handoff: "${pathOfRogue()}", hold: 1s`, 1);
      const before = await others.fare(address);
      rogue = await startRogue(rogueProgram, pathOfRogue(), behaviour);
      await scene.door.instances("rogue", 1);
      const clients = clientsOfRogue(address, 200);
      const fared = await others.fare(address);
      await clients.end("SIGKILL");
      expectServed(`an instance that does as "${behaviour}"`, fared, before);
      await rogue.end("SIGKILL");
      await until("the door to let go of its clients", () => openSockets(scene.door.pid) <= scene.idle);
      await until("the door to be idle", async () => (await processorShare(scene.door.pid)) < IDLE);
      await scene.door.stop();
    },
  );

  it("never stops talking: its channel is closed, and the log says why", async () => {
    rogue = await startRogue(rogueProgram, pathOfRogue(), "talks");
    await startDoor(`handoff: "${pathOfRogue()}"`, 1);
    const line = await scene.door.event("channel.violation");
    expect(line).toMatchObject({ backend: "rogue", pid: rogue.pid });
    expect(line.message).toContain("more than 1024 messages without a pause");
  });

  /** Clients that read nothing, so that nothing can be sent to them. */
  async function lingering(count: number): Promise<void> {
    await inParallel(Array(count).fill(buildHello({ serverName: "rogue.test" })), 50, async (bytes) => {
      const client = await scene.client(bytes);
      client.socket.pause();
    });
    await rogue!.line("all to linger", (line) => line === `{"lingering":${count}}`);
  }

  it("sets SO_LINGER, fills the buffer and leaves the last copy to the door: no worker waits in close(2)", async () => {
    rogue = await startRogue(rogueProgram, pathOfRogue(), "lingers");
    const address = await startDoor(`handoff: "${pathOfRogue()}"`);
    const before = await others.fare(address);
    await lingering(200);
    expectServed("200 closes that would linger for an hour", await others.fare(address), before);
    for (const client of scene.clients) client.reset();
    await until("the door to have closed them", () => openSockets(scene.door.pid) <= scene.idle);
    const counters = await scene.door.stop();
    // 64 wait in the thread's queue, and one in its close: the others do not linger.
    expect(counters.lingering_closes).toBeGreaterThan(0);
    expect(counters).toMatchObject({ lost_after_read: 0 });
  });

  it("sets it in the very moment in which the door closes: that close is cut short", async () => {
    rogue = await startRogue(rogueProgram, pathOfRogue(), "lingers");
    const prefix = [program("env"), `LD_PRELOAD=${compileLibrary("blind", folder.path)}`];
    const address = await startDoor(`handoff: "${pathOfRogue()}"`, 2, { prefix });
    const before = await others.fare(address);
    const count = 50;
    await lingering(count);
    await until("the door to have closed them", () => openSockets(scene.door.pid) <= scene.idle);
    expectServed(`${count} closes that linger unforeseen`, await others.fare(address), before);
    expect(await scene.door.stop()).toMatchObject({ lingering_closes: 0, lost_after_read: 0 });
  });

  it.each([
    ["has thousands of sockets in its folder", 3000],
    ["has more than ten thousand", 12_000],
  ])("%s: a part of them is used, the log says so, and the door has descriptors left", async (_what, count) => {
    const pool = `${scene.folder}/pool`;
    mkdirSync(pool, { mode: 0o755 });
    chownSync(pool, NOBODY, NOBODY);
    const prefix = [program("setpriv"), `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"];
    chmodSync(folder.path, 0o755);
    const address = await startDoor(`handoff: "${pool}/", hold: 1s`, 1);
    const before = await others.fare(address);
    rogue = await startRogue(rogueProgram, pool, "many", { count, prefix });
    expect(await scene.door.event("instances.too_many")).toMatchObject({ level: "error", path: `${pool}/` });
    const clients = clientsOfRogue(address, 100);
    expectServed(`${count} sockets of one backend`, await others.fare(address), before);
    await clients.end("SIGKILL");
    await until("the door to have few sockets", () => openSockets(scene.door.pid) - scene.idle <= 256);
    expect(scene.door.log.filter(({ event }) => event === "instances.too_many")).toHaveLength(1);
  });
});

describe("a backend that is slow", () => {
  it("its clients are held up to the limits, those of others wait for none of them, and in the end all are served", async () => {
    const slow = await scene.backend({ kind: "raw", path: pathOfRogue(), name: "slow" });
    const address = await startDoor(`handoff: "${pathOfRogue()}", hold: 10m, acknowledgeTimeout: 10m`);
    const before = await others.fare(address);
    slow.signal("SIGSTOP");
    const hello = Buffer.concat([buildHello({ serverName: "rogue.test" }), Buffer.from("END\n")]);
    const count = 1000;
    await inParallel(Array(count).fill(hello), 100, async (bytes) => {
      await scene.client(bytes);
    });
    await scene.doorHas(count);
    expectServed(`${count} clients of a backend that stands still`, await others.fare(address), before);
    slow.signal("SIGCONT");
    const replies = await Promise.all(scene.clients.map((client) => client.reply));
    expect(replies.map(({ received }) => JSON.parse(received.toString()).name)).toEqual(Array(count).fill("slow"));
    const counters = await scene.counters();
    expect(counters).toMatchObject({ hold_full: 0, hold_timeout: 0, client_gone: 0, lost_after_read: 0 });
  });

  it("and takes one at a time: the others do not wait", async () => {
    rogue = await startRogue(rogueProgram, pathOfRogue(), "late");
    const address = await startDoor(`handoff: "${pathOfRogue()}", maxHeld: 100`);
    const before = await others.fare(address);
    const clients = clientsOfRogue(address, 1000);
    expectServed("1,000 clients of a backend that takes one in 400 ms", await others.fare(address), before);
    await clients.end("SIGKILL");
    await scene.door.stop();
  });
});
