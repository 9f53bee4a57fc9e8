/** The C targets without clang and their fuzzer: each is made of what it needs, and holds for its seeds. */
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, onTestFinished, test } from "vitest";
import { writeSeeds } from "./fuzz.mjs";
import { ingredients, targets } from "./targets.mjs";

const run = promisify(execFile);
const replay = fileURLToPath(new URL("replay.c", import.meta.url));

test.each(Object.keys(targets))("%s", async (name) => {
  const folder = mkdtempSync(join(tmpdir(), "sni-handoff-fuzz-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const { files, flags } = ingredients(name);
  const program = join(folder, "target");
  await run(process.env.CC ?? "cc", ["-o", program, replay, ...files, ...flags]);
  const seeds = writeSeeds(name, folder);
  expect(seeds).not.toEqual([]);
  await run(program, seeds, { cwd: folder });
});
