/** A folder for sockets, configurations and hellos of one run; gone when the process ends, however it ends. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** sun_path has room for 107 bytes (unix(7)); the names in the folder are short. */
const LONGEST_FOLDER = 80;

/** @returns {{ folder: string, remove: () => void }} */
export function makeWorkspace() {
  const parent = Buffer.byteLength(tmpdir()) < LONGEST_FOLDER - 25 ? tmpdir() : "/tmp";
  const folder = mkdtempSync(join(parent, "sni-handoff-bench-"));
  const remove = () => {
    process.off("exit", remove);
    rmSync(folder, { recursive: true, force: true });
  };
  process.on("exit", remove);
  return { folder, remove };
}
