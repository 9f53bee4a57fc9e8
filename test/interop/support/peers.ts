/** Other projects' programs that the interop tests run: where they are, or the command that installs each. */
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";

/** What is built from a language's registry is kept here between runs: `install.sh` puts it there. */
export const peersFolder: string = process.env.SNI_HANDOFF_PEERS ?? join(homedir(), ".cache", "sni-handoff-peers");

/** The path of a program that test/interop/install.sh installs; throws the sentence that says how to get it. */
export function peer(name: string): string {
  const folders = [
    join(peersFolder, "bin"),
    ...(process.env.PATH ?? "").split(delimiter),
    "/usr/sbin",
    "/usr/local/sbin",
  ];
  for (const folder of folders) {
    const path = join(folder || ".", name);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // The next folder.
    }
  }
  throw new Error(`this test needs ${name}: bash test/interop/install.sh ${name}`);
}
