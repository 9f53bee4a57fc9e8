/** Who may receive, and who may hand over: processes of users that are not this one's, on both sides. */
import { chmodSync, chownSync, mkdirSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { receive } from "sni-handoff/backend";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../support/child.js";
import { Installed } from "../support/installed.js";
import { program } from "../support/programs.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";

/** Debian's users of these numbers: daemon, bin, nobody. */
const DAEMON = 1;
const BIN = 2;
const NOBODY = 65534;
const rogue = fileURLToPath(new URL("../fixtures/rogue.mjs", import.meta.url));

let scene: Scene;
let instances: Child[];

beforeEach(() => {
  scene = new Scene();
  chmodSync(scene.folder, 0o755);
  instances = [];
});

afterEach(async () => {
  for (const each of instances) await each.end("SIGKILL");
  await scene.end();
});

/** An instance of another user's, at a path that is another user's, too. */
async function instance(path: string, user: number, owner = user): Promise<Child> {
  const child = new Child(process.execPath, [rogue, JSON.stringify({ path, behaviour: "never answers", owner, user })]);
  instances.push(child);
  await child.line("its being ready", (line) => line.startsWith('{"ready"'));
  return child;
}

/** A command that runs another as a user, in the group of the same number and in no other. */
const as = (user: number) => [program("setpriv"), `--reuid=${user}`, `--regid=${user}`, "--clear-groups"];
const backend = (path: string, more = "") =>
  `backends: { app: { handoff: "${path}"${more} } }\nroutes: { app.test: app }\n`;

describe.runIf(process.getuid!() === 0)("who was first where everybody may make a socket", () => {
  const violation = (path: string, user: number) => ({
    message: expect.stringContaining(
      `READY from user ${user}, who may not serve ${path}: only root, the door's own user and the backend's "user:" may where every user could have made it`,
    ),
    uid: user,
  });
  let shared: string;
  beforeEach(() => {
    shared = join(scene.folder, "shared");
    mkdirSync(shared);
    chmodSync(shared, 0o1777);
  });

  it("is given nothing, though the path's owner", async () => {
    const path = join(shared, "app.sock");
    const { pid } = await instance(path, DAEMON);
    const door = await scene.startDoor(backend(path));
    expect(await door.event("channel.violation")).toMatchObject({ ...violation(path, DAEMON), pid });
    await door.stop();
  });

  it("is given nothing in a folder of its own there, either", async () => {
    const pool = join(shared, "pool");
    mkdirSync(pool);
    chownSync(pool, DAEMON, DAEMON);
    await instance(join(pool, "a.sock"), DAEMON);
    const door = await scene.startDoor(backend(`${pool}/`));
    expect(await door.event("channel.violation")).toMatchObject(violation(join(pool, "a.sock"), DAEMON));
    await door.stop();
  });

  it("is given connections if it is root, or who the configuration names", async () => {
    const path = join(shared, "app.sock");
    const { pid } = await instance(path, DAEMON);
    const door = await scene.startDoor(backend(path, ", user: daemon"));
    expect(await door.event("channel.ready")).toMatchObject({ uid: DAEMON, pid });
    await door.stop();
    const root = await instance(join(shared, "root.sock"), 0, NOBODY);
    const other = await scene.startDoor(backend(join(shared, "root.sock")));
    expect(await other.event("channel.ready")).toMatchObject({ uid: 0, pid: root.pid });
    await other.stop();
  });
});

describe.runIf(process.getuid!() === 0)("a door of another user", () => {
  let installed: Installed;
  const startAs = (user: number, path: string) =>
    scene.startDoor(backend(path), { program: installed.program, prefix: as(user) });
  beforeEach(() => {
    installed = new Installed(scene.folder, { whole: true });
  });

  it("reaches an instance by the group of its path, and is told so if it cannot", async () => {
    const path = scene.at("app");
    const { pid } = await instance(path, DAEMON);
    chownSync(path, DAEMON, NOBODY);
    chmodSync(path, 0o660);
    const stranger = await startAs(BIN, path);
    expect(await stranger.event("instance.unreachable")).toMatchObject({ path, code: "EACCES" });
    await stranger.stop();
    const door = await startAs(NOBODY, path);
    expect(await door.event("channel.ready")).toMatchObject({ uid: DAEMON, pid });
    await door.stop();
  });

  it("is no door for an instance that does not have it on its list, and is named there", async () => {
    const path = scene.at("app");
    const taken: unknown[] = [];
    const warnings: { code?: string; uid?: number; pid?: number }[] = [];
    const receiver = await receive({ path, mode: 0o666, allowedUsers: ["nobody"] }, (socket) => {
      taken.push(socket);
    });
    receiver.on("warning", (warning) => warnings.push(warning));
    try {
      const stranger = await startAs(BIN, path);
      const warning = await until("the warning", () => warnings[0]);
      expect(warning).toMatchObject({ code: "ERR_NOT_PERMITTED", uid: BIN, pid: stranger.pid });
      expect(stranger.log.some(({ event }) => event === "channel.ready")).toBe(false);
      await stranger.stop();
      const door = await startAs(NOBODY, path);
      expect(await door.event("channel.ready")).toMatchObject({ uid: 0, pid: process.pid });
      await door.stop();
      expect(warnings).toHaveLength(1);
      expect(taken).toEqual([]);
    } finally {
      await receiver.close();
    }
  });
});
