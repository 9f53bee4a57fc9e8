/** A door that is started as root and becomes nobody: what it still can do, which is all that it has to. */
import { chmodSync, chownSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { native } from "../../src/native/addon.js";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import type { DoorOptions } from "../support/door-process.js";
import { Installed } from "../support/installed.js";
import { ownLoopback } from "../support/own-loopback.js";
import { catches, childrenOf, listeningPorts, threadsOf } from "../support/process-status.js";
import { program } from "../support/programs.js";
import { RawClient } from "../support/raw-client.js";
import { Scene } from "../support/scene.js";
import { until } from "../support/wait.js";
import { buildHello } from "../tls/hello-builder.js";

const NOBODY = 65534;
const SIGUSR1 = 10;
const isRoot = process.getuid!() === 0;
/** Who isn't root stays itself, and gives up the rest. */
const user = isRoot ? "user: nobody\n" : "";
const uid = isRoot ? NOBODY : process.getuid!();
const abi = native.landlockAbi();

const hello = (serverName: string) => Buffer.concat([buildHello({ serverName }), Buffer.from("END\n")]);
const servedBy = async (client: RawClient) => JSON.parse((await client.reply).received.toString()).name;
let scene: Scene;
let installed: Installed;

beforeEach(() => {
  scene = new Scene();
  chmodSync(scene.folder, 0o755);
  for (const folder of ["run", "sockets"]) mkdirSync(join(scene.folder, folder));
  if (isRoot) chownSync(join(scene.folder, "run"), NOBODY, NOBODY);
  installed = new Installed(scene.folder, { whole: true });
});

afterEach(() => scene.end());

const control = () => join(scene.folder, "run", "control.sock");
const pidfile = () => join(scene.folder, "run", "door.pid");
const socketOf = (name: string) => join(scene.folder, "sockets", name);
const configuration = ({ more = "", keepBindService = false, routes = "app.test: app" } = {}) => `${user}
privileges: { landlock: true, keepBindService: ${keepBindService} }
control: ${control()}
pidfile: ${pidfile()}
backends:
  app: { handoff: "${socketOf("app.sock")}", hold: 60s }
  pool: { handoff: "${join(scene.folder, "sockets", "pool")}/", hold: 60s }
routes: { ${routes}, pool.test: pool }
${more}`;

const start = (options: DoorOptions & { channels?: number } = {}, text = configuration()) =>
  scene.startDoor(text, { program: installed.program, ...options });
/** Its file is for root and the group of the door only. */
async function backend(name: string, path = socketOf(`${name}.sock`)) {
  const process = await scene.backend({ kind: "raw", path, name });
  if (isRoot) chownSync(path, 0, NOBODY);
  chmodSync(path, 0o660);
  return process;
}
const ask = (...args: string[]) => sniHandoff([...args, "--control", control()]);
const status = async () => JSON.parse((await ask("status", "--json")).stdout);

/** In any of its threads. */
function expectNoPrivileges(pid: number): void {
  const threads = threadsOf(pid);
  expect(threads.length).toBeGreaterThan(4);
  for (const fields of threads) {
    expect(fields.get("Uid")).toBe(Array(4).fill(uid).join("\t"));
    for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(fields.get(set)).toMatch(/^0+$/);
    expect(fields.get("NoNewPrivs")).toBe("1");
  }
}

describe("a door without privileges", () => {
  it("finds the engine of patterns when a reload brings the first one", async () => {
    await backend("app");
    const door = await start({ channels: 1 });
    door.write(configuration({ more: 'patterns: [{ match: "tenant-[0-9]+", backend: app }]\n' }));
    expect(await door.reload()).toMatchObject({ event: "reloaded" });
    expect(await servedBy(await scene.client(hello("tenant-7")))).toBe("app");
    await door.stop();
  });

  it("serves, and says what is in force", async () => {
    await backend("app");
    const door = await start({ workers: 2, channels: 2 });
    expect(door.pid).toBe(door.child.pid);
    expectNoPrivileges(door.pid);
    expect(await servedBy(await scene.client(hello("app.test")))).toBe("app");
    const landlock = expect.stringMatching(abi > 0 ? new RegExp(`^abi ${abi}: \\d+ paths$`) : /^not /);
    expect(await status()).toMatchObject({
      privileges: { uid, noNewPrivileges: true, capabilities: [], landlock },
      listeners: [{ address: `127.0.0.1:${door.port}`, source: "configuration" }],
    });
    const { stdout } = await ask("status");
    expect(stdout).toMatch(/^privileges +.*\(\d+:\d+\), no new privileges, no capabilities,\n +landlock /m);
    expect(await scene.counters()).toMatchObject({ accepted: 1, acknowledged: 1, defect: 0 });
    expect(existsSync(control())).toBe(false);
    expect(existsSync(pidfile())).toBe(false);
  });

  it("reloads a configuration file that another one took the place of", async () => {
    await backend("app");
    const door = await start({ channels: 1 });
    door.write(configuration({ routes: "app.test: app, new.test: app" }));
    const { status, stdout } = await ask("reload");
    expect(stdout).toBe("generation 2 is in force: 3 names, 2 backends\n  routes added: 1\n    + new.test -> app\n");
    expect(status).toBe(0);
    expect(await servedBy(await scene.client(hello("new.test")))).toBe("app");
    await scene.counters();
  });

  it("finds backends again whose folder was removed and made anew", async () => {
    const pool = join(scene.folder, "sockets", "pool");
    mkdirSync(pool);
    const before = [await backend("app"), await backend("pool", join(pool, "one.sock"))];
    await start({ channels: 2 });
    for (const process of before) await process.kill();
    rmSync(join(scene.folder, "sockets"), { recursive: true });
    const waiting = await Promise.all(["app.test", "pool.test"].map((name) => scene.client(hello(name))));
    mkdirSync(pool, { recursive: true });
    await backend("app");
    await backend("pool", join(pool, "two.sock"));
    expect(await Promise.all(waiting.map(servedBy))).toEqual(["app", "pool"]);
    await scene.counters();
  });

  it("upgrades again and again, to the package that is installed now", async () => {
    await backend("app");
    const door = await start({ workers: 2, channels: 2 });
    const first = door.pid;
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    installed.replace(
      `console.log('{"event":"replaced"}');\n${readFileSync(installed.program, "utf8").replace("#!/usr/bin/env node", "")}`,
    );
    expect(await door.upgrade()).toMatchObject({ event: "upgraded" });
    expect(door.log.some(({ event }) => event === "replaced")).toBe(true);
    expect(door.pid).not.toBe(first);
    expectNoPrivileges(door.pid);
    expect(readFileSync(pidfile(), "utf8")).toBe(`${door.pid}\n`);
    expect(await servedBy(await scene.client(hello("app.test")))).toBe("app");
    const landlock = expect.stringMatching(abi > 0 ? /^abi \d+: \d+ paths$/ : /^not /);
    expect(await status()).toMatchObject({
      pid: door.pid,
      privileges: { uid, capabilities: [], landlock },
      listeners: [{ source: "inherited" }],
    });
    // No socket is there twice: what is closed later would go on listening.
    await scene.counters();
    expect(existsSync(control())).toBe(false);
    expect(existsSync(pidfile())).toBe(false);
  });

  it("opens no port for SIGUSR1, neither while it serves nor while it starts in an upgrade", async () => {
    const door = await start();
    process.kill(door.pid, "SIGUSR1");
    let signals = 0;
    const ports = new Set<number>();
    // On a busy machine few come in time: once more, then.
    while (signals <= 5) {
      const before = door.pid;
      const upgraded = door.upgrade();
      let child: number | undefined;
      await until("the new process to be in charge", () => {
        child ??= childrenOf(before)[0];
        // Until Node has a handler the signal would end it.
        if (child !== undefined && catches(child, SIGUSR1)) {
          process.kill(child, "SIGUSR1");
          signals++;
          for (const port of listeningPorts(child)) ports.add(port);
        }
        return door.pid !== before;
      });
      expect(await upgraded).toMatchObject({ event: "upgraded", successor: child ?? door.pid });
    }
    await door.reload();
    expect([...ports, ...listeningPorts(door.pid)].filter((port) => port !== door.port)).toEqual([]);
    expect(door.child.stderr).not.toMatch(/Debugger listening/);
    await scene.counters();
  });

  it("says that backends in a folder that it cannot see any more take a restart", async () => {
    const door = await start();
    const other = new Scene();
    chmodSync(other.folder, 0o755);
    door.write(configuration().replace("\nroutes:", `\n  other: { handoff: "${other.folder}/instances/" }\nroutes:`));
    const { status, stdout } = await ask("reload");
    const away = `needs restart: the door gave up its access to ${other.folder} (read_dir) when it was started`;
    expect(stdout.includes(away)).toBe(abi > 0);
    expect(status).toBe(0);
    rmSync(other.folder, { recursive: true });
    await scene.counters();
  });
});

describe("a listener that a reload is to add", () => {
  const loopback = ownLoopback;
  const adding = (address: string, options: { keepBindService?: boolean } = {}) => {
    const { door } = scene;
    const listeners = `listeners: [{ address: "127.0.0.1:${door.port}" }, { address: "${address}" }]`;
    door.write(`${listeners}\nworkers: 1\n${configuration(options)}`, { whole: true });
    return ask("reload");
  };

  it.each([`${loopback}:443`, `${loopback}:0`])("%s takes a restart: binding was given up", async (address) => {
    const refuses = abi >= 4 || !address.endsWith(":0");
    await start();
    const { status, stderr } = await adding(address);
    expect(status).toBe(refuses ? 1 : 0);
    if (refuses) {
      expect(stderr).toContain(`cannot listen on ${address}`);
      expect(stderr).toContain("the door has given up binding ports: restart it for this listener");
      expect(stderr).toContain("privileges.keepBindService: true");
      expect(stderr).not.toMatch(/below 1024|run as root/);
    }
    expect(await servedByAnyone()).toBe("FIN");
    await scene.door.stop();
  });

  it("is added where privileges.keepBindService is set, port below 1024 or not", async () => {
    await start({}, configuration({ keepBindService: true }));
    const port = isRoot ? 443 : 0;
    const { status, stdout, stderr } = await adding(`${loopback}:${port}`, { keepBindService: true });
    expect(stderr).toBe("");
    expect(stdout).toContain(`+ listener ${loopback}:${port}`);
    expect(status).toBe(0);
    const { listeners } = scene.door.log.findLast(({ event }) => event === "reloaded")!;
    const added = Number((listeners as string[])[1]!.split(":")[1]);
    const client = await RawClient.connect(added, undefined, loopback);
    client.send(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    expect((await client.reply).end).toBe("FIN");
    client.close();
    for (const fields of threadsOf(scene.door.pid)) {
      expect(fields.get("CapEff")).toBe(isRoot ? "0000000000000400" : "0000000000000000");
    }
    await scene.door.stop();
  });

  /** How a client ends that speaks no TLS: the door answers. */
  async function servedByAnyone(): Promise<string> {
    const client = await scene.client(Buffer.from("GET / HTTP/1.1\r\n\r\n"));
    return (await client.reply).end;
  }
});

describe("a door that cannot become what it is told to", () => {
  const run = async (text: string, prefix: readonly string[] = []) => {
    const file = join(scene.folder, "door.yaml");
    writeFileSync(file, text);
    const [command, ...args] = [...prefix, process.execPath, installed.program, "serve", "--config", file];
    const child = new Child(command!, args);
    const { status } = await child.ended;
    return { status, said: child.stderr, lines: child.lines };
  };
  const asNobody = isRoot
    ? [program("setpriv"), `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--inh-caps=-all"]
    : [];

  it("because it is not root says how it can", async () => {
    const { status, said, lines } = await run(
      `listeners: [{ address: "127.0.0.1:0" }]\nuser: daemon\nbackends: {}\n`,
      asNobody,
    );
    expect(said).toMatch(
      /door\.yaml: user: this process runs as user \d+, group \d+ and may not become user daemon \(1\), group 1; start it as root, or as that user and group, or remove "user" and "group"\n$/,
    );
    expect(status).toBe(1);
    expect(lines).toEqual([]);
  });

  it("because there is no such user says where that stands", async () => {
    const { status, said } = await run(`listeners: [{ address: "127.0.0.1:0" }]\nuser: no-such-user\n`);
    expect(said).toMatch(/door\.yaml:2:7: user: found "no-such-user", but there is no such user/);
    expect(status).toBe(2);
  });

  it("because a port needs privilege says the three remedies", async () => {
    // A network namespace of its own, where ip_unprivileged_port_start is what the kernel has it.
    const prefix = isRoot ? [program("unshare"), "--net", ...asNobody] : [];
    const { status, said } = await run(`listeners: [{ address: "0.0.0.0:80" }]\nbackends: {}\n`, prefix);
    expect(said).toMatch(/^cannot listen on 0\.0\.0\.0:80: .*EACCES.*; ports below 1024 need privilege: run as root/);
    expect(said).toContain("grant CAP_NET_BIND_SERVICE");
    expect(said).toContain("net.ipv4.ip_unprivileged_port_start");
    expect(status).toBe(1);
  });

  it("because the program is where only root may read says where to install it", async () => {
    if (!isRoot) return;
    chmodSync(join(scene.folder, "installed"), 0o700);
    const { status, said } = await run(`listeners: [{ address: "127.0.0.1:0" }]\nuser: nobody\nbackends: {}\n`);
    expect(said).toMatch(/^user 65534 cannot read .*\(EACCES\), which is part of this program: install it where/);
    expect(status).toBe(1);
  });
});
