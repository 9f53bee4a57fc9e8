/** C programs of the examples and fixtures, compiled for the tests. */
import { execFile } from "node:child_process";
import { mkdirSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { peer, peersFolder } from "./peers.js";

const run = promisify(execFile);
const root = fileURLToPath(new URL("../../..", import.meta.url));

export const strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror"] as const;
export const sanitized = ["-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"] as const;

/**
 * Compiles a file of the repository with gcc; returns the program's path. What it is linked with (`-lssl`) goes last.
 * Kept beside the peers' programs, so that a path is the same in every run.
 */
export async function compiled(
  source: string,
  flags: readonly string[],
  libraries: readonly string[] = [],
): Promise<string> {
  const folder = join(peersFolder, "c-programs");
  mkdirSync(folder, { recursive: true });
  const isSanitized = flags.some((flag) => flag.startsWith("-fsanitize"));
  const program = join(folder, `${basename(source, ".c")}${isSanitized ? "-sanitized" : ""}`);
  const aside = `${program}.${process.pid}`;
  const args = ["-std=c11", ...strict, ...flags, "-I", join(root, "examples/c"), "-o", aside, join(root, source)];
  try {
    await run(peer("gcc"), [...args, ...libraries]);
  } catch (error) {
    const { stderr } = error as { stderr: string };
    if (!stderr.includes("openssl/")) throw error;
    throw new Error(`this test needs OpenSSL's headers: bash test/interop/install.sh openssl-headers\n${stderr}`);
  }
  renameSync(aside, program);
  return program;
}

/** What a compiler says of a source, with all warnings as errors; nothing if it is content. */
export async function complaints(compiler: string, standard: string, source: string): Promise<string> {
  const language = standard.startsWith("c++") ? "c++" : "c";
  const args = [`-std=${standard}`, "-x", language, ...strict, "-O2", "-fsyntax-only", source];
  try {
    return (await run(peer(compiler), args)).stderr;
  } catch (error) {
    return String((error as { stderr?: string }).stderr ?? error);
  }
}
