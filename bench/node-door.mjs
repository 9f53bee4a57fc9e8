/** The door in front of a Node server that is measured. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Child } from "./process.mjs";

const program = fileURLToPath(new URL("../dist/cli/main.js", import.meta.url));

/**
 * Of one worker, on a port that the kernel chooses; it hands everything over to `path`.
 *
 * @param {string} folder @param {string} path
 * @param {import("./cpus.mjs").Pinned} pinned makes the command line of a command
 */
export async function startDoor(folder, path, pinned = (command, parameters) => [command, [...parameters]]) {
  const configuration = {
    workers: 1,
    listeners: [{ address: "127.0.0.1:0" }],
    backends: { app: { handoff: path } },
    default: "app",
    notTls: "app",
  };
  const file = join(folder, "door.yaml");
  await writeFile(file, JSON.stringify(configuration));
  const door = new Child("The door", ...pinned(process.execPath, [program, "serve", "--config", file]));
  const address = await door.find((line) => (line.event === "ready" ? line.listeners[0] : undefined), 10_000);
  return { door, address };
}
