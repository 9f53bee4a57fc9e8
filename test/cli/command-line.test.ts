/** The command line as a user meets it: what it says, where, and its exit status. */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const folder = new Folder();
const good = folder.write(
  "good.yaml",
  `listeners: [{ address: "127.0.0.1:0" }]
backends: { app: { handoff: /run/app.sock }, pool: { handoff: /run/pool.d/ } }
routes: { app.example.com: app, "*.example.com": pool }
`,
);
const bad = folder.write(
  "bad.yaml",
  "listeners: []\nworker: 1\nbackends: { a: { handoff: /a, hold: 5 } }\ndefault: b\n",
);
const commands = [
  ...["serve", "relay", "check", "explain", "status", "drain", "undrain", "reload", "upgrade", "stop", "log-level"],
  ...["import", "conform", "preload", "schema", "completion", "man", "demo", "bench"],
];
const { version } = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));

describe("wrong usage: status 2, and on standard error what to write instead", () => {
  test.each([
    ["", `A command is needed: one of ${commands.join(", ")}\nTry: sni-handoff --help\n`],
    ["serv", 'There is no command "serv", did you mean "serve"?\nTry: sni-handoff --help\n'],
    ["frobnicate", 'There is no command "frobnicate"\nTry: sni-handoff --help\n'],
    ["--frob", `A command is needed: one of ${commands.join(", ")}\nTry: sni-handoff --help\n`],
    ["serve", '"serve" needs --config FILE\nTry: sni-handoff serve --help\n'],
    ["serve --confg x", '"serve" has no option --confg, did you mean --config?\nTry: sni-handoff serve --help\n'],
    [
      "check door.yaml",
      '"check" needs --config FILE, did you mean --config door.yaml?\nTry: sni-handoff check --help\n',
    ],
    ["check --config", "Not enough arguments following: config\nTry: sni-handoff check --help\n"],
    ["check -c", "Not enough arguments following: c\nTry: sni-handoff check --help\n"],
    ["explain --config x", '"explain" needs NAME\nTry: sni-handoff explain --help\n'],
    ["explain a.example", '"explain" needs --config FILE\nTry: sni-handoff explain --help\n'],
    ["demo --onc", '"demo" has no option --onc, did you mean --once?\nTry: sni-handoff demo --help\n'],
    [
      "serve --config x --log-level loud",
      'Invalid values:\n  Argument: log-level, Given: "loud", Choices: "debug", "info", "warn", "error"\nTry: sni-handoff serve --help\n',
    ],
    ["drain", '"drain" needs TARGET\nTry: sni-handoff drain --help\n'],
    ["log-level", '"log-level" needs LEVEL\nTry: sni-handoff log-level --help\n'],
    ["status --jso", '"status" has no option --jso, did you mean --json?\nTry: sni-handoff status --help\n'],
    ["reload now", "Unknown argument: now\nTry: sni-handoff reload --help\n"],
    ["reload --control", "Not enough arguments following: control\nTry: sni-handoff reload --help\n"],
    ["check --config x more", "Unknown argument: more\nTry: sni-handoff check --help\n"],
  ])("%j", async (line, stderr) => {
    expect(await sniHandoff(line.split(" ").filter(Boolean))).toEqual({ status: 2, stdout: "", stderr });
  });
});

describe("help", () => {
  test("lists the commands", async () => {
    const { status, stdout, stderr } = await sniHandoff(["--help"]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    for (const command of commands) expect(stdout).toMatch(new RegExp(`^  sni-handoff ${command}\\b`, "m"));
    expect(stdout).toContain("Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.");
  });

  test.each(commands)("of %s gives each option's default", async (command) => {
    const { status, stdout } = await sniHandoff([command, "--help"]);
    expect(status).toBe(0);
    const options = stdout.split(/^Options:$/m)[1]!.split(/^\S/m)[0]!;
    const own = options.split(/\n(?= +-)/).filter((option) => !/--(help|version)/.test(option) && option.trim() !== "");
    for (const option of own) expect(option.replace(/\s+/g, " ")).toMatch(/Default: |No default/);
  });

  test("is in English whatever the locale", async () => {
    const { stdout } = await sniHandoff(["--help"], {
      env: { ...process.env, LANG: "de_DE.UTF-8", LC_ALL: "de_DE.UTF-8" },
    });
    expect(stdout).toContain("Show help");
  });

  test("--version", async () => {
    expect(await sniHandoff(["--version"])).toEqual({ status: 0, stdout: `${version}\n`, stderr: "" });
  });
});

describe("check", () => {
  test("says that a configuration is right, and what is in it", async () => {
    const { status, stdout, stderr } = await sniHandoff(["check", "--config", good]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(
      /^.*good\.yaml is right\n {2}listeners: 127\.0\.0\.1:0\n {2}backends: 2\n {2}names: 2 in 0\.1 MiB, loaded in \d\.\d\d s\n {2}warnings: 0\n$/,
    );
  });

  test("lists everything that is wrong, with status 2", async () => {
    const { status, stdout, stderr } = await sniHandoff(["check", "--config", "bad.yaml"], { cwd: folder.path });
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr.split("\n").map((line) => line.split(": ", 2).join(": "))).toEqual([
      "bad.yaml:1:12: listeners",
      "bad.yaml:2:1: worker",
      "bad.yaml:3:37: backends.a.hold",
      "bad.yaml:4:10: default",
      "",
    ]);
  });

  test("tells warnings on standard error, with status 0", async () => {
    const file = folder.write(
      "warns.yaml",
      `${readFileSync(good, "utf8")}notTls: app\nnoServerName: pool\ndefault: pool\n`,
    );
    const { status, stderr } = await sniHandoff(["check", "--config", file]);
    expect(status).toBe(0);
    expect(stderr).toMatch(
      /warns\.yaml:3:33: routes\["\*\.example\.com"\]: warning: has no effect: the default leads to pool already\n$/,
    );
  });

  test("a configuration that isn't there", async () => {
    expect(await sniHandoff(["check", "--config", "missing.yaml"], { cwd: folder.path })).toEqual({
      status: 2,
      stdout: "",
      stderr: "missing.yaml:1:1: cannot be read: ENOENT: no such file or directory\n",
    });
  });
});

describe("explain", () => {
  test("in words", async () => {
    expect(await sniHandoff(["explain", "APP.example.com.", "--config", good])).toEqual({
      status: 0,
      stderr: "",
      stdout: `app.example.com -> app
  by       exact app.example.com
  over     *.example.com -> pool
           default -> built-in:unrecognized_name
  backend  socket /run/app.sock; held for 5s if nobody takes it, then refused with the alert internal_error
`,
    });
  });

  test("in JSON", async () => {
    const { status, stdout } = await sniHandoff(["explain", "x.example.com", "--config", good, "--json"]);
    expect(status).toBe(0);
    expect(JSON.parse(stdout)).toMatchObject({
      name: "x.example.com",
      route: { kind: "wildcard", pattern: "*.example.com", backend: "pool" },
      over: [{ kind: "default", pattern: "default", backend: "built-in:unrecognized_name" }],
      backend: { kind: "handoff", name: "pool", path: "/run/pool.d/" },
    });
  });

  test("with what is known of the client", async () => {
    const file = folder.write(
      "rules.yaml",
      `${readFileSync(good, "utf8").replace("app.example.com: app", "app.example.com: { backend: app, alpn: [h2, h3], clients: 10.0.0.0/8, tls: '1.3', access: { deny: 10.0.0.1 } }")}`,
    );
    const explain = async (...facts: string[]) =>
      (await sniHandoff(["explain", ...facts, "app.example.com", "--config", file])).stdout.split("\n")[0];
    const known = ["--client", "10.0.0.2", "--tls", "1.3", "--alpn", "http/1.1", "--alpn", "h3"];
    expect(await explain(...known)).toBe("app.example.com -> app");
    expect(await explain(...known.slice(2))).toBe("app.example.com -> pool");
    const denied = ["--client", "10.0.0.1", ...known.slice(2)];
    expect((await sniHandoff(["explain", "app.example.com", ...denied, "--config", file])).stdout).toContain(
      "  access   10.0.0.1 is refused (access_denied): it is in deny 10.0.0.1\n",
    );
    expect(await sniHandoff(["explain", "a.example", "--client", "10.0.0", "--config", file])).toEqual({
      status: 2,
      stdout: "",
      stderr: '--client: found "10.0.0"; allowed: an address such as 192.0.2.7 or 2001:db8::7\n',
    });
  });

  test.each([
    ["a b", '"a b" holds " " (U+0020): allowed are letters, digits, "-", "_" and "."\n'],
    ["*.example.com", '"*.example.com" is a wildcard, not a client\'s name\n'],
  ])("%j is no name: status 2", async (name, stderr) => {
    expect(await sniHandoff(["explain", name, "--config", good])).toEqual({ status: 2, stdout: "", stderr });
  });
});

describe("serve", () => {
  test("a wrong configuration: status 2, every problem, and nothing on standard output", async () => {
    const { status, stdout, stderr } = await sniHandoff(["serve", "--config", bad]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: "" });
    expect(stderr.trim().split("\n")).toHaveLength(4);
  });

  test("an address that another process has: status 1, and what to do", async () => {
    const holder = createServer().listen(0, "127.0.0.1");
    await once(holder, "listening");
    const { port } = holder.address() as AddressInfo;
    const file = folder.write("taken.yaml", readFileSync(good, "utf8").replace("127.0.0.1:0", `127.0.0.1:${port}`));
    const { status, stdout, stderr } = await sniHandoff(["serve", "--config", file]);
    holder.close();
    expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
    expect(stderr).toMatch(
      new RegExp(`^cannot listen on 127\\.0\\.0\\.1:${port}: .*EADDRINUSE.*choose another address\n$`),
    );
  });
});

test("preload prints the path of the library", async () => {
  const { status, stdout } = await sniHandoff(["preload"]);
  expect(status).toBe(0);
  expect(stdout).toMatch(/^\/.+\/libsnihandoff\.so\n$/);
  expect(existsSync(stdout.trim())).toBe(true);
});

test("schema prints one JSON document", async () => {
  const { status, stdout } = await sniHandoff(["schema"]);
  expect(status).toBe(0);
  expect(JSON.parse(stdout)).toMatchObject({ title: "sni-handoff", required: ["listeners"] });
});

test("output that nobody reads is no failure", async () => {
  const child = spawn(process.execPath, [program, "schema"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let stderr = "";
  child.stderr.setEncoding("utf8").on("data", (text) => {
    stderr += text;
  });
  const [status] = await once(child, "close");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});

test("bench looks at every scenario that is named, not at the last one only", async () => {
  const { status, stderr } = await sniHandoff(["bench", "nosuch", "handoff"]);
  expect(stderr).toContain('There is no scenario "nosuch"');
  expect(status).toBe(2);
});
