/** C of the tests: libraries for LD_PRELOAD, put under real processes, and programs. */
import { execFileSync } from "node:child_process";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";

const WARNINGS = ["-Wall", "-Wextra", "-Werror"];

/** Compiles a C file (a URL) into `folder`: the library's path. */
export function compileLibrary(source: URL, folder: string): string {
  return compile(source, join(folder, `${basename(source.pathname, ".c")}.so`), ["-shared", "-fPIC"]);
}

/** The same of a program. */
export function compileProgram(source: URL, folder: string): string {
  return compile(source, join(folder, basename(source.pathname, ".c")), []);
}

function compile(source: URL, result: string, options: readonly string[]): string {
  const flags = ["-O1", "-std=gnu11", "-pthread", ...WARNINGS, ...options];
  execFileSync(process.env.CC ?? "cc", [...flags, "-o", result, fileURLToPath(source), "-ldl"]);
  return result;
}
