/** What a process can and cannot do that gave up its privileges: all threads of it. */
import { type ChildProcess, spawn } from "node:child_process";
import {
  chmodSync,
  chownSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { afterEach, describe, expect, it } from "vitest";
import type { HandoffBackendSettings } from "../../../src/door/settings.js";
import { native } from "../../../src/native/addon.js";
import { until } from "../../support/wait.js";
import { ConfinedProcess, installPackage, isRoot, NOBODY, publicFolder, uid, user } from "./confined-process.js";

const abi = native.landlockAbi();
/** What a thing comes to where Landlock, from this ABI on, refuses it. */
const refusedFrom = (least: number, code = "EACCES") => (abi >= least ? code : "");

const sleepers: ChildProcess[] = [];
afterEach(() => {
  for (const each of sleepers.splice(0)) each.kill("SIGKILL");
});

/** A process of the same user that is not confined. */
function sleeper(): number {
  const child = spawn("sleep", ["1000"], { stdio: "ignore", ...(isRoot ? { uid: NOBODY, gid: NOBODY } : {}) });
  sleepers.push(child);
  return child.pid!;
}

function backend(path: string): HandoffBackendSettings {
  return {
    kind: "handoff",
    name: "app",
    path,
    balance: "round-robin",
    hold: 0,
    maxHeld: 0,
    maxHeldPerClient: 0,
    acknowledgeTimeout: 0,
    fallback: -1,
    uid: -1,
  } as HandoffBackendSettings;
}

/** Inodes of the process's own listening TCP sockets. */
function listening(pid: number): string[] {
  const own = new Set(
    readdirSync(`/proc/${pid}/fd`).flatMap((fd) => {
      try {
        return /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/${pid}/fd/${fd}`))?.[1] ?? [];
      } catch {
        return [];
      }
    }),
  );
  const lines = ["tcp", "tcp6"].flatMap((name) =>
    readFileSync(`/proc/${pid}/net/${name}`, "utf8").split("\n").slice(1),
  );
  const columns = lines.map((line) => line.trim().split(/\s+/));
  return columns.filter(([, , , state, , , , , , inode]) => state === "0A" && own.has(inode!)).map((each) => each[9]!);
}

describe("a process that gave up its privileges", () => {
  it("is the same process with the same descriptors, and no others", async () => {
    const confined = new ConfinedProcess(publicFolder(), {});
    const { pid, before, descriptors } = await confined.told();
    expect(pid).toBe(before.pid);
    expect(pid).toBe(confined.child.pid);
    const open = new Map(descriptors);
    expect(before.keep.map(([fd]) => [fd, open.get(fd)])).toEqual(before.keep);
    const others = descriptors.filter(([fd]) => fd > 2 && !before.keep.some(([kept]) => kept === fd));
    // Node's own.
    expect(others.filter(([, link]) => !/^(anon_inode|pipe):|^\/dev\/null$/.test(link))).toEqual([]);
  });

  it("has no privileges in any of its threads", async () => {
    const confined = new ConfinedProcess(publicFolder(), {});
    const tasks = await confined.ask<string[]>("tasks");
    expect(tasks.length).toBeGreaterThan(4);
    const own = /^Groups:\t(.*)$/m.exec(readFileSync("/proc/self/status", "utf8"))![1]!.trim();
    const groups = isRoot ? String(NOBODY) : own;
    for (const status of tasks) {
      const fields = new Map(status.split("\n").map((line) => line.split(":\t") as [string, string]));
      const ids = (id: number) => Array(4).fill(id).join("\t");
      expect(fields.get("Uid")).toBe(ids(uid));
      expect(fields.get("Gid")).toBe(ids(isRoot ? NOBODY : process.getgid!()));
      expect(fields.get("Groups")!.trim()).toBe(groups);
      expect(fields.get("NoNewPrivs")).toBe("1");
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) expect(fields.get(set)).toMatch(/^0+$/);
      if (isRoot) expect(fields.get("CapBnd")).toMatch(/^0+$/);
    }
  });

  it("is refused what it has no need of, on the main thread, in workers and in libuv's pool", async () => {
    const outside = publicFolder();
    chmodSync(outside, 0o777);
    const secret = join(outside, "secret");
    writeFileSync(secret, "secret");
    const server = createServer((socket) => socket.destroy()).listen(0, "127.0.0.1");
    await until("the server", () => server.listening);
    const { port } = server.address() as AddressInfo;
    const confined = new ConfinedProcess(publicFolder(), {});
    const results = await confined.ask("attempt", { secret, outside, port, process: sleeper() });
    server.close();
    const files = { shadow: "EACCES", read: refusedFrom(1), list: refusedFrom(1), write: refusedFrom(1) };
    const all = {
      ...files,
      bindPrivileged: "EACCES",
      bind: refusedFrom(4),
      connect: refusedFrom(4),
      signalInit: "EPERM",
      signal: refusedFrom(6, "EPERM"),
      execute: refusedFrom(1),
    };
    expect(results).toEqual({ main: all, worker: all, pool: files });
  });

  it("without Landlock has the user's own rights", async () => {
    const outside = publicFolder();
    const confined = new ConfinedProcess(outside, { privileges: { landlock: false, keepBindService: false } });
    expect((await confined.told()).inForce).toMatchObject({ landlock: "off", noNewPrivileges: true, capabilities: [] });
    const targets = { secret: confined.settings, outside, port: 1, process: sleeper() };
    const { main } = await confined.ask<{ main: object }>("attempt", targets);
    expect(main).toMatchObject({
      shadow: "EACCES",
      read: "",
      bind: "",
      connect: "ECONNREFUSED",
      signal: "",
      execute: "",
    });
  });

  it("reads its configuration again after the file was replaced", async () => {
    const confined = new ConfinedProcess(publicFolder(), {});
    await confined.told();
    writeFileSync(`${confined.settings}.new`, "another");
    renameSync(`${confined.settings}.new`, confined.settings);
    expect(await confined.ask("read", confined.settings)).toBe("another");
  });

  it("sees and reaches sockets in a folder that was removed and made again", async () => {
    const folder = publicFolder();
    const instances = join(folder, "run", "app");
    mkdirSync(instances, { recursive: true });
    const settings = [backend(`${instances}/`)];
    const confined = new ConfinedProcess(folder, { door: { backends: settings } });
    await confined.ask("watch", settings);
    const saw = (path: string) => (line: string) => JSON.parse(line)?.instances?.includes(path) === true;
    for (const name of ["one", "two"]) {
      rmSync(instances, { recursive: true });
      mkdirSync(instances);
      const path = join(instances, name);
      const fd = native.listenUnix(path, "seqpacket", { backlog: 1, mode: 0o666 });
      await confined.child.line(`the socket ${name}`, saw(path));
      native.close(fd);
    }
    const path = join(instances, "three");
    const fd = native.listenUnix(path, "seqpacket", { backlog: 1, mode: 0o666 });
    await confined.child.line("the socket three", saw(path));
    confined.child.process.stdin!.write(`${JSON.stringify(["connect", path])}\n`);
    const accepted = await until("its connection", () => {
      const connection = native.acceptUnix(fd);
      return connection === -1 ? undefined : { connection };
    });
    native.close(accepted.connection);
    native.close(fd);
  });

  it("makes and removes its control socket and its pidfile", async () => {
    const folder = publicFolder();
    const run = join(folder, "run");
    mkdirSync(run);
    chmodSync(run, 0o777);
    const control = { path: join(run, "control.sock") };
    const pidfile = join(run, "pid");
    const confined = new ConfinedProcess(folder, { control, pidfile });
    for (let i = 0; i < 2; i++) expect(await confined.ask("claim", control.path)).toBe(true);
    for (let i = 0; i < 2; i++) expect(await confined.ask("replace", pidfile)).toBe(String(confined.child.pid));
    expect(readdirSync(run)).toEqual([]);
  });

  it("starts itself again from a package that was replaced, as an upgrade does", async () => {
    const folder = publicFolder();
    const confined = new ConfinedProcess(folder, {});
    await confined.told();
    const modules = join(folder, "modules");
    installPackage(join(modules, "new"));
    renameSync(join(modules, "sni-handoff"), join(modules, "old"));
    renameSync(join(modules, "new"), join(modules, "sni-handoff"));
    const again = await confined.ask<{ status: number; stdout: string; stderr: string }>("again");
    expect(again).toMatchObject({ status: 0, stderr: "" });
    expect(JSON.parse(again.stdout)).toMatchObject({ uid, noNewPrivileges: true, capabilities: [] });
  });

  it("tells which privileges it has", async () => {
    const confined = new ConfinedProcess(publicFolder(), {});
    const { inForce } = await confined.told();
    expect(inForce).toMatchObject({ uid, noNewPrivileges: true, capabilities: [] });
    if (isRoot) expect(inForce).toMatchObject({ user: "nobody", gid: NOBODY });
    expect(inForce.landlock).toMatch(abi > 0 ? /^abi \d+: \d+ paths$/ : /^not /);
  });

  it("knows beforehand, and afterwards, which files it cannot read", async () => {
    const folder = publicFolder();
    const closed = join(folder, "closed");
    writeFileSync(closed, "", { mode: 0o000 });
    const absent = join(folder, "absent");
    const probes = [closed, absent, "/etc/passwd"];
    const confined = new ConfinedProcess(folder, { probes });
    const { before } = await confined.told();
    expect(before.unreadable).toEqual([
      { file: closed, code: "EACCES" },
      { file: absent, code: "ENOENT" },
    ]);
    expect(await confined.ask("unreadable", [confined.settings, closed])).toEqual([{ file: closed, code: "EACCES" }]);
  });

  it("may not become another user without being permitted to, and says so", async () => {
    const prefix = isRoot ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", "--"] : [];
    const identity = { uid: 12345, gid: 12345, user: "door" };
    const confined = new ConfinedProcess(publicFolder(), { identity }, { prefix });
    expect(await confined.told()).toEqual({
      code: "ERR_NOT_PERMITTED",
      message: expect.stringMatching(
        /door\.json: user: this process runs as user \d+, group \d+ and may not become user door \(12345\), group 12345; start it as root/,
      ),
    });
  });

  it("is left as it was if the program cannot be executed", async () => {
    const confined = new ConfinedProcess(publicFolder(), {}, { mode: "unable" });
    expect(await confined.told()).toEqual({
      thrown: { code: "ENOENT", message: expect.stringContaining("execve /nonexistent/node") },
      same: { flags: true, descriptors: true, privileges: true },
      keep: 2,
    });
  });
});

describe("privileges that are kept", () => {
  const keep = { landlock: true, keepBindService: true };

  it("CAP_NET_BIND_SERVICE by option, where it was there before", async () => {
    const confined = new ConfinedProcess(publicFolder(), { privileges: keep });
    const { inForce } = await confined.told();
    expect(inForce.uid).toBe(uid);
    expect(inForce.capabilities).toEqual(isRoot ? ["CAP_NET_BIND_SERVICE"] : []);
    const targets = { secret: "/etc/shadow", outside: "/", port: 1, process: 1 };
    const { main, worker } = await confined.ask<{ main: object; worker: object }>("attempt", targets);
    const expected = {
      bindPrivileged: isRoot ? "" : "EACCES",
      bind: "",
      shadow: "EACCES",
      connect: refusedFrom(4) || "ECONNREFUSED",
    };
    expect(main).toMatchObject(expected);
    expect(worker).toMatchObject(expected);
  });

  it.each([true, false])("what systemd gives to a user of its own: kept %s", async (keepBindService) => {
    const privileges = { landlock: true, keepBindService };
    const capability = "net_bind_service";
    const prefix = isRoot
      ? ["setpriv", `--reuid=${NOBODY}`, `--regid=${NOBODY}`, "--clear-groups", `--inh-caps=+${capability}`]
      : [];
    if (isRoot) prefix.push(`--ambient-caps=+${capability}`, "--");
    const confined = new ConfinedProcess(publicFolder(), { identity: undefined, privileges }, { prefix });
    const { inForce } = await confined.told();
    expect(inForce).toMatchObject({ uid, noNewPrivileges: true });
    expect(inForce.capabilities).toEqual(isRoot && keepBindService ? ["CAP_NET_BIND_SERVICE"] : []);
  });

  it("those with which root reaches the sockets of others, if there is no user", async () => {
    const confined = new ConfinedProcess(publicFolder(), { identity: undefined });
    const { inForce } = await confined.told();
    expect(inForce).toMatchObject({
      uid: process.getuid!(),
      noNewPrivileges: true,
      capabilities: isRoot ? ["CAP_CHOWN", "CAP_DAC_OVERRIDE"] : [],
    });
    const folder = publicFolder();
    const path = join(folder, "instance");
    const owner = isRoot ? { uid: NOBODY, gid: NOBODY } : {};
    const fd = native.listenUnix(path, "seqpacket", { backlog: 1, mode: 0o600, ...owner });
    if (isRoot) chownSync(folder, NOBODY, NOBODY);
    chmodSync(folder, 0o700);
    expect(await confined.ask("connect", path)).toBeNull();
    native.close(fd);
  });

  it("a user's number is enough", async () => {
    const number = isRoot ? 54321 : process.getuid!();
    const group = isRoot ? 54321 : process.getgid!();
    const identity = { uid: number, gid: group, user: String(number) };
    const { inForce } = await new ConfinedProcess(publicFolder(), { identity }).told();
    expect(inForce).toMatchObject({ uid: number, gid: group });
    if (isRoot) expect(inForce.user).toBe("54321");
  });
});

describe("SIGUSR1", () => {
  const settings = { identity: user, privileges: { landlock: false, keepBindService: false } };

  it("opens no inspector while Node's own handler is there", async () => {
    const confined = new ConfinedProcess(publicFolder(), settings, { mode: "bare" });
    const { before } = await confined.told();
    confined.child.process.kill("SIGUSR1");
    await until("Node's complaint", () => /inspector on .* failed/.test(confined.child.stderr));
    expect(confined.child.stderr).toContain("192.0.2.1:9229 failed: address not available");
    expect(listening(confined.child.pid)).toEqual([/\d+/.exec(before.keep[0]![1])![0]]);
    await confined.ask("handle");
    confined.child.process.kill("SIGUSR1");
    await confined.child.line("the handler's line", (line) => JSON.parse(line) === "SIGUSR1");
  });

  it("neither ends nor opens a process that executes itself", async () => {
    const confined = new ConfinedProcess(publicFolder(), settings);
    const { pid } = confined.child;
    await until("the second program", () => readFileSync(`/proc/${pid}/cmdline`, "utf8").includes("--inspect-port="));
    while (confined.child.lines.length === 0 && confined.child.running) {
      confined.child.process.kill("SIGUSR1");
      // Each costs Node a thread in vain: a flood of them would leave it no time to start.
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await confined.child.line("the program's start", (line) => JSON.parse(line)?.before !== undefined);
    expect(listening(pid)).toHaveLength(1);
  });
});
