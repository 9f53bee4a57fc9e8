/**
 * Calls that fail while a door or a receiver starts: it works all the same, or ends and says what failed; nothing is left
 * behind. And a worker that cannot wait for events any more.
 */
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { Child } from "../../support/child.js";
import { DoorProcess } from "../../support/door-process.js";
import { Folder } from "../../support/folder.js";
import { speak } from "../../support/raw-client.js";
import { buildHello } from "../../tls/hello-builder.js";
import { type Case, casesOf, type Rule } from "./cases.js";
import { compileInjector, Injector } from "./inject.js";
import { manual } from "./manual.js";

const at = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const temporary = new Folder();
let library: string;
let folder: string;

beforeAll(() => {
  library = compileInjector(temporary.path);
});

beforeEach(() => {
  folder = mkdtempSync(join(temporary.path, "start-"));
});

afterEach(() => rmSync(folder, { recursive: true }));

/** A process each takes half a second: one errno of each call, all of them in the long form. */
const isLong = Number(process.env.NTH ?? 2) > 2;
const rule = (site: string, errors: readonly string[], usual: string): Rule => ({
  site,
  errors: isLong ? errors.filter((errno) => errno !== "EINTR") : [usual],
});
/** The first calls, each alone. */
const alone = (rules: readonly Rule[]) =>
  rules
    .flatMap((each) => casesOf({ ...each, once: each.errors }))
    .map((tried) => [tried.site, tried.errno, tried.how, tried] as const);

function injector(tried: Case): Injector {
  const made = new Injector(library, `${folder}/faults`, "sni_handoff.node");
  made.arm(tried.site, tried.errno, tried.pattern);
  return made;
}

/** It is ready, and ends in order; or it has ended and said why. What is left in the folder by then. */
async function startAndEnd(child: Child, isReady: (line: string) => boolean, tried: Case): Promise<string[]> {
  const before = ["faults", ...readdirSync(folder)];
  const ready = await child.line("it to be ready", isReady).catch(() => false);
  const { status, signal } = await child.end("SIGTERM");
  const said = `${child.lines.join("\n")}\n${child.stderr}`;
  if (ready !== false) expect({ status, signal, said }).toMatchObject({ status: 0 });
  else {
    expect({ status, signal, said }).toMatchObject({ status: 1, said: expect.stringContaining(tried.errno) });
    expect(child.stderr).not.toContain("    at ");
  }
  return readdirSync(folder).filter((name) => !before.includes(name) && !isStale(name, tried));
}

/** Where the folder cannot be locked at the end the path stays: the next owner removes it (handoff/path.ts). */
const isStale = (name: string, { site }: Case) => site === "flock" && name.endsWith(".sock");

describe("a door that starts", () => {
  const rules = [
    rule("socket", manual.socket, "ENFILE"),
    rule("setsockopt", manual.socketOption, "EINVAL"),
    rule("bind", manual.bind, "ENOMEM"),
    rule("listen", manual.listen, "EBADF"),
    rule("getsockname", manual.getsockname, "ENOBUFS"),
    rule("epoll_create1", manual.epollCreate, "EMFILE"),
    rule("epoll_ctl_add", manual.epollAdd, "ENOSPC"),
    rule("flock", manual.flock, "ENOLCK"),
  ];

  it.each(alone(rules))("%s %s %s", async (_site, _errno, _how, tried) => {
    const faults = injector(tried);
    const file = `${folder}/door.yaml`;
    writeFileSync(
      file,
      `listeners: [{ address: "127.0.0.1:0" }]
control: ${folder}/control.sock
workers: 1
backends: { app: { handoff: "${folder}/app.sock" } }
routes: { app.test: app }
`,
    );
    const env = { ...process.env, ...faults.environment };
    const child = new Child(process.execPath, [at("../../../dist/cli/main.js"), "serve", "--config", file], { env });
    expect(await startAndEnd(child, (line) => line.includes('"event":"ready"'), tried)).toEqual([]);
    faults.close();
  });
});

describe("a receiver that starts", () => {
  const rules = [
    rule("socket", manual.socket, "EMFILE"),
    rule("bind", manual.bind, "ENOMEM"),
    rule("listen", manual.listen, "EBADF"),
    rule("flock", manual.flock, "ENOLCK"),
  ];

  it.each(alone(rules))("%s %s %s", async (_site, _errno, _how, tried) => {
    const faults = injector(tried);
    const env = { ...process.env, ...faults.environment };
    const child = new Child(process.execPath, [at("../fixtures/receiver.mjs"), `${folder}/app.sock`, "1"], { env });
    const before = ["faults"];
    const ready = await child.line("it to be ready", (line) => line.startsWith('{"ready"')).catch(() => undefined);
    const { status } = await child.end("SIGTERM");
    if (ready === undefined) expect(child.stderr).toContain(tried.errno);
    expect(status).toBe(ready === undefined ? 1 : 0);
    expect(readdirSync(folder).filter((name) => !before.includes(name) && !isStale(name, tried))).toEqual([]);
    faults.close();
  });
});

describe("an upgrade", () => {
  // The first of these are the leader's, or, where it makes none, the successor's, which has the same library.
  it.each([
    ["socketpair", "EMFILE", 1],
    ["sendmsg", "ENOBUFS", 1],
    ["sendmsg", "ETOOMANYREFS", 2],
    ["fcntl_dupfd", "EMFILE", 1],
    ["epoll_create1", "ENFILE", 1],
    ["epoll_ctl_add", "ENOSPC", 1],
    ["getsockname", "ENOBUFS", 1],
  ])(
    "of which %s fails (%s): somebody is in charge and serves, and the next one goes well",
    async (site, errno, first) => {
      const faults = new Injector(library, `${folder}/faults`, "sni_handoff.node");
      const configuration = `control: ${folder}/control.sock\nbackends: {}\n`;
      const door = await DoorProcess.start(folder, configuration, { prefix: faults.prefix });
      const answersTo = async () => (await speak(door.port, buildHello({ serverName: "app.test" }))).received[6];
      try {
        faults.arm(site, errno, { first, every: 0 });
        const line = await door.upgrade();
        const { failed } = faults.disarm(site);
        if (line.event === "upgrade.failed") expect({ failed, message: line.message }).toMatchObject({ failed: 1 });
        expect(await answersTo()).toBe(112);
        expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
        expect(await answersTo()).toBe(112);
      } finally {
        faults.close();
        await door.kill();
      }
    },
  );
});

describe("a worker that waits for events", () => {
  let door: DoorProcess;
  let faults: Injector;

  beforeEach(async () => {
    faults = new Injector(library, `${folder}/faults`, "sni_handoff.node");
    const configuration = "backends: {}\n";
    door = await DoorProcess.start(folder, configuration, { prefix: faults.prefix });
  });

  afterEach(async () => {
    faults.close();
    if (door.child.running) await door.kill();
  });

  /** The alert: the worker examines what comes. */
  const isServed = async () =>
    expect((await speak(door.port, buildHello({ serverName: "app.test" }))).received[6]).toBe(112);

  it.each(["ENOSYS", "EPERM"])("has epoll_pwait2 answer %s, and goes on with epoll_wait", async (errno) => {
    faults.arm("epoll_pwait2", errno, { first: 1, every: 1 });
    for (let i = 0; i < 3; i++) await isServed();
    expect(faults.disarm("epoll_pwait2").failed).toBeLessThanOrEqual(1);
    await door.stop();
  });

  it.each(["EBADF", "EFAULT", "EINVAL"])("cannot any more (%s): the door ends, and says so", async (errno) => {
    faults.arm("epoll_wait", errno, { first: 1, every: 1 });
    faults.arm("epoll_pwait2", errno, { first: 1, every: 1 });
    const ended = door.child.ended;
    void speak(door.port, buildHello({ serverName: "app.test" })).catch(() => {});
    expect((await ended).status).toBe(1);
    expect(door.log.find(({ level }) => level === "fatal")).toMatchObject({
      event: "worker.died",
      message: expect.stringMatching(new RegExp(`^a worker died: epoll_wait: .* \\(${errno}\\)$`)),
    });
  });
});
