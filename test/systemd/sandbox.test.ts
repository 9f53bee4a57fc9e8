import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { Child } from "../support/child.js";
import { program } from "../support/programs.js";
import { until } from "../support/wait.js";

const script = fileURLToPath(new URL("../support/systemd-sandbox.sh", import.meta.url));

test("the sandbox is a systemd of its own, and leaves nothing behind", async () => {
  const child = new Child(script, [], { stdio: ["pipe", "pipe", "pipe"] });
  const first = await child.line("systemd", (line) => /^ready (\d+)$/.exec(line)?.[1]);
  const inside = spawnSync("nsenter", ["-t", first, "-m", "-p", "cat", "/proc/1/comm"], { encoding: "utf8" });
  expect(inside.stdout).toBe("systemd\n");
  child.process.stdin!.end();
  expect(await child.ended).toEqual({ status: 0, signal: null });
  await until("its processes to be gone", () => !existsSync(`/proc/${first}`));
});

test("the sandbox says what it needs", () => {
  const args = ["--reuid=65534", "--regid=65534", "--clear-groups", "bash", "-s"];
  // By standard input: this project's own folder may not be for everybody either.
  const { status, stderr } = spawnSync(program("setpriv"), args, { input: readFileSync(script), encoding: "utf8" });
  expect({ status, stderr }).toEqual({
    status: 1,
    stderr: "systemd-sandbox.sh: namespaces and mounts need root: run the tests as root\n",
  });
});
