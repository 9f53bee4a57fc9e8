/** An upgrade as the workers of the process before see it, whether the other one takes over or fails to. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Predecessor, type TakenOver } from "../../src/daemon/upgrade/predecessor.js";
import { native } from "../../src/native/addon.js";
import { DoorWorkers, unlimited } from "../support/door-workers.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const hello = Buffer.concat([buildHello({ serverName: "app.test" }), Buffer.from("END\n")]);
const nobody = { waiting: 0, held: 0, unacknowledged: 0 };

let door: DoorWorkers;
let other: DoorWorkers;

beforeEach(() => {
  door = new DoorWorkers();
  other = new DoorWorkers();
});

afterEach(async () => {
  await door.end();
  await other.end();
});

/** Has the door's workers give all away. Returns the side that takes, which says READY when it is started. */
function passOn(take: (connection: TakenOver) => void): Predecessor[] {
  const pairs = door.workers.memories.map(() => native.socketPair("seqpacket"));
  for (const [ours] of pairs) native.askCredentials(ours, true);
  door.workers.passOn(pairs.map(([ours]) => ours));
  return pairs.map(([, theirs]) => new Predecessor(theirs, take));
}

const app = () => ({ backends: [door.handoff("app")], routes: { "app.test": 0 } });

describe("what is passed on", () => {
  it("is given away once, also if the client sends more at that moment", async () => {
    await door.start(app());
    const clients = await Promise.all(Array.from({ length: 500 }, () => door.client(hello.subarray(0, 50))));
    await door.gauge("waiting", 500);
    const taken: TakenOver[] = [];
    const sides = passOn((connection) => taken.push(connection));
    for (const client of clients) client.send(hello.subarray(50));
    await until("all to be examined", () => door.gauges.waiting === 0);
    for (const side of sides) side.start();
    await door.gauge("connections", 0);
    expect(door.gauges).toMatchObject(nobody);
    expect(door.workers.totals).toMatchObject({ handed_over: 500, passed_on: 500, client_gone: 0, defect: 0 });
    await until("all to be taken", () => taken.length >= 500);
    expect(new Set(taken.map(({ idLow }) => idLow)).size).toBe(500);
    for (const { descriptor } of taken) native.close(descriptor);
    await door.expectNothingCounted();
  });

  it("has passed its limits before: they do not apply again", async () => {
    const limits = { ...unlimited, held: 0, waiting: 2 };
    await door.start({ ...app(), settings: { limits } });
    for (let i = 0; i < 2; i++) await door.client(hello.subarray(0, 50));
    await door.gauge("waiting", 2);
    const taken: TakenOver[] = [];
    const sides = passOn((connection) => taken.push(connection));
    await door.gauge("waiting", 0);
    expect(door.gauges).toMatchObject({ held: 2 });
    for (const side of sides) side.start();
    await until("both to be taken", () => taken.length === 2);
    await door.gauge("connections", 0);
    expect(door.workers.totals).toMatchObject({ passed_on: 2, hold_full: 0 });
    for (const { descriptor } of taken) native.close(descriptor);
    await door.expectNothingCounted();
  });

  it("has the same id in the access logs of both", async () => {
    await door.start(app());
    await other.start(app());
    const client = await door.client(hello.subarray(0, 50));
    await door.gauge("waiting", 1);
    for (const side of passOn((connection) => other.workers.adopt(connection))) side.start();
    await other.gauge("waiting", 1);
    await door.instance("app");
    await other.channels(1);
    client.send(hello.subarray(50));
    await client.reply;
    const [passed] = await door.eventsOf(1);
    const [served] = await other.eventsOf(1);
    expect(passed).toMatchObject({ outcome: "passed_on" });
    expect(served).toMatchObject({ outcome: "handed_over", listener: -1, connectionId: passed!.connectionId });
  });
});

describe("a worker that is drained, and is to accept again since the other process failed", () => {
  it("gives nothing to the channels that it has closed", async () => {
    await door.instance("app");
    await door.start(app());
    await door.channels(1);
    await door.workers.drain(1000, () => {});
    door.workers.command({ type: "accept" });
    // Its descriptor is what the channel's was.
    const client = await door.client(hello);
    await until("it to be held", () => door.gauges.held === 1);
    await door.configure(app());
    const { received } = await client.reply;
    expect(JSON.parse(received.toString())).toMatchObject({ name: "app" });
    await door.gauge("connections", 0);
    expect(door.workers.totals).toMatchObject({ acknowledged: 1, defect: 0 });
  });

  it("has let go of what it abandoned, and of what instances have", async () => {
    const instance = await door.instance("app");
    const backends = [door.handoff("app"), door.handoff("absent")];
    const options = { backends, routes: { "app.test": 0, "absent.test": 1 } };
    await door.start({ ...options, settings: { limits: { ...unlimited, held: 1, waiting: 1 } } });
    await door.channels(1);
    instance.signal("SIGSTOP");
    const served = await door.client(hello);
    await door.gauge("unacknowledged", 1);
    const gone = [
      await door.client(hello.subarray(0, 50)),
      await door.client(buildHello({ serverName: "absent.test" })),
    ];
    await door.gauge("waiting", 1);
    await door.gauge("held", 1);
    expect(await door.workers.drain(50, () => {})).toBe(2);
    for (const { reply } of gone) expect((await reply).received.subarray(-2)).toEqual(Buffer.of(2, 80)); // fatal internal_error
    door.workers.command({ type: "accept" });
    await door.configure({ ...options, settings: { limits: { ...unlimited, held: 1, waiting: 1 } } });
    await door.gauge("connections", 0);
    expect(door.gauges).toMatchObject(nobody);
    await door.expectNothingCounted();
    instance.signal("SIGCONT");
    expect(JSON.parse((await served.reply).received.toString())).toMatchObject({ name: "app" });
    await door.client(hello.subarray(0, 50));
    await door.gauge("waiting", 1);
  });
});
