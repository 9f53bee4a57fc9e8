/** Apache httpd as Debian has it, preloaded, behind the door: whatever its operator does, no client fails. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { until } from "../support/wait.js";
import { ANSWER_END, Apache, type ApacheStart } from "./support/apache.js";
import { ADDRESS, PreloadScene } from "./support/preload-scene.js";

let scene: PreloadScene;

beforeEach(async () => {
  scene = await PreloadScene.create();
});

afterEach(() => scene.end());

const apacheStart = (mpm: ApacheStart["mpm"], more = ""): ApacheStart => {
  const { folder, certificate, environment } = scene;
  return { folder, certificate, mpm, listen: [ADDRESS], more, environment };
};

/** Resolves when so many more requests are in the log. */
async function more(apache: Apache, requests: number): Promise<void> {
  const before = apache.served.length;
  await until(`${requests} more requests`, () => apache.served.length >= before + requests, 60_000);
}

const clientsOf = (apache: Apache) => apache.served.map(({ client }) => client);

describe.each(["event", "prefork"] as const)("%s", (mpm) => {
  it("served, with children that end after some connections: the log has the clients' addresses", async () => {
    const apache = await Apache.start(apacheStart(mpm, "MaxConnectionsPerChild 100"));
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    await more(apache, 2000);
    const summary = await load.stop();
    await apache.gracefulStop();
    await scene.expectEnd(clientsOf(apache), summary);
  });

  it("graceful restarts, and graceful stops and starts, under load", async () => {
    let apache = await Apache.start(apacheStart(mpm));
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    await more(apache, 100);
    for (let i = 0; i < 10; i++) {
      await apache.graceful();
      await more(apache, 100);
    }
    for (let i = 0; i < 3; i++) {
      await apache.gracefulStop();
      apache = await Apache.start(apacheStart(mpm));
      await more(apache, 100);
    }
    const summary = await load.stop();
    await apache.gracefulStop();
    await scene.expectEnd(clientsOf(apache), summary);
  });

  it("a graceful restart, and a graceful stop, while nobody asks for anything", async () => {
    const apache = await Apache.start(apacheStart(mpm));
    await scene.door.instances("app", 1);
    for (let i = 0; i < 3; i++) await apache.graceful();
    const load = await scene.load(ANSWER_END);
    await more(apache, 50);
    const summary = await load.stop();
    await apache.gracefulStop();
    await scene.expectEnd(clientsOf(apache), summary);
  });

  it("a restart (HUP), which ends children with what they have, loses nothing else", async () => {
    const apache = await Apache.start(apacheStart(mpm));
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    for (let i = 0; i < 5; i++) {
      await more(apache, 100);
      await apache.restart();
    }
    await more(apache, 100);
    const { completed, failed, failures } = await load.stop();
    await apache.gracefulStop();
    await scene.expectNothingLeft();
    const { acknowledged, lost_after_read } = await scene.door.stop();
    console.log(`httpd, ${mpm}, 5 restarts: ${completed} answered, ${JSON.stringify(failures)}`);
    // Those that children had taken, and had not answered.
    expect(failed).toBeLessThanOrEqual(acknowledged + lost_after_read - completed);
    expect(failures).toMatchObject({ refused: 0, unanswered: 0, other: 0 });
    expect(new Set(clientsOf(apache)).size).toBe(apache.served.length);
  });

  it("the helper killed under load: it is there again, and nothing is served twice", async () => {
    const apache = await Apache.start(apacheStart(mpm));
    await scene.door.instances("app", 1);
    const load = await scene.load(ANSWER_END);
    for (let i = 0; i < 5; i++) {
      await more(apache, 100);
      await scene.killHelper();
    }
    await more(apache, 100);
    const summary = await load.stop();
    await apache.gracefulStop();
    await scene.expectEnd(clientsOf(apache), summary);
  });

  it("no descriptor is left of thousands of connections", async () => {
    const apache = await Apache.start(apacheStart(mpm));
    await scene.door.instances("app", 1);
    const first = await scene.load(ANSWER_END);
    await more(apache, 200);
    await first.stop();
    const before = scene.descriptors();
    const second = await scene.load(ANSWER_END);
    await more(apache, 1000);
    await second.stop();
    await until("as many descriptors as before", () => JSON.stringify(scene.descriptors()) === JSON.stringify(before));
    await apache.gracefulStop();
    await scene.expectNothingLeft();
  });
});
