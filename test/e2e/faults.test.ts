/**
 * What becomes of connections when processes are killed, stopped and restarted. Every request has a path of its own and
 * every backend says which paths it served: each must be served exactly once.
 */
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { Agent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { isAsleep } from "../support/asleep.js";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { openSockets } from "../support/descriptors.js";
import { type DoorOptions, DoorProcess } from "../support/door-process.js";
import { type Answer, get } from "../support/https-client.js";
import { ownLoopback } from "../support/own-loopback.js";
import { until } from "../support/wait.js";

let folder: string;
let app: Certificate;
let door: DoorProcess;
let backends: BackendProcess[];

beforeAll(async () => {
  app = await certificate("app.test");
});

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-faults-"));
  mkdirSync(join(folder, "pool"));
  backends = [];
});

afterEach(async () => {
  for (const backend of backends) {
    if (backend.child.running) backend.signal("SIGCONT");
    await backend.kill();
  }
  if (door.child.running) await door.kill();
  rmSync(folder, { recursive: true });
});

async function instance(): Promise<BackendProcess> {
  const backend = await BackendProcess.start({ kind: "https", path: `${folder}/pool/`, certificate: app });
  backends.push(backend);
  return backend;
}

async function startDoor(settings: string, options: DoorOptions = {}): Promise<void> {
  door = await DoorProcess.start(
    folder,
    `backends: { app: { handoff: "${folder}/pool/", ${settings} } }\nroutes: { app.test: app }\n`,
    options,
  );
}

/** Node makes pipes to its children of unix sockets: standard output and error. */
const PIPES = 2;

/** Nothing is left open: the door has its listener and a channel to each instance that lives, an instance its own two. */
async function expectNothingLeft(): Promise<void> {
  const living = backends.filter((backend) => backend.child.running);
  await until("the door's descriptors to be as before", () => openSockets(door.pid) === PIPES + 1 + living.length);
  for (const { pid } of living) {
    await until("an instance's descriptors to be as before", () => openSockets(pid) === PIPES + 2);
  }
}

function clients(count: number, from = 0): Promise<Answer>[] {
  return Array.from({ length: count }, (_, i) => get(door.port, app, `/${from + i}`));
}

/** Every path was served, and by one instance once. */
async function expectServedOnce(count: number): Promise<void> {
  const all = () => backends.flatMap((backend) => backend.served);
  await until("the backends' lines", () => all().length >= count);
  const served = all().sort((a, b) => Number(a.slice(1)) - Number(b.slice(1)));
  expect(served).toEqual(Array.from({ length: count }, (_, i) => `/${i}`));
}

/** Handoffs that wait unread in the channel of a stopped instance: the door has a copy of each, and of none of the answered. */
async function outstandingReached(count: number, answered: () => number, total: number): Promise<void> {
  const idle = PIPES + 1 + backends.length;
  await until(
    `${count} connections at the stopped instance`,
    () => answered() >= total - count && openSockets(door.pid) === idle + count && isAsleep(door.pid),
  );
}

/** Lets clients run to their ends while counting. */
function watched(answers: Promise<Answer>[]): { all: Promise<Answer[]>; answered: () => number } {
  let answered = 0;
  for (const answer of answers) answer.then(() => answered++).catch(() => {});
  return { all: Promise.all(answers), answered: () => answered };
}

describe("an instance", () => {
  it("is killed with unacknowledged connections: the other one answers them all, none twice", async () => {
    const [first, second] = [await instance(), await instance()];
    await startDoor("acknowledgeTimeout: 60s");
    await door.instances("app", 2);
    first.signal("SIGSTOP");
    const { all, answered } = watched(clients(60));
    await outstandingReached(30, answered, 60);
    await first.kill();
    const answers = await all;
    expect(new Set(answers.map((answer) => answer.body.pid))).toEqual(new Set([second.pid]));
    await expectServedOnce(60);
    const ended = await door.event("channel.ended");
    expect(ended.outstanding).toBe(30);
    await expectNothingLeft();
    const counters = await door.stop();
    expect(counters).toMatchObject({ redelivered: 30, lost_after_read: 0, acknowledged: 60, defect: 0 });
  });

  it("is stopped under load: others serve at once what it had not acknowledged; what it had, it serves later; each once", async () => {
    const [first] = [await instance(), await instance()];
    await startDoor("acknowledgeTimeout: 1s");
    await door.instances("app", 2);
    const before = watched(clients(40));
    await until("some answers", () => before.answered() > 0);
    first!.signal("SIGSTOP");
    const during = watched(clients(60, 40));
    await during.all;
    // Of the first ones, those that the stopped one owns are still without an answer; the others are not.
    first!.signal("SIGCONT");
    const answers = [...(await before.all), ...(await during.all)];
    expect(answers).toHaveLength(100);
    await expectServedOnce(100);
    // It comes back, too: its channel is a new one.
    const readies = () => door.log.filter(({ event, pid }) => event === "channel.ready" && pid === first!.pid).length;
    await until("its new channel", () => readies() >= 2);
    await Promise.all(clients(10, 100));
    await expectServedOnce(110);
    await expectNothingLeft();
    expect((await door.stop()).lost_after_read).toBe(0);
  });

  it("is the only one and stopped: connections wait for it, and it serves them when it continues", async () => {
    const only = await instance();
    await startDoor("acknowledgeTimeout: 100ms, hold: 30s");
    await door.instances("app", 1);
    only.signal("SIGSTOP");
    const { all } = watched(clients(20));
    await door.event("channel.stalled");
    only.signal("SIGCONT");
    await all;
    await expectServedOnce(20);
    await expectNothingLeft();
    expect(await door.stop()).toMatchObject({ channels_revoked: 0, redelivered: 0 });
  });

  it("all are gone and come back within the hold: every client is answered", async () => {
    const first = await instance();
    const second = await instance();
    await startDoor("hold: 30s");
    await door.instances("app", 2);
    await first.kill();
    await second.kill();
    const { all } = watched(clients(50));
    await instance();
    await all;
    await expectServedOnce(50);
    await expectNothingLeft();
    const counters = await door.stop();
    expect(counters.acknowledged).toBe(50);
    expect(counters.hold_timeout).toBe(0);
  });
});

describe("the door is killed", () => {
  it("and established connections go on; a new one on the same port takes new clients", async () => {
    await instance();
    const host = ownLoopback;
    await startDoor("hold: 60s", { host });
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const first = await get(door.port, app, "/0", { agent, host });
    const { port } = door;
    await door.kill();
    const second = await get(port, app, "/1", { agent, host });
    expect(second.client).toBe(first.client);
    await startDoor("hold: 60s", { host, port });
    await get(port, app, "/2", { host });
    await expectServedOnce(3);
    agent.destroy();
  });

  it("and what lies in a channel's queue is served", async () => {
    const only = await instance();
    await startDoor("acknowledgeTimeout: 60s");
    await door.instances("app", 1);
    only.signal("SIGSTOP");
    const idle = openSockets(door.pid);
    const { all } = watched(clients(30));
    // The door has sent what it accepted when it sleeps again: it accepts and sends in one turn.
    await until("30 kept copies", () => openSockets(door.pid) >= idle + 30 && isAsleep(door.pid));
    await door.kill();
    only.signal("SIGCONT");
    await all;
    await expectServedOnce(30);
  });
});
