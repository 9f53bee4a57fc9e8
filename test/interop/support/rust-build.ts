/** Rust programs, compiled for the tests. */
import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { peer, peersFolder } from "./peers.js";

const example = fileURLToPath(new URL("../../../examples/rust", import.meta.url));

/** The path of the program of examples/rust. */
export function buildRust(): Promise<string> {
  const files = ["Cargo.toml", "src/main.rs", "src/listener.rs"];
  return buildCrate("rust-receiver", example, files, "sni-handoff-example");
}

/**
 * The path of a crate's program. It is built beside the peers' programs: what it depends on is compiled, and its versions
 * are chosen, once.
 */
export async function buildCrate(
  name: string,
  source: string,
  files: readonly string[],
  program: string,
): Promise<string> {
  const folder = join(peersFolder, name);
  for (const file of files) writeIfOther(join(folder, file), readFileSync(join(source, file), "utf8"));
  const cargo = (...args: string[]) =>
    promisify(execFile)(peer("cargo"), ["rustc", "--release", ...args, "--", "-D", "warnings"], {
      cwd: folder,
      env: { ...process.env, CARGO_TARGET_DIR: join(folder, "target") },
    });
  await cargo("--offline").catch(() => cargo());
  return join(folder, "target/release", program);
}

/** cargo compiles again what is newer than its program. */
function writeIfOther(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  try {
    if (readFileSync(path, "utf8") === text) return;
  } catch {
    // Not there yet.
  }
  writeFileSync(path, text);
}
