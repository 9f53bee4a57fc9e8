/** The preload library as a user gets it, and the helper processes that it has started. */
import { execFileSync } from "node:child_process";
import { readdirSync, readlinkSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const program = fileURLToPath(new URL("../../../dist/cli/main.js", import.meta.url));

let found: string | undefined;

/** What `sni-handoff preload` prints: the library's path. */
export function preloadLibrary(): string {
  found ??= execFileSync(process.execPath, [program, "preload"], { encoding: "utf8" }).trimEnd();
  return found;
}

/** The variables that have a server receive: `addresses` is "ADDRESS:PORT" -> path. */
export function preloaded(addresses: Readonly<Record<string, string>>): NodeJS.ProcessEnv {
  const SNI_HANDOFF = Object.entries(addresses)
    .map(([address, path]) => `${address}=${path}`)
    .join(",");
  return { LD_PRELOAD: preloadLibrary(), SNI_HANDOFF };
}

/** All helpers of this library that run, whoever's child they are. */
export function helpers(): number[] {
  const path = join(dirname(preloadLibrary()), "sni-handoff-helper");
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .map(Number)
    .filter((pid) => {
      try {
        return readlinkSync(`/proc/${pid}/exe`) === path;
      } catch {
        return false; // gone, or a zombie
      }
    });
}
