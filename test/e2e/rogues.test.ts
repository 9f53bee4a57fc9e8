/** Instances that break the protocol: their channel is closed with a clear line, and clients never notice. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { BackendProcess } from "../support/backend-process.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { openSockets } from "../support/descriptors.js";
import { DoorProcess } from "../support/door-process.js";
import { get } from "../support/https-client.js";
import { until } from "../support/wait.js";

const program = fileURLToPath(new URL("../fixtures/rogue.mjs", import.meta.url));

let folder: string;
let app: Certificate;
let good: BackendProcess;
let rogue: Child;
let door: DoorProcess;

beforeAll(async () => {
  app = await certificate("app.test");
});

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "sni-handoff-rogues-"));
  mkdirSync(join(folder, "pool"));
});

afterEach(async () => {
  await good?.kill();
  await rogue?.end("SIGKILL");
  if (door.child.running) await door.kill();
  rmSync(folder, { recursive: true });
});

async function startRogue(behaviour: string, who: { owner?: number; user?: number } = {}): Promise<void> {
  const argument = JSON.stringify({ path: `${folder}/pool/0-rogue.sock`, behaviour, ...who });
  rogue = new Child(process.execPath, [program, argument]);
  await rogue.line("the rogue's being ready", (line) => line.startsWith('{"ready"'));
}

async function startBoth(behaviour: string, settings = "acknowledgeTimeout: 200ms, hold: 60s"): Promise<void> {
  good = await BackendProcess.start({ kind: "https", path: `${folder}/pool/`, certificate: app });
  await startRogue(behaviour);
  door = await DoorProcess.start(
    folder,
    `backends: { app: { handoff: "${folder}/pool/", ${settings} } }\nroutes: { app.test: app }\n`,
  );
  await door.instances("app", 1);
}

async function allAnswered(count: number): Promise<void> {
  const answers = await Promise.all(Array.from({ length: count }, (_, i) => get(door.port, app, `/${i}`)));
  expect(new Set(answers.map((answer) => answer.body.pid))).toEqual(new Set([good.pid]));
  // It says so after it has answered.
  await until("each to be told", () => good.served.length >= count);
  expect(good.served).toHaveLength(count);
}

describe("an instance that breaks the protocol", () => {
  for (const [behaviour, words] of [
    ["acknowledges before it is ready", "a message of type 3 before READY"],
    ["sends garbage", "version 0; version 1 was agreed"],
    ["sends an oversized message", "a message of 5000 bytes; at most 1024 are allowed"],
    ["sends a message of the door", "a message of type 5, which only the door sends"],
    ["speaks another version only", "no common version: the instance speaks 9 to 9, this door 1"],
    ["acknowledges ahead", "ACK of 1001, but 1 is the last that was sent"],
    ["refuses what it was not sent", "REFUSE of 8, which is not outstanding"],
    ["refuses twice", "REFUSE of 1, which is not outstanding"],
  ] as const) {
    it(`${behaviour}: its channel is closed, and the other serves`, async () => {
      await startBoth(behaviour);
      const idle = openSockets(door.pid);
      // Whichever of the two is ready first gets the first.
      let asked = 0;
      const line = await until("the violation", async () => {
        const answer = await get(door.port, app, `/first/${asked++}`);
        expect(answer.body.pid).toBe(good.pid);
        return door.log.find(({ event }) => event === "channel.violation");
      });
      expect(line.message).toContain(words);
      expect(line).toMatchObject({ backend: "app", path: `${folder}/pool/0-rogue.sock` });
      await until("the first ones to be told", () => good.served.length === asked);
      good.child.lines.length = 0;
      await allAnswered(20);
      await until("no client's descriptor is kept", () => openSockets(door.pid) <= idle);
      const counters = await door.stop();
      expect(counters.violations).toBeGreaterThan(0);
      expect(counters).toMatchObject({ lost_after_read: 0, defect: 0 });
    });
  }
});

describe("an instance that fails its connections", () => {
  for (const behaviour of ["refuses everything", "never answers", "dies", "drains and dies", "hangs up"]) {
    it(`${behaviour}: the other serves them, each once`, async () => {
      await startBoth(behaviour);
      await allAnswered(40);
      expect(await door.stop()).toMatchObject({ lost_after_read: 0, defect: 0, violations: 0 });
    });
  }

  it("sends a descriptor: the kernel refuses it (SO_PASSRIGHTS, Linux 6.16), or the door does; nothing stays open", async () => {
    await startBoth("sends a descriptor");
    const idle = openSockets(door.pid);
    await allAnswered(5);
    const refused = () => rogue.lines.some((line) => line.startsWith('{"refused"'));
    const violation = () => door.log.find((line) => line.event === "channel.violation");
    await until("a refusal", () => refused() || violation());
    if (!refused()) expect(violation()!.message).toContain("a descriptor towards the door");
    await until("no client's descriptor is kept", () => openSockets(door.pid) <= idle);
  });

  it("reads a byte and dies: the connection is closed and counted, never handed on", async () => {
    await startRogue("reads a byte and dies");
    door = await DoorProcess.start(
      folder,
      `backends: { app: { handoff: "${folder}/pool/", hold: 60s } }\nroutes: { app.test: app }\n`,
    );
    await door.instances("app", 1);
    const failed = get(door.port, app, "/lost");
    await expect(failed).rejects.toThrow();
    good = await BackendProcess.start({ kind: "https", path: `${folder}/pool/`, certificate: app });
    await allAnswered(5);
    expect(good.served).not.toContain("/lost");
    expect(await door.stop()).toMatchObject({ lost_after_read: 1, redelivered: 0 });
  });
});

describe("who may be an instance", () => {
  // Debian's "daemon" is 1 and "nobody" 65534.
  const cases = [
    { owner: 65534, user: 1, setting: "", may: false },
    { owner: 1, user: 1, setting: "", may: true },
    { owner: 65534, user: 1, setting: "user: daemon", may: true },
    { owner: 65534, user: 0, setting: "", may: true },
  ];
  for (const { owner, user, setting, may } of cases) {
    it(`user ${user} on a path of ${owner}${setting === "" ? "" : ` with "${setting}"`}: ${may ? "yes" : "no"}`, async () => {
      chmodSync(folder, 0o755);
      await startRogue("never answers", { owner, user });
      const settings = setting === "" ? "" : `, ${setting}`;
      door = await DoorProcess.start(
        folder,
        `backends: { app: { handoff: "${folder}/pool/"${settings} } }\nroutes: { app.test: app }\n`,
      );
      if (may) {
        expect(await door.event("channel.ready")).toMatchObject({ uid: user, pid: rogue.pid });
      } else {
        const line = await door.event("channel.violation");
        expect(line.message).toContain(`READY from user ${user}, who may not serve`);
        expect(line).toMatchObject({ uid: user, pid: rogue.pid });
      }
      await door.stop();
    });
  }
});
