// What was built before the package was published (prebuild.mjs), for machines without a compiler.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const { platformName } = createRequire(import.meta.url)("./platform.cjs");
const here = dirname(fileURLToPath(import.meta.url));

/** A folder for each platform, laid out as build/; and what they were made of. */
export const folder = join(here, "prebuilt");
const record = join(folder, "made-of");

export const addon = join("Release", "sni_handoff.node");
export const preload = [join("preload", "sni-handoff-helper"), join("preload", "libsnihandoff.so")];

/** Changes with every source of what is prebuilt. */
export function fingerprint() {
  const hash = createHash("sha256");
  for (const part of [".", "preload", "preload/helper"]) {
    const files = readdirSync(join(here, part)).filter((file) => /\.(c|h|gyp)$/.test(file));
    for (const file of files.sort()) hash.update(`${part}/${file}\0`).update(readFileSync(join(here, part, file)));
  }
  return `sources sha256 ${hash.digest("hex")}`;
}

/** Whether what is in `folder` was made of the sources that are here now. */
export function isOfTheseSources() {
  return existsSync(record) && readFileSync(record, "utf8").startsWith(`${fingerprint()}\n`);
}

/**
 * Puts what fits this machine into build/. Returns whether there was any; if there was and it does not fit, why not, in a
 * sentence.
 */
export function takePrebuilt() {
  const platform = platformName();
  if (platform === undefined || !existsSync(join(folder, platform))) return { taken: false };
  const from = join(folder, platform);
  if (!isOfTheseSources()) return { taken: false, why: "the prebuilt addon is of other sources" };
  const fault = loadingFault(join(from, addon));
  if (fault) return { taken: false, why: `the prebuilt addon for ${platform} cannot be loaded here (${fault})` };
  const build = join(here, "build");
  mkdirSync(build, { recursive: true });
  const work = mkdtempSync(join(build, "work-"));
  try {
    cpSync(from, work, { recursive: true });
    // One by one, and the addon last: with it all is there.
    for (const name of [...preload, addon]) {
      if (!existsSync(join(work, name))) continue;
      mkdirSync(dirname(join(build, name)), { recursive: true });
      renameSync(join(work, name), join(build, name));
    }
    return { taken: true, platform };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Why Node cannot load a file; undefined if it can. In a process of its own: a broken one may end it. */
function loadingFault(file) {
  const run = spawnSync(process.execPath, ["-e", "process.dlopen({ exports: {} }, process.argv[1])", file], {
    encoding: "utf8",
    env: { ...process.env, NODE_OPTIONS: "" },
  });
  if (run.status === 0) return undefined;
  return (
    /^Error: (.*)$/m.exec(run.stderr ?? "")?.[1] ?? run.error?.message ?? `Node ended with ${run.signal ?? run.status}`
  );
}
