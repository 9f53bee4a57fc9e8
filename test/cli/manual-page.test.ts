/** The manual page: groff has nothing to complain of, and everything that the help texts say is in it. */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { commands } from "../../src/cli/commands/all.js";
import { nameOf } from "../../src/cli/complaint.js";
import { manualPage } from "../../src/cli/manual-page.js";
import { version } from "../../src/cli/version.js";
import { sniHandoff } from "../support/command-line.js";

const source = manualPage(commands, version());

/** As man(1) shows it, without overstriking, in one line. */
function shown(): string {
  const { stdout, stderr, status } = spawnSync("groff", ["-man", "-Tutf8", "-ww", "-rLL=200n"], {
    input: source,
    encoding: "utf8",
  });
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  return stdout.replaceAll(/\x1b\[[\d;]*m|.\x08/g, "").replaceAll(/\s+/g, " ");
}

describe("the manual page", () => {
  test("is what the command prints", async () => {
    expect(await sniHandoff(["man"])).toEqual({ status: 0, stdout: source, stderr: "" });
  });

  test("has the sections of man-pages(7)", () => {
    const sections = [...source.matchAll(/^\.SH (.*)$/gm)].map((match) => match[1]);
    expect(sections).toEqual([
      "NAME",
      "SYNOPSIS",
      "DESCRIPTION",
      "COMMANDS",
      "SIGNALS",
      "EXIT STATUS",
      "ENVIRONMENT",
      "FILES",
      "SEE ALSO",
    ]);
  });

  test("uses only macros of man(7), and no line of text is taken for one", () => {
    for (const line of source.split("\n").filter((each) => /^[.']/.test(each))) {
      expect(line).toMatch(/^\.(TH|SH|SS|TP|PP|RS|RE|EX|EE|B|BR)\b/);
    }
    expect(source).not.toMatch(/[^\x20-\x7e\n]/);
    expect(source.match(/^\.RS/gm)).toHaveLength(source.match(/^\.RE/gm)!.length);
  });

  test.runIf(existsSync("/usr/bin/groff"))("shows every command, option and description", () => {
    const page = shown();
    for (const { describe, options = {}, positionals = {}, ...command } of commands) {
      expect(page).toContain(nameOf(command as (typeof commands)[number]));
      expect(page).toContain(describe);
      for (const [name, option] of Object.entries(options)) {
        expect(page).toContain(`--${name}`);
        expect(page).toContain(String(option.describe));
      }
      for (const [name, positional] of Object.entries(positionals)) {
        expect(page).toContain(name.toUpperCase());
        expect(page).toContain(String(positional.describe));
      }
    }
    for (const word of ["TERM, INT", "HUP", "USR2", "SNI_HANDOFF_CONTROL", "/run/sni-handoff/control.sock"]) {
      expect(page).toContain(word);
    }
  });
});
