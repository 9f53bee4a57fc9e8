/** nginx as Debian builds it, unchanged, behind the door: under the preload library its own listen() receives. */
import { chmodSync, existsSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isAsleep } from "../support/asleep.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openDescriptors } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { childrenOf, connectionsOf } from "../support/process-status.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { freePort } from "./support/free-port.js";
import { leftInQueue } from "./support/left-in-queue.js";
import { ANSWER_END, Nginx, type NginxStart } from "./support/nginx.js";
import { helpers, preloaded } from "./support/preload.js";
import { conformance } from "./support/receiver-trials.js";
import { Requests, type RequestsSummary } from "./support/requests.js";

const NAME = "app.test";
/** Kept connections have a name of their own, to tell them in the access log. */
const KEPT = "kept.app.test";
const CLIENTS = 32;
const RELOADS = 50;
const UPGRADES = 5;

let app: Certificate;
let scene: Scene;
const running: Nginx[] = [];

beforeAll(async () => {
  app = await certificate(NAME, KEPT);
});

beforeEach(() => {
  scene = new Scene();
});

afterEach(async () => {
  for (const nginx of running.splice(0)) await nginx.end("SIGTERM");
  await until("the helpers to end", () => helpers().length === 0);
  await scene.end();
});

/** nginx under the library; `listen` is its `listen`s, received on the path beside each. */
async function startNginx(listen: Readonly<Record<string, string>>, more: Partial<NginxStart> = {}): Promise<Nginx> {
  const nginx = await Nginx.start(received(listen, more));
  running.push(nginx);
  return nginx;
}

function received(listen: Readonly<Record<string, string>>, more: Partial<NginxStart> = {}): NginxStart {
  const addresses = Object.fromEntries(Object.entries(listen).map(([value, path]) => [value.split(" ")[0], path]));
  return {
    folder: scene.folder,
    certificate: app,
    listen: Object.keys(listen),
    environment: preloaded(addresses),
    ...more,
  };
}

function startDoor(more = ""): Promise<DoorProcess> {
  return scene.startDoor(configuration(more), { channels: 1 });
}

function configuration(more = ""): string {
  const backends = `backends: { app: { handoff: "${scene.at("app")}"${more} } }\n`;
  return `${backends}routes: { ${NAME}: app, ${KEPT}: app }\n`;
}

/** Requests until nginx has served so many, by so many workers. */
async function load(nginx: Nginx, requests: number, workers = 1): Promise<RequestsSummary> {
  const clients = await Requests.start({ port: scene.door.port, name: NAME, ending: ANSWER_END });
  const before = nginx.served.length;
  await until(`${requests} requests`, () => nginx.served.length >= before + requests);
  await until(`${workers} workers to serve`, () => workersOf(nginx).size >= workers);
  return clients.stop();
}

function workersOf(nginx: Nginx): Set<number> {
  return new Set(nginx.served.map(({ worker }) => worker));
}

/** Each request was served, once, and its client's own address is in the log, which comes after the answer. */
async function expectServedOnce(nginx: Nginx, { completed, failed, failures }: RequestsSummary): Promise<void> {
  expect(failed, JSON.stringify(failures)).toBe(0);
  await until("all requests in the log", () => nginx.served.filter(({ name }) => name === NAME).length >= completed);
  const served = nginx.served.filter(({ name }) => name === NAME);
  expect(served.length).toBe(completed);
  expect(served.filter(({ status, client }) => status !== 200 || !/^127\.64\.\d+\.\d+:\d+$/.test(client))).toEqual([]);
}

/** What is left when nginx has quit: nothing. */
async function expectNothingLeft(nginx: Nginx): Promise<void> {
  await nginx.end();
  await until("the helpers to end", () => helpers().length === 0);
  expect(existsSync(scene.at("app"))).toBe(false);
}

const LISTEN = "0.0.0.0:443";

const ways: readonly [string, string, Partial<NginxStart>][] = [
  ["two workers", LISTEN, {}],
  ["as a daemon", LISTEN, { daemon: true }],
  ["four workers that take turns (accept_mutex)", LISTEN, { workers: 4, events: "accept_mutex on;" }],
  ["multi_accept", LISTEN, { events: "multi_accept on;" }],
  ["accept_mutex and multi_accept", LISTEN, { events: "accept_mutex on; multi_accept on;" }],
  ["reuseport: a listener for each worker", `${LISTEN} reuseport`, {}],
  ["one address", "127.0.0.1:443", {}],
  ["socket options", `${LISTEN} deferred backlog=4096 so_keepalive=on fastopen=16 rcvbuf=64k`, {}],
];

describe("as it is configured", () => {
  it.each(ways)("%s: every request is served once, from its client's address", async (_, listen, more) => {
    const nginx = await startNginx({ [listen]: scene.at("app") }, more);
    await startDoor();
    const summary = await load(nginx, 300, 2);
    await expectServedOnce(nginx, summary);
    // nginx asks the socket only where its listener has no address of its own.
    const server = listen.startsWith("0.0.0.0") ? `127.0.0.1:${scene.door.port}` : listen;
    expect(new Set(nginx.served.map(({ server }) => server))).toEqual(new Set([server]));
    await expectNothingLeft(nginx);
    expect(await scene.door.stop()).toMatchObject({
      acknowledged: summary.completed,
      lost_after_read: 0,
      refused_by_instance: 0,
    });
  });
});

describe("while it is operated under load", () => {
  it(`${RELOADS} reloads, ${UPGRADES} upgrades and one undone: no request of its own connection fails, kept ones as without the library`, async () => {
    const operate = async (nginx: Nginx, port: number) => {
      const each = await Requests.start({ port, name: NAME, ending: ANSWER_END });
      const kept = await Requests.start({ port, name: KEPT, clients: CLIENTS, ending: ANSWER_END, keep: true });
      for (let i = 0; i < RELOADS; i++) await nginx.reload();
      for (let i = 0; i < UPGRADES; i++) await nginx.upgrade();
      await nginx.rollBack();
      return { each: await each.stop(), kept: await kept.stop() };
    };

    const nginx = await startNginx({ [LISTEN]: scene.at("app") }, { daemon: true });
    await startDoor();
    const first = (await load(nginx, 50)).completed;
    const before = await descriptors(nginx);
    const port = await freePort();
    const own = await Nginx.start({
      ...{ folder: scene.folder, name: "own", certificate: app, daemon: true },
      listen: [`127.0.0.1:${port}`],
    });
    running.push(own);
    // At the same time: how many are lost depends on who gets a processor when, the clients or nginx.
    const [received, accepted] = await Promise.all([operate(nginx, scene.door.port), operate(own, port)]);
    await expectServedOnce(nginx, { ...received.each, completed: received.each.completed + first });
    await expectDescriptors(nginx, before);
    await expectNothingLeft(nginx);
    console.log(
      `lost of kept connections: ${lost(received.kept)} received, ${lost(accepted.kept)} accepted by nginx itself; ` +
        `of a connection a request: ${lost(received.each)} and ${lost(accepted.each)}`,
    );
    // An idle connection is closed by a worker that ends, whether it was received or accepted: at most one a client.
    const { closed, reset, ...others } = received.kept.failures;
    expect(Object.values(others).every((times) => times === 0)).toBe(true);
    expect(closed! + reset!).toBeLessThanOrEqual(CLIENTS * (RELOADS + UPGRADES + 2));
    expect(closed! + reset!).toBeLessThanOrEqual(3 * accepted.kept.failed + 2 * RELOADS);
  });

  it("quit and started again while the door holds: none fails that was not long in its queue", async () => {
    let nginx = await startNginx({ [LISTEN]: scene.at("app") });
    await scene.startDoor(`accessLog: all\n${configuration(", hold: 1m")}`, { channels: 1 });
    const clients = await Requests.start({ port: scene.door.port, name: NAME, ending: ANSWER_END });
    for (let i = 0; i < 5; i++) {
      const before = nginx.served.length;
      await until("some requests", () => nginx.served.length > before + 50);
      await expectNothingLeft(nginx);
      nginx = await startNginx({ [LISTEN]: scene.at("app") });
    }
    const { completed, failed, failures } = await clients.stop();
    const { reset, ...others } = failures;
    expect(
      Object.values(others).filter((times) => times > 0),
      JSON.stringify(failures),
    ).toEqual([]);
    await expectServedOnce(nginx, { completed, connections: completed, failed: failed - reset!, failures });
    await nginx.end();
    expect(await scene.door.stop()).toMatchObject({ lost_after_read: 0, hold_timeout: 0 });
    const served = new Set(nginx.served.map(({ client }) => client));
    expect([...leftInQueue(scene.door.log)].filter((client) => !served.has(client))).toHaveLength(reset!);
  });

  it("its helper killed: another one takes over, nothing is lost and nothing served twice", async () => {
    const nginx = await startNginx({ [LISTEN]: scene.at("app") });
    await startDoor(", hold: 1m");
    const { length: count } = helpers();
    let before: Record<string, number> | undefined;
    let completed = 0;
    // Each of the two processes in turn; descriptors are counted once both have been replaced.
    for (const kills of [2, 10]) {
      const clients = await Requests.start({ port: scene.door.port, name: NAME, ending: ANSWER_END });
      for (let i = 0; i < kills; i++) {
        const served = nginx.served.length;
        await until("some requests", () => nginx.served.length > served + 50);
        const helper = helpers()[i % count]!;
        process.kill(helper, "SIGKILL");
        await until("another helper", () => helpers().length === count && !helpers().includes(helper));
      }
      const summary = await clients.stop();
      completed += summary.completed;
      await expectServedOnce(nginx, { ...summary, completed });
      before ??= await descriptors(nginx);
    }
    await expectDescriptors(nginx, before!);
    await expectNothingLeft(nginx);
  });

  it("HTTP/2 over 200 connections, by h2load: none fails", async () => {
    const nginx = await startNginx({ [LISTEN]: scene.at("app") }, { workers: 4 });
    await startDoor();
    const to = `--connect-to=127.0.0.1:${scene.door.port}`;
    const client = new Child(program("h2load"), ["-n", "20000", "-c", "200", "-m", "10", to, `https://${NAME}/`]);
    await client.ended;
    expect(client.lines.find((line) => line.startsWith("requests:"))).toBe(
      "requests: 20000 total, 20000 started, 20000 done, 20000 succeeded, 0 failed, 0 errored, 0 timeout",
    );
    await until("all requests in the log", () => nginx.served.length >= 20_000);
    expect(nginx.served.length).toBe(20_000);
    expect(workersOf(nginx).size).toBeGreaterThan(1);
    await expectNothingLeft(nginx);
    expect(await scene.door.stop()).toMatchObject({ acknowledged: 200 });
  });
});

it("several listeners, of both families and of all addresses, each with its own path", async () => {
  const names = ["any4.test", "any6.test", "one4.test", "one6.test"];
  const certified = await certificate(...names);
  const path = (name: string) => scene.at(name);
  const nginx = await startNginx(
    {
      "0.0.0.0:443": path("any4.test"),
      "[::]:443 ipv6only=on": path("any6.test"),
      "127.0.0.1:8443": path("one4.test"),
      "[::1]:8443": path("one6.test"),
    },
    { certificate: certified },
  );
  expect(helpers().length).toBeGreaterThan(0);
  const backends = names.map((name) => `  ${name}: { handoff: "${path(name)}" }\n`).join("");
  const routes = names.map((name) => `  ${name}: ${name}\n`).join("");
  const four = `backends:\n${backends}routes:\n${routes}`;
  const v4 = await scene.startDoor(four, { channels: 4 });
  const v6 = await DoorProcess.start(scene.folder, four, { host: "[::1]" });
  const both = await DoorProcess.start(scene.folder, four, { host: "[::]" });
  const ask = async (door: DoorProcess, address: string, name: string) => {
    await door.instances(name, 1);
    const before = nginx.served.length;
    const [trust, at] = [join(scene.folder, "nginx.crt"), `${name}:${door.port}:${address}`];
    const curl = new Child(program("curl"), [
      "-sS",
      "--cacert",
      trust,
      "--resolve",
      at,
      `https://${name}:${door.port}/`,
    ]);
    const { status } = await curl.ended;
    expect(status, curl.stderr).toBe(0);
    expect(curl.lines).toEqual([`hello ${ANSWER_END.trimEnd()}`]);
    await until("the line in the log", () => nginx.served.length > before);
    const line = nginx.served.at(-1)!;
    expect(line.name).toBe(name);
    return [line.client.replace(/:\d+$/, ""), line.server];
  };
  try {
    // A socket of both families (the third door's) shows the client as an IPv4 socket would.
    for (const door of [v4, both]) {
      expect(await ask(door, "127.0.0.1", "any4.test")).toEqual(["127.0.0.1", `127.0.0.1:${door.port}`]);
      expect(await ask(door, "127.0.0.1", "one4.test")).toEqual(["127.0.0.1", "127.0.0.1:8443"]);
    }
    for (const door of [v6, both]) {
      expect(await ask(door, "[::1]", "any6.test")).toEqual(["::1", `::1:${door.port}`]);
      expect(await ask(door, "[::1]", "one6.test")).toEqual(["::1", "::1:8443"]);
    }
    await nginx.end();
    await until("the helpers to end", () => helpers().length === 0);
  } finally {
    for (const door of [v6, both]) await door.kill();
  }
});

it("one path for a port: the listeners of both families get the clients of theirs", async () => {
  // The third is none of its own: nginx asks each socket which address it came to, and takes the answer for one of IPv4.
  const nginx = await Nginx.start({
    ...{ folder: scene.folder, certificate: app, listen: ["443", "[::]:443", "127.0.0.1:443"] },
    environment: preloaded({ 443: scene.at("app") }),
  });
  running.push(nginx);
  await startDoor();
  const both = await DoorProcess.start(scene.folder, configuration(), { host: "[::]" });
  try {
    for (let i = 0; i < 5; i++) {
      expect(await askOnce(nginx, scene.door, "127.0.0.1", NAME)).toEqual([
        "127.0.0.1",
        `127.0.0.1:${scene.door.port}`,
      ]);
      expect(await askOnce(nginx, both, "127.0.0.1", NAME)).toEqual(["127.0.0.1", `127.0.0.1:${both.port}`]);
      expect(await askOnce(nginx, both, "[::1]", NAME)).toEqual(["::1", `::1:${both.port}`]);
    }
    await expectNothingLeft(nginx);
  } finally {
    await both.kill();
  }
});

it("keeps every rule of the protocol", async () => {
  // Clients come over IPv4 and IPv6.
  const listen = ["0.0.0.0:443", "[::]:443"];
  await conformance({
    name: "nginx",
    stopSignal: "SIGQUIT",
    command: ({ socket }) => {
      const environment = preloaded({ 443: socket });
      const variables = Object.entries(environment).map(([name, value]) => `${name}=${value}`);
      return ["env", ...variables, ...Nginx.command({ folder: scene.folder, certificate: app, listen })];
    },
  });
});

describe("what it cannot do, it says as it would of a port", () => {
  it("a path that another nginx receives on is an address in use, and stays that one's", async () => {
    const nginx = await startNginx({ [LISTEN]: scene.at("app") });
    const start = received({ [LISTEN]: scene.at("app") }, { name: "second" });
    const second = Nginx.spawn(start);
    expect((await second.child.ended).status).toBe(1);
    expect(second.errors).toMatch(/bind\(\) to 0\.0\.0\.0:443 failed \(98: Address already in use\)/);
    await startDoor();
    await expectServedOnce(nginx, await load(nginx, 50));
    await expectNothingLeft(nginx);
  });

  it("a path that cannot be made", async () => {
    const start = received({ [LISTEN]: join(scene.folder, "absent", "app.sock") });
    const nginx = Nginx.spawn(start);
    expect((await nginx.child.ended).status).toBe(1);
    expect(nginx.errors).toMatch(/\[emerg\].* 0\.0\.0\.0:443,? .*failed \(2: No such file or directory\)/);
    expect(nginx.child.stderr + nginx.errors).toContain(join(scene.folder, "absent", "app.sock"));
    expect(helpers()).toEqual([]);
  });

  it("a folder that it may not write to", async () => {
    const closed = join(scene.folder, "closed");
    mkdirSync(closed, { mode: 0o555 });
    chmodSync(scene.folder, 0o777);
    // Root may write anywhere. It may read whatever there is, so that it matters not where this project is.
    const rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
    const user = ["--reuid=65534", "--regid=65534", "--clear-groups", ...rights];
    const prefix = process.getuid!() === 0 ? [program("setpriv"), ...user] : [];
    const start = received({ "0.0.0.0:8443": join(closed, "app.sock") }, { prefix });
    const nginx = Nginx.spawn(start);
    expect((await nginx.child.ended).status).toBe(1);
    expect(nginx.errors).toMatch(/\[emerg\].* 0\.0\.0\.0:8443,? .*failed \(13: Permission denied\)/);
    expect(helpers()).toEqual([]);
  });

  it("nginx -t succeeds, beside one that runs as without, and leaves nothing", async () => {
    const start = received({ [LISTEN]: scene.at("app") });
    for (const isRunning of [false, true]) {
      const nginx = isRunning ? await startNginx({ [LISTEN]: scene.at("app") }) : undefined;
      const { status, said } = Nginx.check({ ...start, name: "checked" });
      expect(status, said).toBe(0);
      // It listens for a moment, as on a port.
      await until("the checker's helper to end", () => existsSync(scene.at("app")) === isRunning);
      await until("the helpers as before", () => helpers().length > 0 === isRunning);
      if (nginx === undefined) continue;
      await startDoor();
      await expectServedOnce(nginx, await load(nginx, 50));
    }
  });
});

/** By curl, which checks the certificate: the addresses of client and server in nginx's log. */
async function askOnce(nginx: Nginx, door: DoorProcess, address: string, name: string, backend = "app") {
  await door.instances(backend, 1);
  const before = nginx.served.length;
  const [trust, at] = [join(scene.folder, "nginx.crt"), `${name}:${door.port}:${address}`];
  const curl = new Child(program("curl"), ["-sS", "--cacert", trust, "--resolve", at, `https://${name}:${door.port}/`]);
  const { status } = await curl.ended;
  expect(status, curl.stderr).toBe(0);
  expect(curl.lines).toEqual([`hello ${ANSWER_END.trimEnd()}`]);
  await until("the line in the log", () => nginx.served.length > before);
  const line = nginx.served.at(-1)!;
  expect(line.name).toBe(name);
  return [line.client.replace(/:\d+$/, ""), line.server];
}

function lost({ failed, completed }: RequestsSummary): string {
  return `${failed} of ${completed + failed}`;
}

/** Of the master, a worker and the helper with its keeper, once no client is there, and no worker of before. */
async function descriptors(nginx: Nginx): Promise<Record<string, number>> {
  await scene.doorHas(0);
  await until("nobody to be there but its workers, without clients", () => {
    const all = childrenOf(nginx.pid);
    const { workers } = nginx;
    return all.length === workers.length && workers.every((pid) => connectionsOf(pid) === 0) && isAsleep(nginx.pid);
  });
  return counted(nginx);
}

function counted(nginx: Nginx): Record<string, number> {
  const of = (pid: number) => openDescriptors(pid).length;
  const [worker] = nginx.workers as [number];
  return { master: of(nginx.pid), worker: of(worker), helpers: helpers().reduce((sum, pid) => sum + of(pid), 0) };
}

async function expectDescriptors(nginx: Nginx, before: Record<string, number>): Promise<void> {
  const isSame = () => JSON.stringify(counted(nginx)) === JSON.stringify(before);
  await until("as many descriptors as before", isSame).catch(() => {});
  expect(await descriptors(nginx)).toEqual(before);
}
