/** The relay that a door starts: it serves, outlives the door, is found again, and ends when nobody needs it. */
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Certificate, certificate } from "../support/certificates.js";
import { DnsServer } from "../support/dns-server.js";
import { Download } from "../support/download.js";
import { get } from "../support/https-client.js";
import { isAlive } from "../support/process-status.js";
import { deadPort, RelayScene } from "../support/relay-scene.js";
import { TlsLoad } from "../support/tls-load.js";
import type { TlsOrigin } from "../support/tls-origin.js";
import { until } from "../support/wait.js";

let scene: RelayScene;
let app: Certificate;
let origin: TlsOrigin;

beforeEach(async () => {
  scene = new RelayScene();
  app = await certificate("app.test");
  origin = await scene.origin(app);
});

afterEach(() => scene.end());

const relayTo = (target: string, more = "") =>
  `backends: { app: { relay: "${target}"${more} } }\nroutes: { app.test: app }\n`;
const start = (more = "") => scene.startRelaying(relayTo(origin.target, more), ["app"]);

describe("a relay that the door starts", () => {
  it("takes connections to a target by its address, its name, and its unix socket", async () => {
    const [named, unix] = [await certificate("named.test"), await certificate("unix.test")];
    const byName = await scene.origin(named);
    await scene.origin(unix, `${scene.folder}/origin.sock`);
    const dns = await DnsServer.start();
    try {
      dns.names.set("origin.internal", { addresses: ["127.0.0.1"] });
      const status = await scene.startRelaying(
        `relay: { resolvers: ["127.0.0.1:${dns.port}"] }
backends:
  app: { relay: "${origin.target}" }
  named: { relay: "origin.internal:${byName.port}" }
  unix: { relay: "unix:origin.sock" }
routes: { app.test: app, named.test: named, unix.test: unix }
`,
        ["app", "named", "unix"],
      );
      expect(status).toMatchObject({ state: "running", whileNeeded: true, configuration: { generation: 1 } });
      for (const each of [app, named, unix]) expect((await get(scene.door.port, each)).body.name).toBe(each.name);
      const { backends, counters } = await scene.relay();
      expect(backends.map(({ targets }) => targets[0]!.totals.connections)).toEqual([1, 1, 1]);
      expect(backends[1]!.targets[0]).toMatchObject({ addresses: [`127.0.0.1:${byName.port}`], state: "well" });
      expect(counters).toMatchObject({ received: 3, connected: 3, refused: 0, defect: 0 });
    } finally {
      dns.close();
    }
  });

  it("goes on when the door is killed, and the next door finds it", async () => {
    const { pid } = await start();
    const download = await Download.start(scene.door.port, app);
    await scene.door.kill.call({ end: () => process.kill(scene.door.pid, "SIGKILL") });
    await until("the door's end", () => !isAlive(scene.door.pid));
    origin.more();
    await download.lines(2);
    expect((await start()).pid).toBe(pid);
    expect(scene.lines("relay.started")).toEqual([]);
    expect((await get(scene.door.port, app)).status).toBe(200);
    origin.finish();
    await until("the download's end", () => download.ended);
    expect([download.ended, download.text]).toEqual(["end", "begun\nmore\nend\n"]);
  });

  it("stays when the door stops as long as it has connections, then ends", async () => {
    const { pid } = await start();
    const download = await Download.start(scene.door.port, app);
    process.kill(scene.door.pid, "SIGTERM");
    await until("the door's end", () => !isAlive(scene.door.pid));
    await scene.door.event("relay.stopping").catch(() => {});
    await new Promise((resolve) => setTimeout(resolve, 4000));
    expect(isAlive(pid)).toBe(true);
    origin.more();
    await download.lines(2);
    origin.finish();
    await until("the relay's end", () => !isAlive(pid));
    expect([download.ended, download.text]).toEqual(["end", "begun\nmore\nend\n"]);
    await until("the relay's last line", () => scene.lines("relay.stopped").length > 0);
    expect(scene.lines("relay.stopped")).toMatchObject([{ reset: 0 }]);
  });

  it("stays the only one when the door is upgraded", async () => {
    const { pid } = await start();
    const download = await Download.start(scene.door.port, app);
    await scene.door.upgrade();
    expect((await get(scene.door.port, app)).status).toBe(200);
    // Long enough for the new door to have looked.
    await new Promise((resolve) => setTimeout(resolve, 1500));
    expect((await scene.relay()).pid).toBe(pid);
    expect(scene.lines("relay.started")).toHaveLength(1);
    origin.finish();
    await until("the download's end", () => download.ended);
    expect(download.ended).toBe("end");
  });

  it("is started again when it dies; clients are held meanwhile", async () => {
    const { pid } = await start(", hold: 60s");
    process.kill(pid, "SIGKILL");
    await until("its end", () => !isAlive(pid));
    expect((await get(scene.door.port, app)).status).toBe(200);
    expect((await scene.relay()).pid).not.toBe(pid);
    expect(scene.lines("relay.absent")[0]!.message).toBe(
      `relay ${pid} ended with SIGKILL; the next one is started in 1 s`,
    );
  });

  it("follows a reload, which happens whole or not at all", async () => {
    const { pid } = await start();
    const late = await certificate("late.test");
    const more = await scene.origin(late);
    const both = `backends: { app: { relay: "${origin.target}" }, late: { relay: "${more.target}" } }\nroutes: { app.test: app, late.test: late }\n`;
    scene.door.write(`${scene.head}${both}`);
    const reloaded = await scene.door.reload();
    expect(reloaded.details).toContain("generation 2 of the relay is in force: 2 backends");
    expect((await get(scene.door.port, late)).status).toBe(200);
    expect((await get(scene.door.port, app)).status).toBe(200);
    scene.door.write(`${scene.head}backends: { app: { relay: "nowhere" } }\n`);
    expect((await scene.door.reload()).event).toBe("reload.failed");
    expect(await scene.relay()).toMatchObject({ pid, configuration: { generation: 2 } });
    expect((await get(scene.door.port, late)).status).toBe(200);
  });

  it("is needed no more when a reload takes its last backend away", async () => {
    const { pid } = await start();
    scene.door.write(`${scene.head}backends: { sorry: { reject: close } }\ndefault: sorry\n`);
    expect((await scene.door.reload()).event).toBe("reloaded");
    await until("the relay's end", () => !isAlive(pid));
    scene.door.write(`${scene.head}${relayTo(origin.target, ", hold: 60s")}`);
    // The next one takes the time that a process needs to start.
    await scene.door.reload();
    expect((await get(scene.door.port, app)).status).toBe(200);
  });
});

describe("a relay that somebody else starts", () => {
  const configuration = () => `relay: { start: false }\n${relayTo(origin.target, ", hold: 60s")}`;

  it("is waited for, and found", async () => {
    await scene.startDoor(`${scene.head}${configuration()}`);
    await scene.door.event("relay.absent");
    const served = get(scene.door.port, app);
    await scene.startRelay(scene.door.file);
    expect((await served).status).toBe(200);
    expect(scene.lines("relay.started")).toEqual([]);
  });

  it("takes the place of the one before: no client fails, and what that has goes on there", async () => {
    await scene.startDoor(`${scene.head}${configuration()}`);
    const first = await scene.startRelay(scene.door.file);
    await scene.door.instances("app", 1);
    const download = await Download.start(scene.door.port, app);
    const load = await TlsLoad.start({ port: scene.door.port, ca: app.cert, names: ["app.test"], clients: 8 });
    let last = first;
    for (let round = 0; round < 3; round++) {
      last = await scene.startRelay(scene.door.file);
      await load.mark(50);
    }
    const { requests, failures } = await load.stop();
    expect([requests > 150, failures]).toEqual([true, {}]);
    expect((await scene.relay()).pid).toBe(last.pid);
    expect(first.running).toBe(true);
    origin.finish();
    await until("the download's end", () => download.ended);
    expect([download.ended, await first.ended]).toEqual(["end", { status: 0, signal: null }]);
    expect(await last.end("SIGTERM")).toEqual({ status: 0, signal: null });
  });

  it("is left to it by one that is started while needed", async () => {
    await scene.startDoor(`${scene.head}${configuration()}`);
    await scene.startRelay(scene.door.file);
    const { pid } = await scene.relay();
    await expect(scene.startRelay(scene.door.file, "--while-needed")).rejects.toThrow("relay.there");
    expect((await scene.relay()).pid).toBe(pid);
  });

  it("resets what it has at the deadline of a stop", async () => {
    await scene.startDoor(`${scene.head}relay: { start: false, drain: 300ms }\n${relayTo(origin.target)}`);
    const relay = await scene.startRelay(scene.door.file);
    await scene.door.instances("app", 1);
    const download = await Download.start(scene.door.port, app);
    expect(await relay.end("SIGTERM")).toEqual({ status: 0, signal: null });
    await until("the download's end", () => download.ended);
    expect(download.ended).not.toBe("end");
    expect(relay.lines.at(-1)).toContain('"reset":1');
  });

  it("stops at once at a second signal", async () => {
    await scene.startDoor(`${scene.head}${configuration()}`);
    const relay = await scene.startRelay(scene.door.file);
    await scene.door.instances("app", 1);
    await Download.start(scene.door.port, app);
    relay.process.kill("SIGTERM");
    await relay.line("the stop", (line) => line.includes("relay.stopping"));
    expect(await relay.end("SIGINT")).toEqual({ status: 0, signal: null });
  });
});

describe("another door's relay", () => {
  it("in the same folder is not mistaken for one's own", async () => {
    await start();
    const { folder, door: first } = scene;
    const second = new RelayScene();
    try {
      await second.startDoor(
        `control: ${second.folder}/control.sock\nrelay: { folder: ${folder}/control.relay }\n${relayTo(origin.target)}`,
      );
      const { message } = await second.door.event("relay.elsewhere");
      expect(message).toBe(
        `the relay in ${folder}/control.relay/ reads ${first.file}: give each door its own relay.folder`,
      );
    } finally {
      await second.end();
    }
  });
});

describe("no target", () => {
  const sees = (name: string) => get(scene.door.port, { ...app, name });

  it("that refuses, or whose name has no address: an alert, and one line that names target and reason", async () => {
    const port = await deadPort();
    const dns = await DnsServer.start();
    try {
      await scene.startRelaying(
        `relay: { resolvers: ["127.0.0.1:${dns.port}"] }\nbackends: { app: { relay: ["127.0.0.1:${port}", "nobody.internal:443"], hold: 0 } }\nroutes: { app.test: app }\n`,
        ["app"],
      );
      await expect(sees("app.test")).rejects.toThrow(/tlsv1 alert internal error/);
      const failed = await scene.door.event("target.failed", ({ target }) => target === `127.0.0.1:${port}`);
      expect(failed).toMatchObject({ level: "warn", backend: "app", reason: "ECONNREFUSED" });
      const { message } = await scene.door.event("name.failed");
      expect(message).toBe("nobody.internal: the name has no address");
      let asked = 1;
      // It rests for a second at first, and after each failure for longer.
      const { backends, counters } = await until("a look at it while it rests", async () => {
        const status = await scene.relay();
        if (status.backends[0]!.targets[0]!.state === "resting") return status;
        await expect(sees("app.test")).rejects.toThrow(/tlsv1 alert internal error/);
        asked++;
        return undefined;
      });
      expect(backends[0]!.targets.map(({ state }) => state)).toEqual(["resting", "unresolved"]);
      expect(counters).toMatchObject({ received: asked, connected: 0, refused: asked, defect: 0 });
    } finally {
      dns.close();
    }
  });

  it("but another one: the next is tried, and the client does not notice", async () => {
    const port = await deadPort();
    await scene.startRelaying(
      `backends: { app: { relay: ["127.0.0.1:${port}", "${origin.target}"] } }\nroutes: { app.test: app }\n`,
      ["app"],
    );
    for (let i = 0; i < 4; i++) expect((await sees("app.test")).status).toBe(200);
    expect((await scene.relay()).counters).toMatchObject({ connected: 4, refused: 0 });
  });

  it("and a fallback that takes sockets over: an instance of that gets the connection", async () => {
    const port = await deadPort();
    await scene.backend({ kind: "https", path: scene.at("spare"), certificate: app, name: "spare" });
    await scene.startRelaying(
      `backends: { app: { relay: "127.0.0.1:${port}", hold: 0, fallback: spare }, spare: { handoff: ${scene.at("spare")} } }\nroutes: { app.test: app }\n`,
      ["app"],
    );
    for (let i = 0; i < 3; i++) {
      const { body, client } = await sees("app.test");
      expect([body.name, body.client]).toEqual(["spare", client]);
      expect(body.serverName).toBe("app.test");
    }
    expect((await scene.relay()).counters).toMatchObject({ fallback: 3, delivered: 3, refused: 0, defect: 0 });
  });

  it("and a fallback that takes sockets over, which is started again: its clients wait for it", async () => {
    const port = await deadPort();
    await scene.startRelaying(
      `backends: { app: { relay: "127.0.0.1:${port}", hold: 0, fallback: spare }, spare: { handoff: ${scene.at("spare")}, hold: 60s } }\nroutes: { app.test: app }\n`,
      ["app"],
    );
    const answer = sees("app.test");
    await until("it to wait", async () => (await scene.relay()).counters.fallback === 1);
    await scene.backend({ kind: "https", path: scene.at("spare"), certificate: app, name: "spare" });
    expect((await answer).body.name).toBe("spare");
    expect((await scene.relay()).counters).toMatchObject({ fallback: 1, delivered: 1, refused: 0, defect: 0 });
  });

  it("and a fallback that relays, or refuses in its own way", async () => {
    const port = await deadPort();
    const dead = `"127.0.0.1:${port}", hold: 0`;
    await scene.startRelaying(
      `backends: { app: { relay: ${dead}, fallback: spare }, spare: { relay: "${origin.target}" }, bad: { relay: ${dead}, fallback: sorry }, sorry: { reject: access_denied } }\nroutes: { app.test: app, bad.test: bad }\n`,
      ["app", "spare", "bad"],
    );
    expect((await sees("app.test")).body.name).toBe("app.test");
    await expect(sees("bad.test")).rejects.toThrow(/tlsv1 alert access denied/);
  });
});
