// Builds libsnihandoff.so and its helper with nothing but a C compiler and the C library.
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const target = join(here, "..", "build", "preload");
export const flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-g", "-Wall", "-Wextra"];
/** Each with the folder of its sources, and what it needs beside `flags`. */
export const products = {
  // The helper first: a library that is there finds its helper beside it.
  "sni-handoff-helper": { folder: join(here, "helper"), flags: [], libraries: [] },
  "libsnihandoff.so": {
    folder: here,
    flags: ["-shared", "-fPIC", "-fvisibility=hidden"],
    libraries: ["-ldl", "-pthread"],
  },
};

const sourcesOf = (folder) =>
  readdirSync(folder)
    .filter((file) => file.endsWith(".c"))
    .map((file) => join(folder, file));

/** Whether what is built is newer than every source. */
export function isPreloadUpToDate() {
  const built = Object.keys(products).map((name) => statSync(join(target, name), { throwIfNoEntry: false })?.mtimeMs);
  if (built.includes(undefined)) return false;
  const sources = [here, join(here, "helper")].flatMap((folder) =>
    readdirSync(folder)
      .filter((file) => /\.(c|h|mjs)$/.test(file))
      .map((file) => join(folder, file)),
  );
  return sources.every((file) => statSync(file).mtimeMs <= Math.min(...built));
}

/** Builds both with `compiler`. Returns why that failed, with the compiler's output; undefined if it did not. */
export function buildPreload(compiler) {
  mkdirSync(target, { recursive: true });
  // In a folder of its own and then renamed: a server that starts meanwhile finds those before.
  const work = mkdtempSync(join(target, "work-"));
  try {
    const begun = new Date();
    for (const [name, { folder, flags: more, libraries }] of Object.entries(products)) {
      const output = join(work, name);
      const run = spawnSync(compiler, [...flags, ...more, "-o", output, ...sourcesOf(folder), ...libraries], {
        encoding: "utf8",
        maxBuffer: 1 << 28,
      });
      if (run.status !== 0 || !existsSync(output)) {
        return `${run.stdout ?? ""}${run.stderr ?? ""}${run.error?.message ?? `${compiler} exited with ${run.status}`}`;
      }
      // A source that was edited since then is newer.
      utimesSync(output, begun, begun);
    }
    for (const name of Object.keys(products)) renameSync(join(work, name), join(target, name));
    return undefined;
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}
