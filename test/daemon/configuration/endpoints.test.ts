/** The keys about the process itself: control, metrics, user, privileges, limits, access log. */
import { execFileSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { sniHandoff } from "../../support/command-line.js";
import { ConfigurationFolder, LISTENERS } from "./scene.js";

const folder = new ConfigurationFolder();
const BASE = `${LISTENERS}backends: { app: { handoff: /run/app.sock }, pool: { handoff: pool.d/ } }\nroutes: { a.example: app, b.example: pool }\n`;

describe("one wrong thing is one problem, with its place", () => {
  const noUser = "but there is no such user; allowed: a user's name or number";
  const noGroup = "but there is no such group; allowed: a group's name or number";
  const loopback = 'allowed: "127.0.0.1" or "[::1]" with a port of 0 to 65535, such as 127.0.0.1:9443';
  const mode = 'allowed: permissions in quotes, such as "0660"';

  test.each([
    // --- control
    ["control: 5", "4:10: control: found 5; allowed: a unix socket's path, or a map with the key path"],
    ["control: {}", "4:10: control.path: is missing; allowed: a unix socket's path"],
    ['control: ""', '4:10: control: found ""; allowed: a unix socket\'s path'],
    ["control: { path: /c, owner: x }", "4:22: control.owner: is not a known key; allowed: path, mode, group"],
    ["control: { path: /c, mode: 0660 }", `4:28: control.mode: found 660 without quotes; ${mode}`],
    ['control: { path: /c, mode: "u=rw" }', `4:28: control.mode: found "u=rw"; ${mode}`],
    ['control: { path: /c, mode: "4660" }', `4:28: control.mode: found "4660"; ${mode}`],
    ["control: { path: /c, group: no-such }", `4:29: control.group: found "no-such", ${noGroup}`],
    ["control: { path: /c, group: -1 }", "4:29: control.group: found -1; allowed: a group's name or number"],
    [
      `control: /${"c".repeat(107)}`,
      `4:10: control: found a path of 108 bytes ("/${"c".repeat(74)}…"); allowed: 107 bytes (unix(7))`,
    ],
    [
      'control: "@door"',
      '4:10: control: found "@door": abstract addresses have no permissions; allowed: a socket\'s path',
    ],
    ["control: run/", '4:10: control: found "run/", which is a folder; allowed: a socket\'s path'],
    ['control: "a\\0b"', '4:10: control: found "a\\u0000b", which is no path'],
    ["control: /run/app.sock", '4:10: control: found "/run/app.sock", where backend app has its sockets'],
    [
      "control: { path: pool.d/control.sock }",
      '4:18: control.path: found "pool.d/control.sock", where backend pool has its sockets',
    ],
    // --- metrics
    ["metrics: 127.0.0.1:9443", '4:10: metrics: found "127.0.0.1:9443"; allowed: a map with the key address'],
    ["metrics: {}", `4:10: metrics.address: is missing; ${loopback}`],
    ["metrics: { address: localhost:1 }", `4:21: metrics.address: found "localhost:1"; ${loopback}`],
    [
      "metrics: { address: 0.0.0.0:1 }",
      `4:21: metrics.address: found "0.0.0.0:1", which others than this machine reach; ${loopback}`,
    ],
    [
      'metrics: { address: "*:1" }',
      `4:21: metrics.address: found "*:1", which others than this machine reach; ${loopback}`,
    ],
    [
      'metrics: { address: "[::]:1" }',
      `4:21: metrics.address: found "[::]:1", which others than this machine reach; ${loopback}`,
    ],
    // --- user and group
    ["user: no-such", `4:7: user: found "no-such", ${noUser}`],
    ["user: [root]", "4:7: user: found a list; allowed: a user's name or number"],
    ["user: 4294967295", "4:7: user: found 4294967295; allowed: a user's name or number"],
    ["group: no-such", `4:8: group: found "no-such", ${noGroup}`],
    [
      "user: 3999999999",
      "4:7: user: found 3999999999, which has no entry in passwd(5) and so no primary group; allowed: such a number with the key group",
    ],
    // --- pidfile
    ["pidfile: run/", '4:10: pidfile: found "run/", which is a folder; allowed: a file\'s path'],
    ["pidfile: /run/app.sock", '4:10: pidfile: found "/run/app.sock", where backend app has its sockets'],
    // --- access log
    ["accessLog: none", '4:12: accessLog: found "none"; allowed: all, errors, off, or a map with the key sample'],
    ["accessLog: false", "4:12: accessLog: found false; allowed: all, errors, off, or a map with the key sample"],
    [
      "accessLog: { sample: 0 }",
      "4:22: accessLog.sample: found 0; allowed: a whole number of connections from 1 to 1000000",
    ],
    [
      "accessLog: { rate: 5 }",
      "4:12: accessLog.sample: is missing; allowed: a whole number of connections from 1 to 1000000",
    ],
    // --- limits, timeouts, privileges
    [
      "limits: { waiting: 0 }",
      "4:20: limits.waiting: found 0; allowed: a whole number of connections from 1 to 1000000",
    ],
    [
      "limits: { acceptRate: 1.5 }",
      "4:23: limits.acceptRate: found 1.5; allowed: a whole number of connections a second from 0 to 1000000",
    ],
    ["limits: { held: -1 }", "4:17: limits.held: found -1; allowed: a whole number of connections from 0 to 1000000"],
    ["timeouts: { drain: 2h }", /^4:20: timeouts\.drain: found "2h"; allowed: .* from 0s to 1h$/],
    ["timeouts: { upgrade: 500ms }", /^4:22: timeouts\.upgrade: found "500ms"; allowed: .* from 1s to 1h$/],
    ["privileges: { landlock: off }", '4:25: privileges.landlock: found "off"; allowed: true or false'],
  ])("%s", async (text, problem) => {
    const problems = (await folder.problemsOf(`${BASE}${text}\n`)).map((line) => line.replace(/^door\.yaml:/, ""));
    expect(problems.slice(0, text.includes("rate: 5") ? 1 : undefined)).toEqual([
      typeof problem === "string" ? problem : expect.stringMatching(problem),
    ]);
  });

  test("metrics on an address that a listener has", async () => {
    const text = BASE.replace("127.0.0.1:0", "*:9443");
    expect(await folder.problemsOf(`${text}metrics: { address: "[::1]:9443" }\n`)).toEqual([
      'door.yaml:4:21: metrics.address: found "[::1]:9443", but listeners[0] has "*:9443", which takes the same connections',
    ]);
  });

  test("the pidfile as the control socket", async () => {
    expect(await folder.problemsOf(`${BASE}control: door.sock\npidfile: ./door.sock\n`)).toEqual([
      'door.yaml:5:10: pidfile: found "./door.sock", which is the control socket',
    ]);
  });
});

describe("values", () => {
  test("a control socket by its path alone", async () => {
    const { control } = await folder.load(`${BASE}control: c.sock\n`);
    expect(control).toEqual({ path: folder.at("c.sock"), mode: 0o660, gid: -1 });
  });

  test("a control socket's group by its name", async () => {
    const { control } = await folder.load(`${BASE}control: { path: /run/c.sock, group: root }\n`);
    expect(control).toEqual({ path: "/run/c.sock", mode: 0o660, gid: 0 });
  });

  test.each([
    ["all", { mode: "all", sample: 1 }],
    ["errors", { mode: "errors", sample: 1 }],
    ["off", { mode: "off", sample: 1 }],
    ["{ sample: 50 }", { mode: "sample", sample: 50 }],
  ])("accessLog: %s", async (text, accessLog) => {
    expect((await folder.load(`${BASE}accessLog: ${text}\n`)).door.accessLog).toEqual(accessLog);
  });

  test("a user with the primary group, by name or number", async () => {
    for (const user of ["daemon", "1", '"1"'])
      expect((await folder.load(`${BASE}user: ${user}\n`)).identity).toEqual({ uid: 1, gid: 1, user: "daemon" });
  });

  test("a number that nobody has, with a group", async () => {
    const { identity } = await folder.load(`${BASE}user: 3999999999\ngroup: daemon\n`);
    expect(identity).toEqual({ uid: 3_999_999_999, gid: 1, user: "3999999999" });
  });

  test("a group alone: the user stays", async () => {
    const { identity } = await folder.load(`${BASE}group: daemon\n`);
    expect(identity).toMatchObject({ uid: process.getuid!(), gid: 1 });
  });

  test("file and files are absolute", async () => {
    folder.write("x.map", "");
    const { file, files } = await folder.load(`${BASE}maps: [x.map]\n`);
    expect(file).toBe(folder.at("door.yaml"));
    expect(files).toEqual([folder.at("door.yaml"), folder.at("x.map")]);
  });
});

describe("warnings", () => {
  test.each([
    [
      "limits: { waiting: 10, waitingPerClient: 11 }",
      "4:42: limits.waitingPerClient: has no effect: limits.waiting is 10",
    ],
    ["limits: { acceptBurst: 5 }", "4:24: limits.acceptBurst: has no effect: limits.acceptRate is 0, no limit"],
    ["accessLog: { sample: 1 }", "4:22: accessLog.sample: is one in one: the same as accessLog: all"],
    [
      'control: { path: /c, mode: "0666" }',
      "4:28: control.mode: lets every user of this machine stop and reload the door",
    ],
    ["user: root", "4:7: user: is root: the door gives nothing up"],
  ])("%s", async (text, warning) => {
    expect(await folder.warningsOf(`${BASE}${text}\n`)).toEqual([`door.yaml:${warning}`]);
  });

  test.each([
    [
      "connect: lazily, hold: 0",
      "2:56: backends.app.hold: keeps no connection, but with connect: lazily the first one has to wait until an instance is connected to",
    ],
    [
      "connect: lazily, maxHeld: 0",
      "2:59: backends.app.maxHeld: keeps no connection, but with connect: lazily the first one has to wait until an instance is connected to",
    ],
    ["maxHeld: 5, maxHeldPerClient: 6", "2:63: backends.app.maxHeldPerClient: has no effect: maxHeld is 5"],
  ])("a backend with %s", async (keys, warning) => {
    const text = `${LISTENERS}backends: { app: { handoff: /a, ${keys} } }\ndefault: app\n`;
    expect(await folder.warningsOf(text)).toEqual([`door.yaml:${warning}`]);
  });

  test("none of root as long as only the group changes", async () => {
    expect(await folder.warningsOf(`${BASE}group: daemon\n`)).toEqual([]);
  });

  test("none of what defaults would say", async () => {
    const text = `${BASE}limits: { waiting: 5, held: 3, acceptRate: 1 }\naccessLog: { sample: 2 }\ncontrol: { path: /c, mode: "660" }\n`;
    expect(await folder.warningsOf(text.replace("/run/app.sock", "/run/app.sock, hold: 0, maxHeld: 1"))).toEqual([]);
  });
});

describe("check", () => {
  test("tells problems of all files with status 2, as names relative to where it runs", async () => {
    folder.write("door.yaml", `${BASE}include: more/*.yaml\nuser: no-such\n`);
    folder.write("more/a.yaml", "backends: { app: { handoff: /x } }\n");
    expect(await sniHandoff(["check", "--config", "door.yaml"], { cwd: folder.path })).toEqual({
      status: 2,
      stdout: "",
      stderr: `door.yaml:5:7: user: found "no-such", but there is no such user; allowed: a user's name or number
more/a.yaml:1:13: backends.app: is a backend of door.yaml:2:13 already; allowed: each name once
`,
    });
  });

  test("takes a configuration from a pipe", async () => {
    folder.write("door.yaml", BASE);
    const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));
    const command = `"${process.execPath}" "${program}" check --config <(cat door.yaml; sleep 0.1; echo 'workers: 1')`;
    expect(execFileSync("bash", ["-c", command], { cwd: folder.path, encoding: "utf8" })).toContain("is right");
  });

  test("tells warnings of included files, with status 0", async () => {
    folder.write("door.yaml", `${BASE}include: good/*.yaml\naccessLog: { sample: 1 }\n`);
    folder.write("good/a.yaml", "backends: { b: { handoff: /b } }\n");
    const { status, stderr, stdout } = await sniHandoff(["check", "--config", "door.yaml"], { cwd: folder.path });
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: `door.yaml:5:22: accessLog.sample: warning: is one in one: the same as accessLog: all
good/a.yaml:1:13: backends.b: warning: is not used: nothing leads to it
`,
    });
    expect(stdout).toContain("warnings: 2");
  });
});
