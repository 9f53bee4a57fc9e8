/** The demonstration, as `npm start` runs it. */
import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../support/child.js";
import { sniHandoff } from "../support/command-line.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));

/** A folder for temporary files that nobody else uses. */
function temporary(name: string): { path: string; env: NodeJS.ProcessEnv } {
  mkdirSync(folder.at(name));
  return { path: folder.at(name), env: { ...process.env, TMPDIR: folder.at(name) } };
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

test("demo --once proves everything, and leaves nothing behind", async () => {
  const { path, env } = temporary("once");
  const { status, stdout, stderr } = await sniHandoff(["demo", "--once"], { env });
  expect({ status, stderr }, stdout).toEqual({ status: 0, stderr: "" });
  const lines = stdout.split("\n");
  expect(lines.filter((line) => line.startsWith("ok  "))).toHaveLength(6);
  expect(lines.filter((line) => line.startsWith("FAIL"))).toEqual([]);
  expect(stdout).not.toContain("\u001b");
  expect(stdout).toMatch(/96 MiB in all; SHA-256 [0-9a-f]{12}… is right/);
  expect(readdirSync(path)).toEqual([]);
  const pids = [...stdout.matchAll(/process(?:es)? (\d+)(?: and (\d+))?/g)]
    .flatMap((match) => match.slice(1))
    .filter(Boolean);
  expect(pids.length).toBeGreaterThan(5);
  expect(pids.filter((pid) => isRunning(Number(pid)))).toEqual([]);
});

test("demo stays, its curl lines work as they are pasted, and Ctrl-C ends it all", async () => {
  const { path, env } = temporary("stays");
  const demo = new Child(process.execPath, [program, "demo"], { env });
  await demo.line("the invitation", (line) => line.startsWith("Ctrl-C"));
  const curls = demo.lines.filter((line) => line.startsWith("  curl "));
  const answers = curls.map((line) =>
    JSON.parse(execFileSync("bash", ["-c", `${line} --silent --max-time 20`], { encoding: "utf8" })),
  );
  expect(answers).toMatchObject([
    { backend: "web", serverName: "web.demo.test", protocol: "HTTP/1.1" },
    { backend: "h2", serverName: "h2.demo.test", protocol: "HTTP/2.0" },
    { backend: "pool", serverName: "pool.demo.test", protocol: "HTTP/1.1" },
  ]);
  expect(await demo.end("SIGINT")).toEqual({ status: 0, signal: null });
  expect(readdirSync(path)).toEqual([]);
  expect(answers.filter(({ pid }) => isRunning(pid))).toEqual([]);
});

test("interrupted in the middle of its proof, it ends with status 1 and leaves nothing behind", async () => {
  const { path, env } = temporary("interrupted");
  const demo = new Child(process.execPath, [program, "demo"], { env });
  await demo.line("the first proof", (line) => line.startsWith("ok  "));
  expect(await demo.end("SIGTERM")).toEqual({ status: 1, signal: null });
  expect(readdirSync(path)).toEqual([]);
});

test("when nobody reads what it shows, it ends and leaves nothing behind", async () => {
  const { path, env } = temporary("unread");
  const shell = `"${process.execPath}" "${program}" demo | head -3; exit "\${PIPESTATUS[0]}"`;
  const demo = new Child("bash", ["-c", shell], { env });
  expect(await demo.ended).toEqual({ status: 1, signal: null });
  expect(readdirSync(path)).toEqual([]);
});
