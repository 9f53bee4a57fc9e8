/** HAProxy as Debian has it, preloaded, behind the door: reloaded by its master, or replaced by the next process. */
import { afterEach, beforeEach, expect, it } from "vitest";
import { until } from "../support/wait.js";
import { ANSWER_END, Haproxy, type HaproxyStart } from "./support/haproxy.js";
import { ADDRESS, PreloadScene } from "./support/preload-scene.js";
import type { RequestsSummary } from "./support/requests.js";

/** HAProxy drops a line when another thread of it has not done with its own: fd_write_frag_line() of its src/fd.c. */
const LEAKY = { leaky: true };

let scene: PreloadScene;

beforeEach(async () => {
  scene = await PreloadScene.create();
});

afterEach(() => scene.end());

const haproxyStart = (master: boolean, ...options: string[]): HaproxyStart => {
  const { folder, certificate, environment } = scene;
  return { folder, certificate, bind: [ADDRESS], master, options, environment };
};

/** Resolves when so many more requests are in the log. */
async function more(haproxy: Haproxy, requests: number): Promise<void> {
  const before = haproxy.clients.length;
  await until(`${requests} more requests`, () => haproxy.clients.length >= before + requests, 60_000);
}

/** Four times another process takes the place of the one before, and tells it to finish, under load. */
async function replaced(...options: string[]): Promise<{ clients: string[]; summary: RequestsSummary }> {
  const all = [await Haproxy.start(haproxyStart(false))];
  await scene.door.instances("app", 1);
  const load = await scene.load(ANSWER_END);
  await more(all[0]!, 300);
  for (let i = 0; i < 4; i++) {
    const before = all.at(-1)!;
    const after = await Haproxy.start(haproxyStart(false, ...options, "-sf", String(before.child.pid)));
    all.push(after);
    await before.child.ended;
    await more(after, 150);
  }
  const summary = await load.stop();
  await all.at(-1)!.softStop();
  return { clients: all.flatMap((each) => each.clients), summary };
}

it("reloads by the master, under load", async () => {
  const haproxy = await Haproxy.start(haproxyStart(true));
  await scene.door.instances("app", 1);
  const load = await scene.load(ANSWER_END);
  await more(haproxy, 300);
  for (let i = 0; i < 10; i++) {
    await haproxy.reload();
    await more(haproxy, 150);
  }
  const summary = await load.stop();
  await haproxy.softStop();
  await scene.expectEnd(haproxy.clients, summary, LEAKY);
});

it("another process takes its place with its listeners (-x) and tells it to finish (-sf), under load", async () => {
  const { clients, summary } = await replaced("-x", Haproxy.statsSocket(scene.folder));
  await scene.expectEnd(clients, summary, LEAKY);
});

it("another process that listens by itself, and tells the one before to finish (-sf), under load", async () => {
  const { clients, summary } = await replaced();
  const { completed, failed, failures } = summary;
  console.log(`HAProxy, 4 times replaced by -sf alone: ${completed} answered, ${JSON.stringify(failures)}`);
  expect(new Set(clients).size).toBe(clients.length);
  await scene.expectNothingLeft();
  // What the one before had in its queue when it closed its listener goes with that, as of sockets with SO_REUSEPORT.
  const { acknowledged } = await scene.door.stop();
  expect(failed).toBeLessThanOrEqual(acknowledged - completed);
  expect(failures).toMatchObject({ refused: 0, closed: 0, halved: 0, unanswered: 0, other: 0 });
});

it("stopped and started, under load", async () => {
  const all = [await Haproxy.start(haproxyStart(true))];
  await scene.door.instances("app", 1);
  const load = await scene.load(ANSWER_END);
  for (let i = 0; i < 3; i++) {
    await more(all.at(-1)!, 300);
    await all.at(-1)!.softStop();
    all.push(await Haproxy.start(haproxyStart(true)));
  }
  await more(all.at(-1)!, 300);
  const summary = await load.stop();
  await all.at(-1)!.softStop();
  await scene.expectEnd(
    all.flatMap(({ clients }) => clients),
    summary,
    LEAKY,
  );
});

it("the helper killed under load: it is there again, and nothing is served twice", async () => {
  const haproxy = await Haproxy.start(haproxyStart(true));
  await scene.door.instances("app", 1);
  const load = await scene.load(ANSWER_END);
  for (let i = 0; i < 5; i++) {
    await more(haproxy, 150);
    await scene.killHelper();
  }
  await more(haproxy, 150);
  const summary = await load.stop();
  await haproxy.softStop();
  await scene.expectEnd(haproxy.clients, summary, LEAKY);
});

it("no descriptor is left of thousands of connections", async () => {
  const haproxy = await Haproxy.start(haproxyStart(true));
  await scene.door.instances("app", 1);
  const first = await scene.load(ANSWER_END);
  await more(haproxy, 150);
  await first.stop();
  const before = scene.descriptors();
  const second = await scene.load(ANSWER_END);
  await more(haproxy, 2000);
  await second.stop();
  await until("as many descriptors as before", () => JSON.stringify(scene.descriptors()) === JSON.stringify(before));
  await haproxy.softStop();
  await scene.expectNothingLeft();
});
