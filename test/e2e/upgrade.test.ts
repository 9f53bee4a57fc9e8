/** The program is replaced while it runs: a new process takes everything over, or the old one goes on. */
import { readFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openSockets } from "../support/descriptors.js";
import { Installed } from "../support/installed.js";
import { program } from "../support/programs.js";
import type { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { TlsLoad } from "../support/tls-load.js";
import { below } from "../support/trials.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const hello = Buffer.concat([buildHello({ serverName: "app.test", alpn: ["h2"] }), Buffer.from("END\n")]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const configuration = (more = "") =>
  `backends: { app: { handoff: "${scene.at("app")}", hold: 60s } }\nroutes: { app.test: app }\n${more}`;
const servedBy = async (client: RawClient) => JSON.parse((await client.reply).received.toString()).name;

describe("under load", () => {
  it("20 upgrades: no TLS client of 64 fails", async () => {
    const app = await certificate("app.test");
    for (const name of ["a", "b"]) {
      await scene.backend({ kind: "https", path: scene.at(name), certificate: app, name });
    }
    const settings = `backends: { a: { handoff: "${scene.at("a")}" } }\nroutes: { app.test: a }\n`;
    const door = await scene.startDoor(settings, { workers: 2, channels: 2 });
    const load = await TlsLoad.start({ port: door.port, ca: app.cert, names: ["app.test"] });
    const still = await load.mark(500);
    let longest = 0;
    for (let i = 0; i < 20; i++) {
      expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
      longest = Math.max(longest, (await load.mark(100)).longest);
    }
    const { requests, failures } = await load.stop();
    console.log(
      `20 upgrades, ${requests} requests: slowest ${longest} ms, without upgrades ${still.longest} ms (p99 ${still.p99})`,
    );
    expect(failures).toEqual({});
    await scene.doorHas(0);
    expect(openSockets(door.pid)).toBe(scene.idle);
    await door.stop();
  });
});

describe("what takes over", () => {
  it("gets the connections that wait and those that are held, with their ids and their time of arrival", async () => {
    const door = await scene.startDoor(configuration(), { workers: 2 });
    const held = await Promise.all(Array.from({ length: 300 }, () => scene.client(hello)));
    const partial = await Promise.all(Array.from({ length: 100 }, () => scene.client(hello.subarray(0, 50))));
    const silent = await scene.client();
    await scene.doorHas(401);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 401, defect: 0 } });
    await scene.doorHas(401);
    await scene.raw("app");
    expect(new Set(await Promise.all(held.map(servedBy)))).toEqual(new Set(["app"]));
    for (const client of partial) client.send(hello.subarray(50));
    expect(new Set(await Promise.all(partial.map(servedBy)))).toEqual(new Set(["app"]));
    silent.send(hello);
    expect(await servedBy(silent)).toBe("app");
    scene.idle += 2; // the channels
    expect(await scene.counters()).toMatchObject({ accepted: 0, adopted: 401, acknowledged: 401, defect: 0 });
  });

  it("gets all of them where a stop would wait for nobody", async () => {
    const door = await scene.startDoor(configuration("timeouts: { drain: 0, hello: 60s }\n"));
    await Promise.all(Array.from({ length: 300 }, (_, i) => scene.client(hello.subarray(0, i < 150 ? 50 : undefined))));
    await scene.doorHas(300);
    expect(await door.upgrade()).toMatchObject({ event: "upgraded", counters: { passed_on: 300, abandoned: 0 } });
    await scene.doorHas(300);
    for (const client of scene.clients) client.close();
    await scene.counters();
  });

  it("keeps to the deadline of a hello that began before", async () => {
    const door = await scene.startDoor(configuration("timeouts: { hello: 8s }\n"));
    await below("milliseconds", 11_000, async (count) => {
      const client = await scene.client(hello.subarray(0, 50));
      await scene.doorHas(1);
      // From then on anew it would be 11 s at least.
      await new Promise((resolve) => setTimeout(resolve, 3000));
      const { counters } = await door.upgrade();
      expect((await client.reply).end).toBe("FIN");
      const lines = () => door.log.filter(({ outcome }) => outcome === "timeout");
      const line = await until("the line", () => lines()[count - 1]);
      // On a busy machine its time may be over before it is passed on.
      return (counters as { passed_on: number }).passed_on === 1 ? Number(line.waited_ms) : Number.POSITIVE_INFINITY;
    });
    // Of the process that had it last.
    expect(await scene.counters()).toMatchObject({ adopted: 1, hello_timeout: 1 });
  });

  it("is the program as it is on the disk now, with the configuration as it is now", async () => {
    await scene.raw("app");
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(configuration(), { program: installed.program, channels: 1 });
    installed.replace(
      `console.log('{"event":"replaced"}');\n${readFileSync(installed.program, "utf8").replace("#!/usr/bin/env node", "")}`,
    );
    door.write(configuration(`default: app\n`));
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    expect(door.log.some(({ event }) => event === "replaced")).toBe(true);
    const other = Buffer.concat([buildHello({ serverName: "other.test" }), Buffer.from("END\n")]);
    expect(await servedBy(await scene.client(other))).toBe("app");
    expect(await scene.counters()).toMatchObject({ acknowledged: 1, defect: 0 });
  });

  it("has what it writes to standard error where it was, when the process before is gone", async () => {
    const installed = new Installed(scene.folder);
    const door = await scene.startDoor(configuration(), { program: installed.program });
    const main = readFileSync(installed.program, "utf8").replace("#!/usr/bin/env node", "");
    installed.replace(`process.on("SIGWINCH", () => process.stderr.write("still here"));\n${main}`);
    await door.upgrade();
    process.kill(door.pid, "SIGWINCH");
    await until("what it says", () => door.child.stderr.includes("still here"));
    await scene.counters();
  });
});

describe("a new program that cannot take over: the old one goes on, and says why", () => {
  const cases: readonly [string, string | undefined, string, RegExp][] = [
    ["it crashes at its start", "throw new Error('broken release');", "", /broken release/],
    ["it ends without a word", "process.exit(3);", "", /ended with status 3 before it was ready/],
    ["it hangs", "setInterval(() => {}, 1000);", "timeouts: { upgrade: 2s, hello: 60s }\n", /not ready within 2 s/],
    ["its configuration is wrong", undefined, "rutes: {}\n", /rutes/],
    [
      "it is ready, and dies instead of accepting",
      'process.send({ type: "prepared" }); process.on("message", () => process.exit(7));',
      "",
      /ended with status 7/,
    ],
  ];
  it.each(cases)("%s", async (_title, main, wrong, why) => {
    const app = await certificate("app.test");
    await scene.backend({ kind: "https", path: scene.at("app"), certificate: app });
    const installed = new Installed(scene.folder);
    const timeouts = wrong.startsWith("timeouts") ? wrong : "";
    const door = await scene.startDoor(configuration(timeouts), { program: installed.program, channels: 1 });
    const load = await TlsLoad.start({ port: door.port, ca: app.cert, names: ["app.test"], clients: 16 });
    if (main !== undefined) installed.replace(main);
    else door.write(configuration(wrong));
    const before = door.pid;
    const line = await door.upgrade();
    expect(line).toMatchObject({ event: "upgrade.failed", level: "error" });
    expect(line.message).toMatch(why);
    expect(line.message).toContain(`process ${before} stays in charge`);
    await load.mark(50);
    expect((await load.stop()).failures).toEqual({});
    await scene.doorHas(0);
    // And the next one succeeds.
    installed.replace();
    door.write(configuration());
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    await scene.counters();
  });

  it("a new process that is killed while it takes over: its clients come back", async () => {
    const installed = new Installed(scene.folder);
    const stuck = `import { native } from "../native/addon.js";
      process.send({ type: "prepared" });
      process.on("message", () => {
        process.send({ type: "accepting" });
        setTimeout(() => process.exit(9), 500);
      });`;
    await scene.startDoor(configuration(), { program: installed.program });
    const held = await scene.client(hello);
    await scene.doorHas(1);
    installed.replace(stuck);
    const line = await scene.door.upgrade();
    expect(line).toMatchObject({ event: "upgrade.failed" });
    await scene.raw("app");
    expect(await servedBy(held)).toBe("app");
    expect(await servedBy(await scene.client(hello))).toBe("app");
    scene.idle += 1; // the channel
    expect(await scene.counters()).toMatchObject({ acknowledged: 2, defect: 0 });
  });

  it("as process 1 of a container it is refused", async () => {
    await scene.startDoor(configuration(), { prefix: [program("unshare"), "--pid", "--fork", "--kill-child"] });
    const [child] = readFileSync(`/proc/${scene.door.pid}/task/${scene.door.pid}/children`, "utf8").trim().split(" ");
    process.kill(Number(child), "SIGUSR2");
    const line = await scene.door.event("upgrade.failed");
    expect(line.message).toMatch(/process 1/);
    await new Child("kill", ["-TERM", child!]).ended;
    await scene.door.child.ended;
  });
});
