/** Completion scripts: what bash makes of its one, and that the others have everything in them. */
import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { commands } from "../../src/cli/commands/all.js";
import { nameOf } from "../../src/cli/complaint.js";
import { completionScript } from "../../src/cli/completion.js";
import { sniHandoff } from "../support/command-line.js";

const names = commands.map(nameOf);

/** What bash offers for the last of these words; nothing: it offers files. */
function offered(...words: string[]): string[] {
  const script = `${completionScript("bash", commands)}
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_sni_handoff
printf '%s\\n' "\${COMPREPLY[@]}"`;
  const output = execFileSync("bash", ["--norc", "-uc", script, "bash", "sni-handoff", ...words], { encoding: "utf8" });
  return output.split("\n").filter(Boolean);
}

describe("bash", () => {
  test.each([
    ["commands", [""], [...names, "--help", "--version"]],
    ["a command begun", ["un"], ["undrain"]],
    ["options", ["serve", ""], ["--config", "-c", "--log-level", "--help"]],
    ["an option begun", ["status", "--in"], ["--interval"]],
    ["values", ["serve", "--log-level", ""], ["debug", "info", "warn", "error"]],
    ["a value begun", ["serve", "--log-level", "w"], ["warn"]],
    ["a value behind =", ["serve", "--log-level", "=", "e"], ["error"]],
    ["no value yet behind =", ["serve", "--log-level", "="], ["debug", "info", "warn", "error"]],
    ["arguments that are known", ["log-level", ""], ["debug", "info", "warn", "error"]],
    ["options beside arguments", ["drain", "--"], ["--control", "--config", "--help"]],
    ["files for --config", ["check", "--config", ""], []],
    ["files for --control", ["status", "--control", "/"], []],
    ["nothing for a name", ["explain", "a"], []],
    ["nothing for an unknown command", ["frob", ""], []],
  ])("offers %s", (_what, words, expected) => {
    expect(offered(...words)).toEqual(expected);
  });
});

describe.each(["zsh", "fish"] as const)("%s", (shell) => {
  const script = completionScript(shell, commands);

  test("knows every command, option and value", () => {
    for (const command of commands) {
      expect(script).toContain(nameOf(command));
      for (const [name, { choices = [] }] of Object.entries(command.options ?? {})) {
        expect(script).toContain(shell === "fish" ? `-l ${name}` : `--${name}`);
        expect(script).toContain(choices.join(" "));
      }
    }
  });

  test("has its quotes and brackets in pairs", () => {
    const bare = script.replaceAll(/^\s*#.*$/gm, "").replaceAll(/\\./g, "");
    expect(bare.split("'").length % 2).toBe(1);
    expect(bare.split("[").length).toBe(bare.split("]").length);
  });
});

test("the command prints the script, and wants a shell that it knows", async () => {
  for (const shell of ["bash", "zsh", "fish"] as const) {
    const expected = { status: 0, stdout: completionScript(shell, commands), stderr: "" };
    expect(await sniHandoff(["completion", shell])).toEqual(expected);
  }
  expect(await sniHandoff(["completion", "tcsh"])).toMatchObject({ status: 2, stdout: "" });
});
