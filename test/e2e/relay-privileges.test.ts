/** Who the relay is: the configured user, without capabilities, whoever starts it; and under the door's Landlock rules. */
import { chmodSync, statSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { type Certificate, certificate } from "../support/certificates.js";
import { get } from "../support/https-client.js";
import { Installed } from "../support/installed.js";
import { catches, isAlive, threadsOf } from "../support/process-status.js";
import { RelayScene } from "../support/relay-scene.js";
import type { TlsOrigin } from "../support/tls-origin.js";
import { until } from "../support/wait.js";

const NOBODY = 65534;
const SIGUSR1 = 10;
const isRoot = process.getuid!() === 0;
const user = isRoot ? "user: nobody\n" : "";
const uid = isRoot ? NOBODY : process.getuid!();

let scene: RelayScene;
let app: Certificate;
let origin: TlsOrigin;
let installed: Installed;

beforeEach(async () => {
  scene = new RelayScene();
  chmodSync(scene.folder, 0o755);
  installed = new Installed(scene.folder, { whole: true });
  app = await certificate("app.test");
  origin = await scene.origin(app);
});

afterEach(() => scene.end());

const configuration = (more = "") =>
  `${user}${more}backends: { app: { relay: "${origin.target}", hold: 60s } }\nroutes: { app.test: app }\n`;

/** In any of its threads. */
function expectNoPrivileges(pid: number): void {
  for (const fields of threadsOf(pid)) {
    expect(fields.get("Uid")).toBe(Array(4).fill(uid).join("\t"));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(fields.get(set)).toMatch(/^0+$/);
    expect(fields.get("NoNewPrivs")).toBe("1");
  }
  expect(catches(pid, SIGUSR1)).toBe(true);
}

describe.runIf(isRoot)("a relay", () => {
  it("of a door that gave up its privileges has none either, and is started again", async () => {
    const options = { program: installed.program };
    const { pid, process: own } = await scene.startRelaying(
      configuration("privileges: { landlock: true }\n"),
      ["app"],
      options,
    );
    expect((await get(scene.door.port, app)).status).toBe(200);
    expect(own.user).toBe(uid);
    expectNoPrivileges(pid);
    const { mode, uid: owner } = statSync(`${scene.folder}/control.relay`);
    expect([(mode & 0o777).toString(8), owner]).toEqual(["755", uid]);
    process.kill(pid, "SIGKILL");
    await until("its end", () => !isAlive(pid));
    expect((await get(scene.door.port, app)).status).toBe(200);
    const next = await scene.relay();
    expect(next.pid).not.toBe(pid);
    expectNoPrivileges(next.pid);
  });

  it.runIf(native.landlockAbi() >= 4)(
    "is out of reach of a door that was confined without one: a reload says so",
    async () => {
      await scene.startDoor(
        `${scene.head}${user}privileges: { landlock: true }\nbackends: { app: { handoff: ${scene.at("app")} } }\nroutes: { app.test: app }\n`,
        { program: installed.program },
      );
      scene.door.write(`${scene.head}${configuration("privileges: { landlock: true }\n")}`);
      const { details } = await scene.door.reload();
      expect(details).toContain(
        "needs restart: the door gave up its access to connecting over TCP (for a relay that it starts) when it was started",
      );
    },
  );

  it("that is started by hand becomes the user, and the door finds it", async () => {
    await scene.startDoor(`${scene.head}relay: { start: false }\n${configuration()}`, { program: installed.program });
    await scene.startRelay(scene.door.file, installed.program);
    expect((await get(scene.door.port, app)).status).toBe(200);
    const { pid, process: own } = await scene.relay();
    expect(own.user).toBe(uid);
    expectNoPrivileges(pid);
  });
});

describe("a relay's folder", () => {
  const folder = () => `${scene.folder}/control.relay`;

  it("that others may write to is refused, with what to do", async () => {
    await scene.startDoor(
      `${scene.head}relay: { start: false }\nbackends: { app: { relay: "${origin.target}" } }\ndefault: app\n`,
    );
    const relay = await scene.startRelay(scene.door.file);
    await relay.end("SIGTERM");
    chmodSync(folder(), 0o777);
    await expect(scene.startRelay(scene.door.file)).rejects.toThrow(
      `cannot use the relay's folder ${folder()}: its mode 777 lets others put sockets there; chmod go-w ${folder()}`,
    );
  });
});
