/** Floods from the network: what they cost the others, and that nothing of them stays. */
import { writeFileSync } from "node:fs";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { Folder } from "../support/folder.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";
import { residentMib } from "./support/memory.js";
import { Network } from "./support/network.js";
import { expectServed, type Fared, Others } from "./support/others.js";
import { compileFixture } from "./support/programs.js";

/** A descriptor, and what belongs to it, of those that the door may have at once. Mebibytes. */
const ROOM = 48;

const folder = new Folder();
let flood: string;
let network: Network;
let scene: Scene;
let others: Others;

beforeAll(async () => {
  flood = compileFixture("flood", folder.path);
  network = await Network.start();
});

afterAll(() => network.end());

beforeEach(async () => {
  scene = new Scene();
  others = await Others.start(scene.folder);
});

afterEach(async () => {
  await scene.end();
  await others.end();
});

async function startDoor(more = ""): Promise<string> {
  const configuration = `backends: { ${others.backend} }\nroutes: { others.test: others }\naccessLog: off\n${more}`;
  const { port } = await scene.startDoor(configuration, {
    channels: 1,
    host: network.door,
    prefix: network.doorPrefix,
  });
  return `${network.door}:${port}`;
}

const fare = (address: string) => others.fare(address, { prefix: network.clientPrefix });

/** Runs it in the clients' network. */
function attack(...args: readonly string[]): Child {
  const [command, ...prefix] = network.clientPrefix;
  return new Child(command!, [...prefix, flood, ...args]);
}

async function said(child: Child, what: string): Promise<number> {
  return child.line(what, (line) => (JSON.parse(line) as Record<string, number>)[what]);
}

interface Before {
  readonly fared: Fared;
  readonly descriptors: number;
  readonly resident: number;
}

/** Once it has grown its heap and compiled its code. */
async function atFirst(address: string): Promise<Before> {
  const fared = await fare(address);
  const { pid } = scene.door;
  return { fared, descriptors: openDescriptors(pid).length, resident: residentMib(pid) };
}

async function expectAsBefore({ descriptors, resident }: Before): Promise<void> {
  const { pid } = scene.door;
  await until("the descriptors to be as before", () => openDescriptors(pid).length <= descriptors, 60_000);
  expect(residentMib(pid) - resident).toBeLessThan(ROOM);
}

describe("a flood", () => {
  it("of SYNs whose senders do not exist: the kernel answers with cookies, and the door sees nothing of it", async () => {
    const address = await startDoor();
    const first = await atFirst(address);
    const cookies = network.counter("TcpExt", "SyncookiesSent");
    const attacker = attack("syn", address, "20000", "3");
    await until("the queue of SYNs to be full", () => network.counter("TcpExt", "SyncookiesSent") > cookies);
    expectServed("a flood of SYNs", await fare(address), first.fared);
    const sent = await said(attacker, "sent");
    console.log(`${sent} SYNs, ${network.counter("TcpExt", "SyncookiesSent") - cookies} answered with a cookie`);
    await expectAsBefore(first);
    const counters = await scene.door.stop();
    expect(counters).toMatchObject({ no_route: 0, hello_timeout: 0, waiting_full: 0, accept_rested: 0 });
  });

  it("of connections that are reset at once, some after half a hello", async () => {
    const address = await startDoor();
    const first = await atFirst(address);
    const file = folder.write("hello", buildHello({ serverName: "others.test" }));
    const attacker = attack("reset", address, "20000", "3", file);
    expectServed("connections that are reset", await fare(address), first.fared);
    const sent = await said(attacker, "sent");
    console.log(`${sent} connections`);
    await expectAsBefore(first);
    const { client_gone, ...counters } = await scene.door.stop();
    expect(client_gone).toBeGreaterThan(0);
    expect(counters).toMatchObject({ hello_timeout: 0, client_full: 0, waiting_full: 0, lost_after_read: 0 });
  });

  it("of connections that say nothing and stay: the limit for one client holds them, and the others have theirs", async () => {
    const address = await startDoor("limits: { waitingPerClient: 500 }\ntimeouts: { hello: 60s }\n");
    const first = await atFirst(address);
    const file = folder.write("nothing", "\x16");
    const attacker = attack("stay", address, "4000", "1", file);
    await said(attacker, "open");
    expectServed("4,000 connections that stay", await fare(address), first.fared);
    // 500 of them wait, until they go.
    await attacker.end("SIGKILL");
    await expectAsBefore(first);
    const { client_full, ...counters } = await scene.door.stop();
    expect(client_full).toBe(3500);
    expect(counters).toMatchObject({ client_gone: 500, waiting_full: 0, hello_timeout: 0 });
  });

  it("of clients that are refused and do not go: each is told why, and let go of in a second", async () => {
    const address = await startDoor();
    const first = await atFirst(address);
    const file = folder.write("unknown", buildHello({ serverName: "unknown.test" }));
    const attacker = attack("stay", address, "6000", "0", file);
    expectServed("6,000 that are refused and stay", await fare(address), first.fared);
    expect(await said(attacker, "ended")).toBe(6000);
    await expectAsBefore(first);
    expect(await scene.door.stop()).toMatchObject({ no_route: 6000, client_gone: 0 });
  });

  it("of hellos that never end: refused as soon as their length is known, however much follows", async () => {
    const address = await startDoor();
    const first = await atFirst(address);
    const long = folder.at("long");
    // Records of a hello that says it has 60,000 bytes.
    writeFileSync(long, buildHello({ serverName: "others.test", totalLength: 60_000, recordSizes: [16_000] }));
    const attacker = attack("stay", address, "2000", `${1 << 20}`, long);
    expectServed("2,000 that send a megabyte each", await fare(address), first.fared);
    expect(await said(attacker, "ended")).toBe(2000);
    await expectAsBefore(first);
    expect(await scene.door.stop()).toMatchObject({ hello_invalid: 2000, waiting_full: 0 });
  });
});
