import { spawnSync } from "node:child_process";
import { chmodSync, cpSync, existsSync, mkdirSync, readdirSync, statSync, utimesSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it } from "vitest";
import { countDescriptors, temporaryFolder } from "./resources.js";

countDescriptors();

const source = fileURLToPath(new URL("../../native", import.meta.url));

const isSource = (path: string) => !["build/", "prebuilt/"].some((built) => path.startsWith(join(source, built)));

/** A copy of native/ without what was built. */
async function copy(): Promise<string> {
  const folder = join(await temporaryFolder(), "native");
  cpSync(source, folder, { recursive: true, filter: isSource });
  return folder;
}

function build(folder: string, environment: NodeJS.ProcessEnv = process.env) {
  const run = spawnSync(process.execPath, [join(folder, "build.mjs")], { encoding: "utf8", env: environment });
  return { status: run.status, stdout: run.stdout, stderr: run.stderr };
}

describe("build.mjs", () => {
  it("builds outside of npm too, once, and again when a source is newer or Node another", async () => {
    const folder = await copy();
    const addon = join(folder, "build", "Release", "sni_handoff.node");
    const building = { status: 0, stdout: `sni-handoff: building the addon for Node ${process.version}\n`, stderr: "" };
    const environment = Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("npm_")));
    expect(build(folder, environment)).toEqual(building);
    expect(existsSync(addon)).toBe(true);
    expect(build(folder)).toEqual({ status: 0, stdout: "", stderr: "" });
    // What follows would build again, and says so by missing the tools.
    const withoutTools = { PATH: "/proc/nonexistent" };
    const { mtimeMs } = statSync(addon);
    const source = join(folder, "closer.c");
    utimesSync(source, new Date(), new Date(mtimeMs + 10_000));
    expect(build(folder, withoutTools).status).toBe(1);
    utimesSync(source, new Date(), new Date(mtimeMs - 10_000));
    expect(build(folder, withoutTools).status).toBe(0);
    writeFileSync(join(folder, "build", "built-for"), "another Node\n");
    expect(build(folder, withoutTools).status).toBe(1);
    expect(readdirSync(join(folder, "build")).sort()).toEqual(["Release", "built-for", "preload"]);
    expect(readdirSync(join(folder, "build", "preload")).sort()).toEqual(["libsnihandoff.so", "sni-handoff-helper"]);
  });

  it("says in one sentence what is missing", async () => {
    const folder = await copy();
    const tools = join(folder, "tools");
    mkdirSync(tools);
    const remedy = "to build its addon: apt-get install build-essential python3\n";
    const missing = () => build(folder, { PATH: tools });
    expect(missing()).toEqual({
      status: 1,
      stdout: "",
      stderr: `sni-handoff needs a C compiler and make and python3 ${remedy}`,
    });
    for (const tool of ["make", "python3"]) {
      writeFileSync(join(tools, tool), "#!/bin/sh\n");
      chmodSync(join(tools, tool), 0o755);
    }
    expect(missing()).toEqual({ status: 1, stdout: "", stderr: `sni-handoff needs a C compiler ${remedy}` });
  });

  it("shows the compiler's output when the build fails", async () => {
    const folder = await copy();
    writeFileSync(join(folder, "clock.c"), "this is no C;\n");
    const { status, stderr } = build(folder);
    expect(status).toBe(1);
    expect(stderr).toContain("clock.c:1:1: error:");
    expect(stderr).toContain("sni-handoff: the addon could not be built (node-gyp exited with 1)");
  });
});
