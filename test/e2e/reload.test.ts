/** A new configuration while clients come: nobody is lost, and a wrong one changes nothing. */
import { once } from "node:events";
import { rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { TlsLoad } from "../support/tls-load.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const END = Buffer.from("END\n");
const hello = (serverName: string) => Buffer.concat([buildHello({ serverName }), END]);
let scene: Scene;

beforeEach(() => {
  scene = new Scene();
});

afterEach(() => scene.end());

const backends = () => `backends:
  blue: { handoff: "${scene.at("blue")}", hold: 30s }
  green: { handoff: "${scene.at("green")}", hold: 30s }
  nobody: { handoff: "${scene.at("nobody")}", hold: 30s }
`;
const routed = (backend: string) => `${backends()}routes: { app.test: ${backend} }\n`;
const servedBy = async (client: RawClient) => JSON.parse((await client.reply).received.toString()).name;

describe("under load", () => {
  it("100 reloads: no TLS client of 64 fails", async () => {
    const app = await certificate("a.test", "b.test");
    for (const name of ["one", "two"]) await scene.backend({ kind: "https", path: scene.at(name), certificate: app });
    const generation = (number: number) => `backends:
  one: { handoff: "${scene.at("one")}" }
  two: { handoff: "${scene.at("two")}" }
routes: { a.test: ${number % 2 ? "one" : "two"}, b.test: ${number % 2 ? "two" : "one"} }
`;
    const door = await scene.startDoor(generation(0), { workers: 2, channels: 4 });
    const load = await TlsLoad.start({ port: door.port, ca: app.cert, names: ["a.test", "b.test"] });
    const still = await load.mark(500);
    for (let number = 1; number <= 100; number++) {
      door.write(generation(number));
      expect(await door.reload()).toMatchObject({ event: "reloaded", generation: number + 1 });
    }
    const during = await load.mark();
    const { requests, failures } = await load.stop();
    console.log(
      `100 reloads, ${requests} requests: slowest ${during.longest} ms (p99 ${during.p99}), without reloads ${still.longest} ms (p99 ${still.p99})`,
    );
    expect(failures).toEqual({});
    expect(await scene.counters()).toMatchObject({ accepted: requests, acknowledged: requests, defect: 0 });
  });
});

describe("what changes", () => {
  it("routes, for those who are held and for those whose hello is not complete as well", async () => {
    for (const name of ["blue", "green"]) await scene.raw(name);
    const door = await scene.startDoor(routed("nobody"), { channels: 2 });
    const held = await scene.client(hello("app.test"));
    const partial = await scene.client(hello("app.test").subarray(0, 40));
    await scene.doorHas(2);
    door.write(routed("green"));
    await door.reload();
    expect(await servedBy(held)).toBe("green");
    partial.send(hello("app.test").subarray(40));
    expect(await servedBy(partial)).toBe("green");
    door.write(routed("blue"));
    await door.reload();
    expect(await servedBy(await scene.client(hello("app.test")))).toBe("blue");
    expect(await scene.counters()).toMatchObject({ accepted: 3, acknowledged: 3, defect: 0 });
  });

  it("listeners: a new one answers, a removed one is finished and closed, the others are not touched", async () => {
    await scene.raw("blue");
    const door = await scene.startDoor(routed("blue"), { channels: 1 });
    const rest = `workers: 1\nlog: { level: debug }\n${routed("blue")}`;
    const stays = `{ address: "127.0.0.1:${door.port}" }`;
    door.write(`listeners: [${stays}, { address: "127.0.0.2:0" }]\n${rest}`, { whole: true });
    const second = (await door.reload()).listeners as string[];
    expect(second).toHaveLength(2);
    const port = Number(second[1]!.split(":").at(-1));
    const partial = await RawClient.connect(port, undefined, "127.0.0.2");
    scene.clients.push(partial);
    partial.send(hello("app.test").subarray(0, 30));
    await until("the client to be accepted", () => openSockets(door.pid) === scene.idle + 2);
    door.write(`listeners: [${stays}]\n${rest}`, { whole: true });
    expect((await door.reload()).listeners).toEqual([`127.0.0.1:${door.port}`]);
    await expect(RawClient.connect(port, undefined, "127.0.0.2")).rejects.toThrow("ECONNREFUSED");
    partial.send(hello("app.test").subarray(30));
    expect(await servedBy(partial)).toBe("blue");
    expect(await servedBy(await scene.client(hello("app.test")))).toBe("blue");
    expect(await scene.counters()).toMatchObject({ accepted: 2, acknowledged: 2, defect: 0 });
  });

  it("the log's level", async () => {
    const door = await scene.startDoor(routed("blue"));
    const { port } = door;
    const logging = (level: string) => {
      const text = `listeners: [{ address: "127.0.0.1:${port}" }]\nlog: { level: ${level} }\n${routed("blue")}`;
      door.write(text, { whole: true });
    };
    logging("warn");
    process.kill(door.pid, "SIGHUP");
    await until("the new level", () => door.log.some(({ event, to }) => event === "log.level" && to === "warn"));
    logging("info");
    process.kill(door.pid, "SIGHUP");
    await until("the old level", () => door.log.some(({ event, to }) => event === "log.level" && to === "info"));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect(door.log.filter(({ event }) => event === "reloaded")).toHaveLength(2);
  });
});

describe("a wrong configuration changes nothing, and the log says why", () => {
  it.each([
    ["no YAML", "listeners: [", /line|YAML/],
    ["an unknown key", "listeners: [{ address: '127.0.0.1:0' }]\nbackend: {}\n", /backend/],
    ["a file that is gone", undefined, /cannot be read/],
    [
      "an address in use",
      "listeners: [{ address: '127.0.0.1:PORT' }]\nbackends: {}\n",
      /process [0-9]+ \(node\) listens there/,
    ],
  ])("%s", async (_title, text, why) => {
    await scene.raw("blue");
    const other = createServer().listen(0, "127.0.0.1");
    await once(other, "listening");
    const door = await scene.startDoor(routed("blue"), { channels: 1 });
    const before = openSockets(door.pid);
    const { port } = other.address() as AddressInfo;
    if (text === undefined) rmSync(door.file);
    else door.write(text.replace("PORT", String(port)), { whole: true });
    const line = await door.reload();
    expect(line).toMatchObject({ event: "reload.failed", level: "error" });
    expect(JSON.stringify(line.problems)).toMatch(why);
    expect(await servedBy(await scene.client(hello("app.test")))).toBe("blue");
    await until("the door to have what it had", () => openSockets(door.pid) === before);
    door.write(routed("blue"));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    other.close();
    expect(await scene.counters()).toMatchObject({ accepted: 1, acknowledged: 1, defect: 0 });
  });
});
