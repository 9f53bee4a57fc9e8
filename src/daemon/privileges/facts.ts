/** What the plan needs to know of the machine and this process. */
import { readFileSync, realpathSync } from "node:fs";
import { basename, dirname } from "node:path";
import { fileURLToPath } from "node:url";
import { native } from "../../native/addon.js";

export interface Facts {
  /** As `native.landlockAbi`. */
  readonly landlockAbi: number;
  /** The binary that runs, links resolved. */
  readonly node: string;
  /** The folder with package.json, links resolved. */
  readonly package: string;
  /** Files of shared code that this process has mapped: libraries, addons, the dynamic loader. */
  readonly libraries: readonly string[];
  /** NOTIFY_SOCKET (sd_notify(3)); "" without systemd. */
  readonly notifySocket: string;
  /** A path without links; undefined if there is nothing. */
  realpath(path: string): string | undefined;
}

export const packageFolder: string = fileURLToPath(new URL("../../../", import.meta.url)).replace(/\/$/, "");

export function gatherFacts(): Facts {
  return {
    landlockAbi: native.landlockAbi(),
    node: process.execPath,
    package: realpath(packageFolder) ?? packageFolder,
    libraries: mappedLibraries(readFileSync("/proc/self/maps", "utf8")),
    notifySocket: process.env.NOTIFY_SOCKET ?? "",
    realpath,
  };
}

/** From the lines of /proc/PID/maps (proc(5)): files with ".so" or ".node" in their name. */
export function mappedLibraries(maps: string): string[] {
  const paths = [...maps.matchAll(/ (\/.*\/[^/\n]+\.(?:so|node)\b[^/\n]*)$/gm)].map((match) => match[1]!);
  return [...new Set(paths)].filter((path) => !path.endsWith(" (deleted)"));
}

/** ld.so(8), ld-musl: what the kernel executes for a dynamically linked program. */
export function isLoader(library: string): boolean {
  return /^ld(64)?[-.]/.test(basename(library));
}

/** Where a package may be replaced as a whole: the outermost node_modules that it is in, else the folder around its own. */
export function stableParentOfPackage(folder: string): string {
  const parts = folder.split("/");
  const modules = parts.indexOf("node_modules");
  return modules > 0 && modules < parts.length - 1 ? parts.slice(0, modules + 1).join("/") : dirname(folder);
}

function realpath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
