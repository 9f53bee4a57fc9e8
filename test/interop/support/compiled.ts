/** C programs of tests, compiled when they are first needed and kept beside the other projects' programs. */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, renameSync } from "node:fs";
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import { peersFolder } from "./peers.js";

/** The program made of a file in fixtures/; `libraries`: ["-lssl"]. */
export function compiled(name: string, libraries: readonly string[] = []): string {
  const source = fileURLToPath(new URL(`../fixtures/${name}`, import.meta.url));
  const flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-std=gnu11", source, ...libraries];
  const digest = createHash("sha256").update(readFileSync(source)).update(libraries.join(" ")).digest("hex");
  const program = join(peersFolder, "compiled", `${basename(name, ".c")}-${digest.slice(0, 16)}`);
  if (!existsSync(program)) {
    mkdirSync(join(peersFolder, "compiled"), { recursive: true });
    // Renamed into its place: another test may be doing the same.
    execFileSync("cc", [...flags, "-o", `${program}.${process.pid}`], { stdio: ["ignore", "inherit", "inherit"] });
    renameSync(`${program}.${process.pid}`, program);
  }
  return program;
}
