/** The C sources, looked at by two analysers; a complaint is a failure. */
import { execFile } from "node:child_process";
import { readdirSync, realpathSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { peer } from "../interop/support/peers.js";

const root = fileURLToPath(new URL("../..", import.meta.url));
const headers = join(dirname(realpathSync(process.execPath)), "..", "include", "node");
const folders = ["native", "native/preload", "native/preload/helper"];
const sources = folders.flatMap((folder) =>
  readdirSync(join(root, folder))
    .filter((name) => name.endsWith(".c"))
    .map((name) => join(root, folder, name)),
);
const header = join(root, "examples/c/sni_handoff.h");
const flags = ["-std=gnu11", "-D_GNU_SOURCE", "-DNAPI_VERSION=9", "-isystem", headers];
const ofHeader = ["-DSNI_HANDOFF_IMPLEMENTATION", "-x", "c"];

/** What it has to say where it is not content; warnings in other projects' headers are only counted by clang-tidy. */
async function complaints(command: string, args: readonly string[]): Promise<string> {
  try {
    await promisify(execFile)(peer(command), args, { maxBuffer: 1 << 26 });
    return "";
  } catch (error) {
    const { stdout = "", stderr = "" } = error as { stdout?: string; stderr?: string };
    return `${error}${stdout}${stderr}`;
  }
}

const named = [...sources, header].map((path) => [relative(root, path), path] as const);
const ofPath = (path: string) => (path === header ? ofHeader : []);

describe("gcc -fanalyzer", () => {
  it.concurrent.each(named)("is content with %s", async (_, path) => {
    const args = [
      "-fanalyzer",
      "-O2",
      "-Wall",
      "-Wextra",
      "-Werror",
      ...flags,
      ...ofPath(path),
      "-c",
      path,
      "-o",
      "/dev/null",
    ];
    expect(await complaints("gcc", args)).toBe("");
  });
});

describe("clang-tidy", () => {
  it.concurrent.each(named)("is content with %s", async (_, path) => {
    const config = `--config-file=${join(root, "native/.clang-tidy")}`;
    expect(await complaints("clang-tidy", ["--quiet", config, path, "--", ...flags, ...ofPath(path)])).toBe("");
  });
});
