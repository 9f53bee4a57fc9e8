/**
 * Where what is made of native/ is: built when the package was installed (native/build/), or, if that was not allowed to
 * (npm's --ignore-scripts), for this platform before the package was published (native/prebuilt/).
 */
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";

const native = fileURLToPath(new URL("../native/", import.meta.url));

/** The path of a file, relative to either folder. There may be none: then of where it should have been built. */
export function builtFile(name: "Release/sni_handoff.node" | "preload/libsnihandoff.so"): string {
  const built = `${native}build/${name}`;
  if (existsSync(built)) return built;
  const prebuilt = `${native}prebuilt/${platformName()}/${name}`;
  return existsSync(prebuilt) ? prebuilt : built;
}

function platformName(): string | undefined {
  try {
    return createRequire(import.meta.url)(`${native}platform.cjs`).platformName();
  } catch {
    return undefined; // not with the rest of the package, or a Node that cannot be read
  }
}
