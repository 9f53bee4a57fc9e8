/** The benchmark beside other projects' routers: which are here, and what one says that does not start. */
import { execFile } from "node:child_process";
import { chmodSync, readdirSync } from "node:fs";
import { dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { beforeAll, expect, test } from "vitest";
import { compilePrograms } from "../../bench/compile.mjs";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";
import { childrenOf, isAlive, isStopped } from "../support/process-status.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";

const run = promisify(execFile);
const main = fileURLToPath(new URL("../../bench/main.mjs", import.meta.url));
const folder = new Folder();

/** Scripts in the place where the programs are looked for first. */
function script(name: string, lines: string): void {
  chmodSync(folder.write(`peers/bin/${name}`, `#!/bin/sh\n${lines}\n`), 0o755);
}

const environment = () => ({
  ...process.env,
  PATH: `${dirname(process.execPath)}:/usr/bin:/bin`,
  SNI_HANDOFF_PEERS: folder.at("peers"),
  TMPDIR: folder.path,
});

/** What is left in the folder of temporary files. */
const leftovers = () => readdirSync(folder.path).filter((name) => name.startsWith("sni-handoff-bench-"));

beforeAll(async () => {
  await compilePrograms();
  script(
    "sni-router",
    'case $1 in --version) echo "sni-router 9.9.9";; *) echo "cannot bind: out of luck" >&2; exit 3;; esac',
  );
  script("haproxy", 'case $1 in -v) echo "HAProxy version 0.1";; *) echo "[ALERT] cannot fork" >&2; exit 1;; esac');
  script("tlsrouter", 'echo "Failed to read config" >&2; exit 1');
  script("apache2", 'case $1 in -v) echo "Apache/9.9";; *) echo "AH00015: Unable to open logs" >&2; exit 1;; esac');
});

test("bench peers: each with its version and where it is, or with the command that installs it", async () => {
  const elsewhere = { ...environment(), SNI_HANDOFF_PEERS: folder.at("none") };
  const { stdout: missing } = await run(process.execPath, [main, "peers"], { env: elsewhere });
  expect(missing).toContain(
    "  tlsrouter         there is no tlsrouter here: go install github.com/inetaf/tcpproxy/cmd/tlsrouter@v",
  );
  expect(missing).toMatch(/^ {2}sni-router-pass +there is no sni-router here: cargo install --locked sni-router@/m);
  const { stdout } = await run(process.execPath, [main, "peers"], { env: environment() });
  expect(stdout).toContain(`  sni-router-pass   sni-router 9.9.9, ${folder.at("peers/bin/sni-router")}\n`);
  expect(stdout).toContain(`  haproxy           HAProxy version 0.1, ${folder.at("peers/bin/haproxy")}\n`);
  expect(stdout).toContain(`  tlsrouter         tlsrouter (unknown), ${folder.at("peers/bin/tlsrouter")}\n`);
});

test("a router that does not start: what it said, also if its output is thrown away; the others are measured", async () => {
  const only = "direct,haproxy,sni-router-pass,tlsrouter";
  const line = [main, "handoff", "--quick", "--rounds", "1", "--duration", "0.1", "--only", only];
  const { stdout } = await run(process.execPath, line, { env: environment() });
  expect(stdout).toMatch(/^HAProxy, splice-auto cannot take part: .*It said:\n {4}\[ALERT\] cannot fork$/m);
  expect(stdout).toMatch(/^sni-router, pass cannot take part: .*It said:\n {4}cannot bind: out of luck$/m);
  expect(stdout).toMatch(/^tlsrouter \(Go\) cannot take part: .*It said:\n {4}Failed to read config$/m);
  expect(stdout).toMatch(/^ {2}direct accept +–/m);
  expect(leftovers()).toEqual([]);
});

test("an unchanged server that does not start: what it said, and the run goes on", async () => {
  const line = [main, "preload", "--quick", "--only", "apache"];
  const { stdout } = await run(process.execPath, line, { env: environment() });
  expect(stdout).toMatch(/^Apache cannot take part: .*It said:\n {4}AH00015: Unable to open logs$/m);
  expect(leftovers()).toEqual([]);
});

test.each([
  ["handoff", 400, 492],
  ["slow", 900, 976],
])("too few descriptors for %s: said before anything is started", async (scenario, files, needed) => {
  const few = [process.execPath, main, scenario];
  const started = run(program("prlimit"), [`--nofile=${files}:${files}`, ...few], { env: environment() });
  await expect(started).rejects.toMatchObject({
    code: 1,
    stdout: "",
    stderr: `At most ${files} files may be open; the benchmark needs ${needed} at least: raise the hard limit (ulimit -Hn).\n`,
  });
});

test("an unknown option, scenario or contestant: what there is", async () => {
  const wrong = (...line: readonly string[]) => run(process.execPath, [main, ...line], { env: environment() });
  await expect(wrong("--nosuch")).rejects.toMatchObject({ code: 2, stderr: expect.stringMatching(/^Unknown option/) });
  await expect(wrong("nosuch")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^There is no scenario "nosuch".\n {2}handoff /),
  });
  await expect(wrong("idle", "--only", "squid")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringContaining(
      'There is no contestant "squid" in idle; there are unused, door, direct, relay, haproxy',
    ),
  });
});

test("fewer clients where a proxy would need more descriptors than there may be, and the first lines say so", async () => {
  const line = ["handoff", "--quick", "--rounds", "1", "--duration", "0.1", "--only", "direct"];
  const limited = ["--nofile=1500:1500", process.execPath, main, ...line];
  const { stdout } = await run(program("prlimit"), limited, { env: environment() });
  expect(stdout.split("\n\n")[0]).toContain(
    "Only 400 clients instead of 1024: at most 1500 files may be open (ulimit -Hn), and a proxy needs up to 3 for each.",
  );
});

test("Ctrl-C while servers are restarted: 130, and nothing is left behind", async () => {
  const bench = new Child(process.execPath, [main, "restart", "--only", "direct"], { env: environment() });
  const children = await until("its server and its clients", () => {
    const found = childrenOf(bench.pid);
    return found.length > 1 && found;
  });
  expect(await bench.end("SIGINT")).toEqual({ status: 130, signal: null });
  expect(children.filter(isAlive)).toEqual([]);
  expect(leftovers()).toEqual([]);
});

test("Ctrl-C while a server stands still: no other one is tried, and nothing is left behind", async () => {
  const bench = new Child(process.execPath, [main, "burst", "--only", "stopped,door,direct"], { env: environment() });
  const children = await until("a server that stands still", () => {
    const found = childrenOf(bench.pid);
    return found.some(isStopped) && found;
  });
  expect(await bench.end("SIGINT")).toEqual({ status: 130, signal: null });
  expect(bench.lines.at(-1)).toBe("Interrupted: the figures above are all there are.");
  expect(children.filter(isAlive)).toEqual([]);
  expect(leftovers()).toEqual([]);
});
