/** `import` as a user types it: what comes out where, and its exit status; what it prints goes into `check`. */
import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import type { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const examples = fileURLToPath(new URL("../import/examples", import.meta.url));
const expected = (name: string) => readFileSync(`${examples}/${name}.yaml`, "utf8");

describe("import", () => {
  test("prints YAML on standard output, and says on standard error what it took the file for", async () => {
    expect(await sniHandoff(["import", "nginx-name.conf"], { cwd: examples })).toEqual({
      status: 0,
      stdout: expected("nginx-name"),
      stderr: "nginx-name.conf: taken for a configuration of nginx\n",
    });
  });

  test("status 0 with comments, too; files that it names are looked for beside it", async () => {
    const { status, stdout, stderr } = await sniHandoff(["import", "haproxy-all.cfg"], { cwd: examples });
    expect({ status, stdout }).toEqual({ status: 0, stdout: expected("haproxy-all") });
    expect(stderr).toMatch(
      /^haproxy-all\.cfg: taken for a configuration of haproxy\n\d+ comments say what is not carried over, or not as it was\n$/,
    );
  });

  test("what it prints is what check finds right", async () => {
    const { stdout } = await sniHandoff(["import", "sni-router-all.conf"], { cwd: examples });
    const file = folder.write("front-door.yaml", stdout);
    const { status, stdout: said, stderr } = await sniHandoff(["check", "--config", file]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(said).toContain("warnings: 0\n");
  });

  test("- is standard input; --from says what it is", async () => {
    const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
    const child = spawn(process.execPath, [program, "import", "-", "--from", "sniproxy"]);
    child.stdin.end("listener 443 {\n table t\n}\ntable t {\n ^a\\\\.example$ 192.0.2.1\n}\n");
    const output = async (stream: Readable) => (await stream.setEncoding("utf8").toArray()).join("");
    const [stdout, stderr] = await Promise.all([output(child.stdout), output(child.stderr)]);
    expect(stdout).toContain("# From sniproxy: standard input.");
    expect(stdout).toContain('routes:\n  a.example: "192.0.2.1-443"\n');
    expect(stderr).toBe("");
  });

  test.each([
    [
      ["import", "missing.conf"],
      "missing.conf cannot be read: ENOENT: no such file or directory, open 'missing.conf'\n",
    ],
    [["import", "."], ". cannot be read: EISDIR: illegal operation on a directory, read\n"],
    [
      ["import", "sni.map"],
      "sni.map:1: looks like none of nginx, haproxy, sniproxy, sni-router: say which one it is with --from\n",
    ],
    [["import", "sni.map", "--from", "nginx"], 'sni.map:2: "map.example.com" is not ended by ";"\n'],
    [
      ["import", "nginx-name.conf", "--from", "apache"],
      'Invalid values:\n  Argument: from, Given: "apache", Choices: "nginx", "haproxy", "sniproxy", "sni-router"\nTry: sni-handoff import --help\n',
    ],
    [["import"], '"import" needs FILE\nTry: sni-handoff import --help\n'],
  ])("status 2: %j", async (args, stderr) => {
    expect(await sniHandoff(args, { cwd: examples })).toEqual({ status: 2, stdout: "", stderr });
  });
});
