/**
 * What a service loads, in four files instead of 250 (src/bundle.mjs makes them of dist/): finding, reading and compiling
 * so many takes longer than all the rest up to "ready".
 */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import type * as Service from "./service.js";

const SERVICE = "../service/service.cjs";

/** Undefined if there is none, or the compiler has run since: then dist/ is what was meant. */
export function bundledService(): typeof Service | undefined {
  const compiled = read("../.tsbuildinfo");
  if (compiled !== undefined && !read("../.service.tsbuildinfo")?.equals(compiled)) return undefined;
  const require = createRequire(import.meta.url);
  try {
    require.resolve(SERVICE);
  } catch {
    return undefined;
  }
  return require(SERVICE);
}

/** The compiler's record, in a clone only: it has a digest of each source. */
function read(path: string): Buffer | undefined {
  try {
    return readFileSync(new URL(path, import.meta.url));
  } catch {
    return undefined;
  }
}
