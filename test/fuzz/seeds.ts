/** Where the inputs come from that fuzzing begins with: files of this repository, each with its own provenance. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** One character a byte. */
export function textSeeds(...texts: readonly string[]): Uint8Array[] {
  return texts.map((text) => Uint8Array.from(Buffer.from(text, "latin1")));
}

/** The files of a folder, its path being from the repository's root. */
export function fileSeeds(folder: string, ending: string): Uint8Array[] {
  return readdirSync(join(root, folder))
    .filter((name) => name.endsWith(ending))
    .sort()
    .map((name) => Uint8Array.from(readFileSync(join(root, folder, name))));
}

/** Inputs that broke something once: cases/TARGET/*.hex. */
export function foundCases(target: string): { name: string; bytes: Uint8Array }[] {
  const folder = join(root, "test/fuzz/cases", target);
  let names: string[];
  try {
    names = readdirSync(folder).sort();
  } catch {
    return [];
  }
  return names.map((name) => {
    const lines = readFileSync(join(folder, name), "utf8").split("\n");
    const hex = lines.filter((line) => !line.startsWith("#")).join("");
    return { name, bytes: Uint8Array.from(Buffer.from(hex, "hex")) };
  });
}
