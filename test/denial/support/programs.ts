/** The C programs of this suite: compiled once a run of a file. */
import { execFileSync } from "node:child_process";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Compiles fixtures/NAME.c into a library to preload; its path. */
export function compileLibrary(name: "blind", folder: string): string {
  const library = join(folder, `${name}.so`);
  const source = fileURLToPath(new URL(`../fixtures/${name}.c`, import.meta.url));
  execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-shared", "-fPIC", "-o", library, source]);
  return library;
}

/** Compiles fixtures/NAME.c into a folder; the program's path. */
export function compileFixture(name: "flood" | "rogue" | "stranger", folder: string): string {
  const program = join(folder, name);
  const source = fileURLToPath(new URL(`../fixtures/${name}.c`, import.meta.url));
  execFileSync("cc", ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", "-o", program, source]);
  return program;
}
