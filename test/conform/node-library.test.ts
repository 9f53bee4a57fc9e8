/** The library's own receiver keeps every rule, whatever it serves; and how the command tells it. */
import { existsSync, mkdirSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { rules } from "../../src/conform/index.js";
import { isAlive } from "../../src/conform/process.js";
import { certificate } from "../support/certificates.js";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const folder = new Folder();
const cli = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const program = fileURLToPath(new URL("../fixtures/conforming.mjs", import.meta.url));

const conform = (path: string, kind: string, start: string, ...more: string[]) =>
  sniHandoff([
    "conform",
    "--path",
    path,
    "--probe",
    kind,
    "--start",
    `exec ${process.execPath} ${program} ${start}`,
    ...more,
  ]);

describe("the library keeps every rule", () => {
  test("with bare sockets", async () => {
    const path = folder.at("echo.sock");
    const ran = await conform(path, "echo", `${path} echo`, "--sockets", "500");
    expect(ran.stdout).not.toMatch(/^not ok|# SKIP/m);
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    expect(ran.stdout).toContain(`1..${rules.length}\n`);
    expect(ran.stdout).toContain(`# ${rules.length} kept, 0 broken, 0 skipped\n`);
  });

  test("with an https server", async () => {
    const { cert, key } = await certificate("localhost");
    const path = folder.at("tls.sock");
    const files = [folder.write("cert.pem", cert), folder.write("key.pem", key)];
    const ran = await conform(path, "tls", `${path} tls ${files.join(" ")}`, "--sockets", "200", "--json");
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    const results: { name: string; outcome: string }[] = JSON.parse(ran.stdout).rules;
    expect(results.map(({ name }) => name)).toEqual(rules.map(({ name }) => name));
    expect(results.filter(({ outcome }) => outcome !== "passed")).toEqual([]);
  });
});

test("the library keeps the rules of an overloaded receiver: READY when there is room again", async () => {
  const path = folder.at("full.sock");
  const only = ["--only", "overloaded", "sockets", "descriptor-limit"];
  const ran = await conform(path, "http", `${path} http`, ...only, "--sockets", "50");
  expect(ran).toMatchObject({ status: 0, stderr: "" });
});

test("a receiver in a folder is found there, also when it comes back under another name, and leaves nothing", async () => {
  const pool = `${folder.at("pool")}/`;
  mkdirSync(pool);
  const only = ["--only", "ack", "stale-socket", "one-holder", "drain-frees-path"];
  const ran = await conform(pool, "echo", `${pool} echo`, ...only);
  expect(ran).toMatchObject({ status: 0, stderr: "" });
  expect(ran.stdout).toContain("one-holder # SKIP in a folder each process has a socket of its own\n");
  expect(ran.stdout).toContain("# 3 kept, 0 broken, 1 skipped\n");
  expect(readdirSync(pool)).toEqual([]);
});

describe("the command", () => {
  test("tells in TAP what was expected of a receiver, what came, and what to do", async () => {
    const path = folder.at("rogue.sock");
    const rogue = fileURLToPath(new URL("../fixtures/rogue-receiver.mjs", import.meta.url));
    const start = `exec ${process.execPath} ${rogue} ${path} consumed`;
    const only = ["--only", "ack", "consumed", "ready-window"];
    const ran = await sniHandoff(["conform", "--path", path, "--probe", "echo", "--start", start, ...only]);
    const consumed = rules.find(({ name }) => name === "consumed")!;
    expect(ran).toEqual({
      status: 1,
      stderr: "",
      stdout: `TAP version 14
1..3
ok 1 - ready-window # ${rules.find(({ name }) => name === "ready-window")!.says}
ok 2 - ack # ${rules.find(({ name }) => name === "ack")!.says}
not ok 3 - consumed # ${consumed.says}
  ---
  expected: "an ACK of 1"
  got: "READY, REFUSE 1 (not TCP)"
  what to do: ${JSON.stringify(consumed.remedy)}
  where: "PROTOCOL.md, A PROXY header is consumed"
  ...
# 2 kept, 1 broken, 0 skipped
`,
    });
  });

  test("without --start tries what can be tried on a receiver that runs, and leaves it running", async () => {
    const path = folder.at("running.sock");
    const receiver = new Child(process.execPath, [program, path, "echo"]);
    await until("the receiver's socket", () => existsSync(path));
    const ran = await sniHandoff(["conform", "--path", path, "--probe", "echo", "--sockets", "50"]);
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    const skipped = rules.filter(({ needsStart }) => needsStart).map(({ name }) => `${name} # SKIP needs --start`);
    expect([...ran.stdout.matchAll(/^ok \d+ - (.*SKIP.*)$/gm)].map((match) => match[1])).toEqual(skipped);
    expect(receiver.running).toBe(true);
    expect(await receiver.end()).toEqual({ status: 0, signal: null });
  });

  test.each([
    ["by a signal", 130, (kit: Child) => kit.process.kill("SIGINT")],
    ["as nobody reads its results", 1, (kit: Child) => kit.process.stdout!.destroy()],
  ])("ended early %s, leaves nothing of the receiver", async (_, status, end) => {
    const path = folder.at("early.sock");
    const start = `${process.execPath} ${program} ${path} echo & echo $! > ${path}.pid; wait`;
    const kit = new Child(process.execPath, [cli, "conform", "--path", path, "--probe", "echo", "--start", start]);
    await kit.line("a result", (line) => line.startsWith("ok 1 "));
    const receiver = Number(readFileSync(`${path}.pid`, "utf8"));
    expect(isAlive(receiver)).toBe(true);
    end(kit);
    expect(await kit.ended).toEqual({ status, signal: null });
    expect(kit.stderr).toBe("");
    expect(existsSync(path)).toBe(false);
    await until("the receiver's end", () => !isAlive(receiver));
  });

  test("ends with its last rule, however long it would have waited for the receiver", async () => {
    const path = folder.at("patient.sock");
    const begun = performance.now();
    const ran = await conform(path, "echo", `${path} echo`, "--only", "sockets", "--sockets", "5", "--timeout", "240");
    expect(ran).toMatchObject({ status: 0, stderr: "" });
    expect(performance.now() - begun).toBeLessThan(200_000);
  });

  test("lists the rules", async () => {
    const { status, stdout } = await sniHandoff(["conform", "--list"]);
    expect(status).toBe(0);
    expect(stdout.split("\n").map((line) => line.split(" ")[0])).toEqual([...rules.map(({ name }) => name), ""]);
  });

  test.each([
    [["--list", "--only", "ack", "nonsense"], 'there is no rule "nonsense"; --list shows all of them\n'],
    [[], '"conform" needs --path SOCKET\nTry: sni-handoff conform --help\n'],
    [
      ["--path", "/x", "--sockets", "0"],
      "--sockets is 0; a number from 1 on is needed\nTry: sni-handoff conform --help\n",
    ],
    [
      ["--path", "/nowhere/door.sock"],
      "no receiver at /nowhere/door.sock: connect /nowhere/door.sock: No such file or directory (ENOENT); start the receiver first, or give its command with --start\n",
    ],
    [
      ["--path", "/nowhere/door.sock", "--start", "echo so it is >&2; exit 3"],
      "the command of --start ended with status 3, and nobody is at /nowhere/door.sock:\nso it is\n",
    ],
  ])("%j: status 2, and why", async (args, stderr) => {
    expect(await sniHandoff(["conform", ...args])).toEqual({ status: 2, stdout: "", stderr });
  });
});
