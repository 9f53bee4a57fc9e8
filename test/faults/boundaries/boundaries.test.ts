/**
 * A door, or an instance, that dies right before or after each of its calls that matter (cut.c): a channel that ends at
 * every boundary between two messages. Clients come one by one, so that it is known of each what must become of it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../../src/native/addon.js";
import { compileLibrary } from "../../support/compile.js";
import { openSockets } from "../../support/descriptors.js";
import { isAlive } from "../../support/process-status.js";
import { until } from "../../support/wait.js";
import { buildHello } from "../../tls/hello-builder.js";
import { play, type Seen } from "../model/client.js";
import { Door } from "../model/door.js";
import type { Deaths } from "../model/history.js";
import { Instance } from "../model/instance.js";
import { Journal } from "../model/journal.js";
import { addressOf } from "../model/plan.js";

const CLIENTS = 6;
/** Of calls. An instance has fewer, since it has half of the clients. */
const NUMBERS = [1, 2, 4];

let libraries: string;
let library: string;
let folder: string;
let listener: number;
let journal: Journal;
let door: Door;
let instances: Instance[];
const deaths: Deaths = new Map();

beforeAll(() => {
  libraries = mkdtempSync(join(tmpdir(), "sni-handoff-cut-"));
  library = compileLibrary(new URL("./cut.c", import.meta.url), libraries);
});

afterAll(() => rmSync(libraries, { recursive: true }));

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-boundaries-"));
  mkdirSync(join(folder, "pool"), { mode: 0o755 });
  journal = new Journal(join(folder, "journal"));
  listener = native.listenTcp({ address: "127.0.0.1", port: 0, backlog: 64 });
  const file = join(folder, "door.yaml");
  const control = join(folder, "control.sock");
  writeFileSync(
    file,
    `listeners: [{ address: "127.0.0.1:${port()}" }]
workers: 1
accessLog: all
control: ${control}
backends: { pool: { handoff: ${folder}/pool/, hold: 60s, acknowledgeTimeout: 30s } }
routes: { pool.test: pool }
`,
  );
  door = new Door({ file, control, listener }, deaths);
  instances = [];
});

afterEach(async () => {
  for (const instance of instances) await instance.kill();
  await door.kill();
  journal.close();
  native.close(listener);
  rmSync(folder, { recursive: true });
});

const port = () => native.localAddress(listener).port;
const cutAt = (call: string, number: number, when: string, whose: "" | "_SUCCESSOR" = "") => ({
  LD_PRELOAD: library,
  [`SNI_HANDOFF_TEST_CUT${whose}`]: `${call}:${number}:${when}`,
});

async function instance(name: string, more = {}): Promise<Instance> {
  const start = { name: "pool", path: join(folder, "pool", `${name}.sock`), journal: journal.path };
  const started = await Instance.start(start, deaths, more);
  instances.push(started);
  return started;
}

/** Resolves when the door has a channel to so many instances. */
async function channels(count: number): Promise<void> {
  await until("the channels", async () => {
    const { backends } = await door.status();
    return backends[0]!.instances.filter(({ state }) => state === "ready").length === count;
  });
}

/** One after the other; `meanwhile` is called all the time. */
async function clients(meanwhile: () => Promise<void>): Promise<Seen[]> {
  const seen: Seen[] = [];
  for (let number = 0; number < CLIENTS; number++) {
    let isOver = false;
    const playing = play(plan(number), port()).finally(() => {
      isOver = true;
    });
    await until(
      "the client's end",
      async () => {
        await meanwhile();
        return isOver;
      },
      60_000,
    );
    seen.push(await playing);
  }
  return seen;
}

function plan(number: number) {
  const pieces = [buildHello({ serverName: "pool.test" })];
  return {
    number,
    address: addressOf(number),
    kind: "asks",
    name: "pool.test",
    pieces,
    pauses: [0],
    requests: [0],
    end: "FIN",
  } as const;
}

/** Those without an answer. The others were answered once, by one process. */
function lostOf(seen: readonly Seen[]): Seen[] {
  journal.read();
  for (const { plan, answers } of seen) {
    const { owned, answered } = journal.of(plan.address);
    expect(owned.length).toBeLessThanOrEqual(1);
    expect(answered).toHaveLength(answers.length);
    if (answers.length > 0) expect(answers).toEqual([`pool ${owned[0]!.pid} 1`]);
  }
  return seen.filter(({ answers }) => answers.length === 0);
}

/** How many clients are lost with the door: those that it had accepted, and had not sent. */
const doorCuts = [
  { call: "accept4", when: "before", most: 0 },
  // Whether there was somebody to be accepted is not known.
  { call: "accept4", when: "after", most: 1 },
  { call: "sendmmsg", when: "before", most: 1, least: 1 },
  { call: "sendmmsg", when: "after", most: 0 },
  { call: "recvmmsg", when: "before", most: 0 },
  { call: "recvmmsg", when: "after", most: 0 },
  { call: "close", when: "before", most: 0 },
  { call: "close", when: "after", most: 0 },
];

describe.each(doorCuts)("a door that dies $when $call", ({ call, when, most, least = 0 }) => {
  it.each(NUMBERS)("number %i: at most what it alone had is lost, and nothing is answered twice", async (number) => {
    const only = await instance("only");
    let deaths = 0;
    // It may not live to say that it serves: reading READY is a call, too.
    await door.run(cutAt(call, number, when)).catch(() => {});
    await channels(1).catch(() => {});
    const seen = await clients(async () => {
      if (door.running) return;
      deaths++;
      await door.run();
    });
    expect(deaths).toBe(1);
    const lost = lostOf(seen);
    expect(lost.length).toBeLessThanOrEqual(most);
    expect(lost.length).toBeGreaterThanOrEqual(least);
    await nothingIsLeft(only);
  });
});

/** How many clients are lost with an instance: those that it had acknowledged. Its first message is READY. */
const instanceCuts = [
  { call: "recvmmsg", when: "before", most: 0 },
  { call: "recvmmsg", when: "after", most: 0 },
  { call: "sendmsg", when: "before", most: 0 },
  // A message may tell the open count only.
  { call: "sendmsg", when: "after", most: 1 },
];

describe.each(instanceCuts)("an instance that dies $when $call", ({ call, when, most }) => {
  it.each(NUMBERS.slice(0, 2))("number %i: what it had not acknowledged another one answers", async (number) => {
    const dying = await instance("dying", cutAt(call, number, when));
    const other = await instance("other");
    const { pid } = dying;
    await door.run();
    await until("the channels", async () => {
      const { instances: known } = (await door.status()).backends[0]!;
      return known.filter(({ state }) => state === "ready").length === (dying.running ? 2 : 1);
    });
    const lost = lostOf(await clients(async () => {}));
    await until("its end", () => !dying.running);
    expect(lost.length).toBeLessThanOrEqual(most);
    for (const { plan } of lost) {
      await until("the door's line", () => {
        door.read();
        return door.said(plan.address).some((line) => line.outcome === "handed_over" && line.instance_pid === pid);
      });
    }
    await nothingIsLeft(other);
  });
});

/**
 * Lost of those that are held is, with the old door, what it had not sent: it sends when it has read READY. With the new one
 * what it had acknowledged: it does after its first read. `kept`: the numbers of the calls at which nobody is.
 */
const upgradeCuts = [
  { dies: "old", call: "recvmmsg", when: "before", kept: [] },
  { dies: "old", call: "recvmmsg", when: "after", kept: [] },
  { dies: "old", call: "sendmmsg", when: "before", kept: [] },
  { dies: "old", call: "sendmmsg", when: "after", kept: [1, 2] },
  { dies: "old", call: "close", when: "before", kept: [1, 2] },
  { dies: "new", call: "recvmmsg", when: "before", kept: [1] },
  { dies: "new", call: "recvmmsg", when: "after", kept: [1] },
  { dies: "new", call: "sendmsg", when: "before", kept: [1, 2] },
  { dies: "new", call: "sendmsg", when: "after", kept: [1] },
];

describe.each(upgradeCuts)("an upgrade in which the $dies door dies $when $call", ({ dies, call, when, kept }) => {
  it.each([1, 2])("number %i: who is held goes on in the other one", async (number) => {
    await door.run(cutAt(call, number, when, dies === "old" ? "" : "_SUCCESSOR"));
    const first = door.pid;
    const playing = Array.from({ length: CLIENTS }, (_, i) => play(plan(i), port()));
    await until("clients to be held", async () => (await door.status()).workers[0]!.held === CLIENTS);
    const upgrade = door.upgrade().catch(() => undefined);
    const successor = await door.successor(upgrade);
    await upgrade;
    const doomed = dies === "old" ? first : successor;
    await until("its end", () => doomed === undefined || !isAlive(doomed));
    // The old one goes on, or the new one; or nobody, where the new one died after everything was its own.
    if (dies === "old") expect(await door.isSucceededBy(successor!)).toBe(true);
    else if (!door.running) await door.run();
    const only = await instance("only");
    const lost = lostOf(await Promise.all(playing));
    if (kept.includes(number)) expect(lost.map(({ end }) => end)).toEqual([]);
    await nothingIsLeft(only);
  });
});

/** Of clients, in the door and in an instance, which has its listener and a channel beside its output's sockets. */
async function nothingIsLeft({ pid }: Instance): Promise<void> {
  await until("no client in the door", async () => (await door.status()).workers[0]!.connections === 0);
  await until("no client in the instance", () => openSockets(pid) === 2 + 1 + 1);
}
