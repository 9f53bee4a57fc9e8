/** The library's own receiver keeps every rule, whatever it serves; and how the command tells it. */
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { rules } from "../../src/conform/index.js";
import { certificate } from "../support/certificates.js";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
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

describe("the command", () => {
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
