/** The commands for a running daemon, as processes that ask a socket with nothing behind it. */
import { resolve } from "node:path";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { type RunOptions, sniHandoff } from "../support/command-line.js";
import { FakeDaemon } from "../support/fake-daemon.js";
import { Folder } from "../support/folder.js";
import { someBackend, someInstance, someStatus } from "../support/some-status.js";

const folder = new Folder();
let daemon: FakeDaemon;

beforeAll(async () => {
  daemon = await FakeDaemon.start(folder.at("control.sock"));
});
afterAll(() => daemon.stop());
beforeEach(() => {
  daemon.controlled.told.length = 0;
  daemon.controlled.answer = { ok: true, message: "done" };
  daemon.controlled.status_ = someStatus();
});

const run = (line: string, options?: RunOptions) => sniHandoff(line.split(" "), options);
const at = () => `--control ${daemon.path}`;

describe("orders", () => {
  test.each([
    ["reload", "reload"],
    ["upgrade", "upgrade"],
    ["stop", "stop"],
    ["drain app", "drain app"],
    ["drain pool/17-0a.sock", "drain pool/17-0a.sock"],
    ["undrain a%2Fb", "undrain a%2Fb"],
    ["log-level debug", "setLogLevel debug"],
  ])("%s", async (line, told) => {
    expect(await run(`${line} ${at()}`)).toEqual({ status: 0, stdout: "done\n", stderr: "" });
    expect(daemon.controlled.told).toEqual([told]);
  });

  test("print the details; with status 1 and on standard error if the daemon could not", async () => {
    daemon.controlled.answer = { ok: true, message: "reloaded", details: ["one", "two\nlines"] };
    expect(await run(`reload ${at()}`)).toEqual({ status: 0, stdout: "reloaded\n  one\n  two\n  lines\n", stderr: "" });
    daemon.controlled.answer = { ok: false, message: "kept the old one", details: ["a.yaml:1:1: wrong"] };
    expect(await run(`reload ${at()}`)).toEqual({
      status: 1,
      stdout: "",
      stderr: "kept the old one\n  a.yaml:1:1: wrong\n",
    });
  });

  test("without a daemon: status 1, and what to do", async () => {
    const { status, stdout, stderr } = await run("stop --control /nowhere/c.sock");
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(/^there is no control socket \/nowhere\/c\.sock: no daemon runs/);
    expect(stderr.trim().split("\n")).toHaveLength(1);
  });
});

describe("the control socket is that", () => {
  test("of --control, before all others", async () => {
    const env = { ...process.env, SNI_HANDOFF_CONTROL: "/nowhere" };
    expect(await run(`reload ${at()} --config /nowhere.yaml`, { env })).toMatchObject({ status: 0 });
  });

  test.each([
    ["a path", "control: control.sock"],
    ["a map", "control: { path: ./control.sock, mode: '0600' }"],
  ])("of --config, even if the rest is wrong: %s", async (_form, control) => {
    const file = folder.write("wrong.yaml", `${control}\nlisteners: nonsense\n`);
    const env = { ...process.env, SNI_HANDOFF_CONTROL: "/nowhere" };
    expect(await run(`reload --config ${file}`, { env })).toEqual({ status: 0, stdout: "done\n", stderr: "" });
  });

  test("of the environment; else the default", async () => {
    const env = { ...process.env, SNI_HANDOFF_CONTROL: daemon.path };
    expect(await run("reload", { env })).toMatchObject({ status: 0 });
    const { SNI_HANDOFF_CONTROL: _, ...bare } = env;
    const { status, stderr } = await run("reload", { env: bare });
    expect(status).toBe(1);
    expect(stderr).toContain("/run/sni-handoff/control.sock");
  });

  test.each([
    ["listeners: []", /has no control: its daemon cannot be asked; add one/],
    ["control: [", /is not valid YAML/],
  ])("a configuration that names none, %j: status 2", async (text, message) => {
    const { status, stderr } = await run(`reload --config ${folder.write("none.yaml", text)}`);
    expect(status).toBe(2);
    expect(stderr).toMatch(message);
  });

  test("a configuration that isn't there, an empty --control: status 2", async () => {
    expect(await run("reload --config /nowhere.yaml")).toEqual({
      status: 2,
      stdout: "",
      stderr: "/nowhere.yaml: cannot be read: ENOENT: no such file or directory\n",
    });
    expect(await sniHandoff(["reload", "--control="])).toMatchObject({ status: 2, stdout: "" });
  });
});

describe("status", () => {
  test("is text of 80 columns, or JSON", async () => {
    const { status, stdout, stderr } = await run(`status ${at()}`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^sni-handoff {4}1\.2\.3 running, up 1d 2h, pid 4000/);
    const json = await run(`status --json ${at()}`);
    expect(JSON.parse(json.stdout)).toEqual(JSON.parse(JSON.stringify(someStatus())));
  });

  test.each([
    ["--interval 5", "--interval is for --watch\n"],
    ["--watch --interval 0", "--interval takes seconds from 0.1 to 3600\n"],
    ["--watch --interval x", "--interval takes seconds from 0.1 to 3600\n"],
  ])("%s: status 2", async (options, stderr) => {
    expect(await run(`status ${options} ${at()}`)).toEqual({ status: 2, stdout: "", stderr });
  });
});

const configuration = () =>
  folder.write(
    "door.yaml",
    `listeners: [{ address: "127.0.0.1:0" }]
backends: { app: { handoff: /run/app.sock }, pool: { handoff: /run/pool.d/ } }
routes: { app.example.com: app, "*.example.com": pool }
`,
  );

describe("check --diff", () => {
  test("says what a reload would change", async () => {
    const file = configuration();
    daemon.controlled.status_ = someStatus({ configuration: { ...someStatus().configuration, file: resolve(file) } });
    daemon.controlled.answer = { ok: true, message: "a reload would change 1 backend", details: ["+ app"] };
    const { status, stdout, stderr } = await run(`check --diff --config ${file} ${at()}`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/door\.yaml is right\n(?: {2}.*\n){4}a reload would change 1 backend\n {2}\+ app\n$/);
  });

  test("asks only the daemon that runs with this file", async () => {
    const { status, stderr } = await run(`check --diff --config ${configuration()} ${at()}`);
    expect(status).toBe(2);
    expect(stderr).toMatch(/runs with \/etc\/sni-handoff\/front-door\.yaml, not with \/.*door\.yaml\n$/);
    expect(daemon.controlled.told).toEqual([]);
  });
});

describe("explain", () => {
  const explained = (name: string, more = "") => run(`explain ${name} --config ${configuration()} ${at()}${more}`);

  test("tells the instances that are there now", async () => {
    daemon.controlled.status_ = someStatus({
      configuration: { ...someStatus().configuration, file: resolve(configuration()) },
      backends: [
        someBackend({
          name: "pool",
          instances: [
            someInstance({ path: "/run/pool.d/1.sock", pid: 17 }),
            someInstance({ path: "/run/pool.d/2.sock", pid: -1, state: "absent", lastFailure: "connection refused" }),
          ],
        }),
        someBackend({ instances: [] }),
      ],
    });
    const { stdout } = await explained("x.example.com");
    expect(stdout.split("\n").slice(-4)).toEqual([
      "  now      1 of 2 ready",
      "           /run/pool.d/1.sock: ready, process 17",
      "           /run/pool.d/2.sock: absent, connection refused",
      "",
    ]);
    expect((await explained("app.example.com")).stdout).toMatch(/\n {2}now {6}nobody takes it\n$/);
    const { instances } = JSON.parse((await explained("x.example.com", " --json")).stdout);
    expect(instances).toMatchObject([{ pid: 17, state: "ready" }, { state: "absent" }]);
  });

  test("is silent about them without a daemon, or with one that runs with another file", async () => {
    const other = await explained("x.example.com");
    expect(other).toMatchObject({ status: 0, stderr: "" });
    expect(other.stdout).not.toContain("now");
    const none = await run(`explain x.example.com --config ${configuration()} --control /nowhere`);
    expect(none).toEqual(other);
  });
});
