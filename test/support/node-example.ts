/** The Node examples as a user has them: copied out of this repository, with what their package.json names installed. */
import { cpSync, mkdirSync, readFileSync, symlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));

/** Returns the copy's folder, in `into`. */
export function copyExample(name: string, into: string): string {
  const copy = join(into, name);
  cpSync(join(root, "examples", name), copy, { recursive: true, filter: (path) => !path.includes("node_modules") });
  const { dependencies } = JSON.parse(readFileSync(join(copy, "package.json"), "utf8"));
  for (const dependency of Object.keys(dependencies)) install(dependency, copy);
  return copy;
}

/** What `npm install` would make of it, without a registry. */
function install(dependency: string, folder: string): void {
  const place = join(folder, "node_modules", dependency);
  mkdirSync(dirname(place), { recursive: true });
  symlinkSync(dependency === "sni-handoff" ? root : join(root, "node_modules", dependency), place);
}
