/** Processes as the kit sees them from outside. */
import { readFileSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { isAlive, openIn } from "../../src/conform/process.js";
import { Child } from "../support/child.js";
import { compileProgram } from "../support/compile.js";
import { Folder } from "../support/folder.js";
import { until } from "../support/wait.js";

const folder = new Folder();

test("a process is alive, and has open what it has, until its last thread has ended", async () => {
  const program = compileProgram(new URL("./fixtures/first-thread-ends.c", import.meta.url), folder.path);
  const child = new Child(program, []);
  onTestFinished(async () => void (await child.end("SIGKILL")));
  await until("its first thread's end", () => / Z /.test(readFileSync(`/proc/${child.pid}/stat`, "latin1")));

  expect(isAlive(child.pid)).toBe(true);
  expect(openIn(child.pid)).toContain("/dev/null");

  await child.end("SIGKILL");
  expect(isAlive(child.pid)).toBe(false);
  expect(openIn(child.pid)).toBeUndefined();
});

test("a process that nobody has waited for has ended", async () => {
  // The shell becomes a program that waits for none of its children; then the child reads the end of its input.
  const command = "exec 3<&0; cat <&3 >&2 & echo $!; exec sleep 1000";
  const child = new Child("/bin/sh", ["-c", command], { stdio: "pipe" });
  onTestFinished(async () => void (await child.end("SIGKILL")));
  const ended = Number(await child.line("its child", (line) => line));
  await until("the shell to be another program", () =>
    /^sleep$/m.test(readFileSync(`/proc/${child.pid}/comm`, "utf8")),
  );
  expect(isAlive(ended)).toBe(true);
  child.process.stdin!.end();
  await until("the child's end", () => / Z /.test(readFileSync(`/proc/${ended}/stat`, "latin1")));

  expect(isAlive(ended)).toBe(false);
  expect(openIn(ended)).toBeUndefined();
});
