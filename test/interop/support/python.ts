/** The Python that examples/python is tried with: of the virtual environment that uvicorn is in. */
import { realpathSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { peer } from "./peers.js";

/** The command that runs one of them; nothing is written beside it. */
export function python(file: string): [string, string, string] {
  return [join(dirname(realpathSync(peer("uvicorn"))), "python"), "-B", file];
}

export function pythonExample(name: string): [string, string, string] {
  return python(fileURLToPath(new URL(`../../../examples/python/${name}`, import.meta.url)));
}
