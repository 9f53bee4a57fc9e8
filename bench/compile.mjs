/**
 * Compiles the benchmark's C programs when they are missing or their sources have changed.
 *
 * They go into bench/build/, or, where that can't be written (an installed package), into the user's cache.
 * `node bench/compile.mjs --strict` compiles them with warnings as errors and prints where they are.
 */
import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { constants } from "node:fs";
import { access, mkdir, mkdtemp, readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { BenchFailure } from "./failure.mjs";

const run = promisify(execFile);
const here = fileURLToPath(new URL(".", import.meta.url));

/** Each program's sources. */
const programs = {
  load: ["load.c", "clients.c", "hello.c", "figures.c", "usage.c", "common.c"],
  floor: ["floor.c", "common.c"],
  receiver: ["receiver.c", "channel.c", "service.c", "common.c"],
  slow: ["slow.c", "crowd.c", "hello.c", "common.c"],
  hold: ["hold.c", "crowd.c", "hello.c", "common.c"],
  tether: ["tether.c", "common.c"],
};

/** @typedef {{ [name in keyof typeof programs]: string }} Programs paths of the programs */

const names = /** @type {(keyof typeof programs)[]} */ (Object.keys(programs));
const warnings = ["-Wall", "-Wextra"];
const flags = ["-O2", ...warnings, "-std=gnu11", "-pthread"];

/**
 * @param {{ strict?: boolean }} [options] `strict`: warnings are errors (another compiler than ours may warn of more)
 * @returns {Promise<Programs>}
 * @throws {BenchFailure} if there is no compiler, or it fails
 */
export async function compilePrograms({ strict = false } = {}) {
  const wanted = await fingerprint();
  const folder = await writableFolder();
  const paths = /** @type {Programs} */ (Object.fromEntries(names.map((name) => [name, join(folder, name)])));
  const stamp = join(folder, "sources.sha256");
  if (!strict && (await isBuilt(paths, stamp, wanted))) {
    return paths;
  }
  const compiler = await findCompiler();
  // Compiled aside and renamed: another benchmark may be running these programs, or compiling them.
  const aside = await mkdtemp(join(folder, ".making-"));
  try {
    for (const name of names) {
      await compile(compiler, [...flags, ...(strict ? ["-Werror"] : [])], programs[name], join(aside, name));
    }
    for (const name of names) {
      await rename(join(aside, name), paths[name]);
    }
    await writeFile(stamp, wanted);
  } finally {
    await rm(aside, { recursive: true, force: true });
  }
  return paths;
}

/** Of the sources' content, not their times: a package manager sets those all alike. */
async function fingerprint() {
  const hash = createHash("sha256").update(flags.join(" ")).update(process.arch);
  for (const file of (await readdir(here)).sort()) {
    if (/\.[ch]$/.test(file)) {
      hash.update(file).update(await readFile(join(here, file)));
    }
  }
  return hash.digest("hex");
}

/** @param {Programs} paths @param {string} stamp @param {string} wanted */
async function isBuilt(paths, stamp, wanted) {
  try {
    await Promise.all(Object.values(paths).map((path) => access(path, constants.X_OK)));
    return (await readFile(stamp, "utf8")) === wanted;
  } catch {
    return false;
  }
}

async function writableFolder() {
  const cache = process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
  for (const folder of [join(here, "build"), join(cache, "sni-handoff", "bench")]) {
    try {
      await mkdir(folder, { recursive: true });
      await access(folder, constants.W_OK);
      return folder;
    } catch {
      // Try the next one.
    }
  }
  throw new BenchFailure(
    `The benchmark's programs can be written neither to ${join(here, "build")} nor to ${cache}: set XDG_CACHE_HOME to a folder that can be.`,
  );
}

async function findCompiler() {
  const candidates = process.env.CC ? [process.env.CC] : ["cc", "gcc", "clang"];
  for (const candidate of candidates) {
    try {
      await run(candidate, ["--version"]);
      return candidate;
    } catch {
      // Try the next one.
    }
  }
  throw new BenchFailure(
    `The benchmark needs a C compiler, and there is none (tried ${candidates.join(", ")}): install one (Debian, Ubuntu: apt install build-essential; Fedora: dnf install gcc; Alpine: apk add build-base), or set CC.`,
  );
}

/** @param {string} compiler @param {string[]} options @param {string[]} sources @param {string} output */
async function compile(compiler, options, sources, output) {
  try {
    await run(compiler, [...options, "-o", output, ...sources], { cwd: here });
  } catch (error) {
    const { stderr = String(error) } = /** @type {{ stderr?: string }} */ (error);
    throw new BenchFailure(`${compiler} could not compile ${sources.join(", ")} of ${here}:\n${stderr.trim()}`);
  }
}

/**
 * requests.c, which needs OpenSSL's headers for TLS: without them it makes plain requests only.
 *
 * @returns {Promise<{ path: string, hasTls: boolean }>}
 * @throws {BenchFailure} if there is no compiler, or it fails
 */
export async function compileRequests() {
  const folder = await writableFolder();
  const wanted = await fingerprint();
  const variants = [
    { path: join(folder, "requests-tls"), hasTls: true, options: ["-DREQUESTS_TLS"], libraries: ["-lssl", "-lcrypto"] },
    { path: join(folder, "requests"), hasTls: false, options: [], libraries: [] },
  ];
  let failure;
  for (const { path, hasTls, options, libraries } of variants) {
    const stamp = `${path}.sha256`;
    try {
      await access(path, constants.X_OK);
      if ((await readFile(stamp, "utf8")) === wanted) {
        return { path, hasTls };
      }
    } catch {
      // Not there yet.
    }
    const aside = await mkdtemp(join(folder, ".making-"));
    try {
      const made = join(aside, "requests");
      await compile(
        await findCompiler(),
        [...flags, ...options],
        ["requests.c", "visitors.c", "stream.c", "figures.c", "usage.c", "common.c", ...libraries],
        made,
      );
      await rename(made, path);
      await writeFile(stamp, wanted);
      return { path, hasTls };
    } catch (error) {
      failure = error;
    } finally {
      await rm(aside, { recursive: true, force: true });
    }
  }
  throw failure;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const paths = await compilePrograms({ strict: process.argv.includes("--strict") });
    process.stdout.write(`${Object.values(paths).join("\n")}\n`);
  } catch (error) {
    process.stderr.write(`${error instanceof BenchFailure ? error.message : error}\n`);
    process.exitCode = 1;
  }
}
