/**
 * Builds native/prebuilt/, for each platform, with the one C compiler that brings every platform's C library: zig.
 * `npm run binaries`, or `node native/prebuild.mjs [--check] [--out FOLDER]`. zig is looked for in ZIG, then in PATH.
 *
 * --check builds nothing: status 1 if what is there is of other sources.
 *
 * The same sources, zig and headers of Node give the same bytes, wherever the folder is.
 */
import { spawnSync } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { findHeaders } from "./headers.mjs";
import { addon, fingerprint, folder, isOfTheseSources } from "./prebuilt.mjs";
import { flags as preloadFlags, products as preloadProducts } from "./preload/build.mjs";

/** glibc 2.28 is what Node's own binaries need, from version 18 on. */
const targets = {
  "linux-x64-glibc": "x86_64-linux-gnu.2.28",
  "linux-x64-musl": "x86_64-linux-musl",
  "linux-arm64-glibc": "aarch64-linux-gnu.2.28",
  "linux-arm64-musl": "aarch64-linux-musl",
};
/**
 * Nothing in the files that says where or when they were built; -O2 has zig leave its checks for debugging out. -dynamic: not
 * with a C library of their own, as zig does for musl otherwise. In musl the macro CMSG_NXTHDR compares signs.
 */
const everywhere = [
  "-dynamic",
  "-Wno-sign-compare",
  "-fPIC",
  "-g0",
  "-Wl,--strip-all",
  "-Wl,--build-id=none",
  "-Wl,-z,relro",
  "-Wl,-z,now",
];

const here = dirname(fileURLToPath(import.meta.url));

class Failure extends Error {}

function main() {
  const { values } = parseArgs({ options: { check: { type: "boolean" }, out: { type: "string", default: folder } } });
  if (values.check) return check();
  const { out } = values;
  const headers = findHeaders();
  if (!headers) throw new Failure("Node's headers were not found beside it: apt-get install libnode-dev");
  const version = zig(["version"]).trim();
  const made = mkdtempSync(join(tmpdir(), "sni-handoff-prebuild-"));
  try {
    for (const [platform, target] of Object.entries(targets)) {
      console.error(`building for ${platform}`);
      buildFor(join(made, platform), target, join(headers, "include", "node"));
    }
    writeFileSync(join(made, "made-of"), `${fingerprint()}\nzig ${version}\nheaders of Node ${process.version}\n`);
    mkdirSync(out, { recursive: true });
    for (const name of readdirSync(out)) rmSync(join(out, name), { recursive: true });
    // What they were made of last: without it nothing of the rest is used.
    for (const name of [...Object.keys(targets), "made-of"])
      cpSync(join(made, name), join(out, name), { recursive: true });
  } finally {
    rmSync(made, { recursive: true, force: true });
  }
}

function check() {
  if (!existsSync(folder)) {
    console.error(
      "sni-handoff: without native/prebuilt/: who installs it needs a compiler (npm run binaries makes it)",
    );
  } else if (!isOfTheseSources()) {
    throw new Failure("sni-handoff: native/prebuilt/ is of other sources: npm run binaries, or remove it");
  }
}

function buildFor(out, target, include) {
  // JSON but for what GYP allows beyond it, of which it has nothing.
  const [gyp] = JSON.parse(readFileSync(join(here, "binding.gyp"), "utf8")).targets;
  const defines = [...gyp.defines, `NODE_GYP_MODULE_NAME=${gyp.target_name}`, "BUILDING_NODE_EXTENSION"];
  compile(here, target, join(out, addon), [
    ...["-shared", "-pthread", ...gyp.cflags, ...everywhere, ...defines.map((define) => `-D${define}`)],
    ...["-isystem", include, ...gyp.sources],
  ]);
  for (const [name, product] of Object.entries(preloadProducts)) {
    const sources = readdirSync(product.folder).filter((file) => file.endsWith(".c"));
    const flags = [...preloadFlags, ...product.flags, ...everywhere];
    compile(product.folder, target, join(out, "preload", name), [...flags, ...sources.sort(), ...product.libraries]);
  }
}

/** In the sources' folder, so that their names, as assert(3) has them in its messages, are the same everywhere. */
function compile(cwd, target, output, args) {
  mkdirSync(dirname(output), { recursive: true });
  zig(["cc", "-target", target, "-o", output, ...args], cwd);
}

function zig(args, cwd = here) {
  const program = process.env.ZIG || "zig";
  const run = spawnSync(program, args, { cwd, encoding: "utf8", maxBuffer: 1 << 28 });
  if (run.error?.code === "ENOENT") {
    throw new Failure(`there is no ${program}: bash test/interop/install.sh zig, and set ZIG to what it installs`);
  }
  if (run.status !== 0)
    throw new Failure(`${run.stdout ?? ""}${run.stderr ?? ""}${run.error?.message ?? ""}zig failed`);
  return run.stdout;
}

try {
  main();
} catch (error) {
  if (!(error instanceof Failure)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
