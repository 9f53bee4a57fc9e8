/** The short way to read `serve`'s command line gives what yargs gives, or leaves it to yargs. */
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { plainServe } from "../../src/cli/plain-serve.js";
import { parse } from "../../src/cli/run.js";
import { sniHandoff } from "../support/command-line.js";

/** What yargs makes of it: the options of `serve`; undefined if it is wrong, or something else. */
async function byYargs(args: readonly string[]): Promise<object | undefined> {
  try {
    const asked = await parse(args);
    if (asked?.command.usage !== "serve") return undefined;
    const { config, "log-level": level } = asked.args;
    return level === undefined ? { config } : { config, "log-level": level };
  } catch {
    return undefined;
  }
}

const commonest: readonly (readonly string[])[] = [
  ["serve", "--config", "a.yaml"],
  ["serve", "--config=a.yaml"],
  ["serve", "-c", "a.yaml"],
  ["serve", "--config", "/etc/a b.yaml", "--log-level", "debug"],
  ["serve", "--log-level=error", "-c", "1"],
  ["serve", "--config", "a=b"],
  ["serve", "--config=a=b"],
  ["serve", "--config", "true"],
  ["serve", "--config", "0x10"],
];

const declined: readonly (readonly string[])[] = [
  [],
  ["serve"],
  ["check", "--config", "a"],
  ["--config", "a", "serve"],
  ["serve", "--help"],
  ["serve", "--version"],
  ["serve", "-h", "-c", "a"],
  ["serve", "--config"],
  ["serve", "--config", ""],
  ["serve", "--config="],
  ["serve", "--config", "--log-level"],
  ["serve", "--config", "-"],
  ["serve", "--config", "a", "--config", "b"],
  ["serve", "-c", "a", "--config", "b"],
  ["serve", "-ca"],
  ["serve", "-c=a"],
  ["serve", "--config", '"a"'],
  ["serve", "--config='a'"],
  ["serve", "a", "--config", "b"],
  ["serve", "--config", "a", "b"],
  ["serve", "--config", "a", "--"],
  ["serve", "--", "--config", "a"],
  ["serve", "--config", "a", "--log-level", "loud"],
  ["serve", "--config", "a", "--log-level"],
  ["serve", "--config", "a", "--log-level", "info", "--log-level", "warn"],
  ["serve", "--config", "a", "--no-config"],
  ["serve", "--conf", "a"],
  ["serve", "--config.x", "a"],
  ["serve", "--config", "a", "--get-yargs-completions"],
];

describe("the short way", () => {
  test.each(commonest.map((args) => [args.join(" "), args] as const))(
    "takes %j, as yargs does",
    async (_line, args) => {
      const found = plainServe(args);
      expect(found).toBeDefined();
      expect(found).toEqual(await byYargs(args));
    },
  );

  test.each(declined.map((args) => [args.join(" "), args] as const))("leaves %j to yargs", (_line, args) => {
    expect(plainServe(args)).toBeUndefined();
  });

  test("never finds anything else than yargs", async () => {
    const word = fc.oneof(
      fc.constantFrom(
        ...["serve", "--config", "-c", "--config=a", "--log-level", "--log-level=info", "debug", "warn", "a.yaml"],
        ...["--", "-", "", "=", "--no-config", "-c=x", "-cx", "--log-level=", "'q'", '"', "1", "true", "--help", "-h"],
        ...["--config=--x", "--config='x'", "a b", "\\", "--logLevel", "info\n", " ", "@a", "~", "$0", "--config=\t"],
      ),
      fc.string({ maxLength: 6 }),
      fc.string({ maxLength: 6 }).map((text) => `--config=${text}`),
    );
    const line = fc.array(word, { maxLength: 5 }).map((words) => ["serve", ...words]);
    // Help that yargs prints for some of them is not for this test's output.
    const { log } = console;
    console.log = () => {};
    try {
      await fc.assert(
        fc.asyncProperty(line, async (args) => {
          const found = plainServe(args);
          if (found !== undefined) expect({ args, found }).toEqual({ args, found: await byYargs(args) });
        }),
        { numRuns: 5000 },
      );
    } finally {
      console.log = log;
    }
  });
});

describe("as processes, both ways", () => {
  test.each(["/nowhere.yaml", "/tmp"])("%s is no configuration: the same message and status", async (config) => {
    const short = ["serve", "--config", config];
    const long = [...short, "--config", config];
    expect([plainServe(short), plainServe(long)]).toEqual([{ config }, undefined]);
    const [plain, yargs] = await Promise.all([sniHandoff(short), sniHandoff(long)]);
    expect(plain.status).toBe(2);
    expect(plain).toEqual(yargs);
  });

  test("the short one imports no yargs", async () => {
    const env = { ...process.env, NODE_DEBUG: "esm,module" };
    const { stderr } = await sniHandoff(["serve", "--config", "/nowhere.yaml"], { env });
    // Bundled, or as it was compiled.
    expect(stderr).toMatch(/service\/service\.cjs|daemon\/serve\.js/);
    expect(stderr).not.toContain("yargs");
  });
});
