/** This project's front door, as a user starts it, with one worker: the floor and the server have one thread each too. */
import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nameOf, writeMap } from "../names.mjs";
import { Child, processTree } from "../process.mjs";
import { startReceiver } from "./contestant.mjs";

/** A million names may take a while on a slow machine. */
const START_MILLISECONDS = 120_000;

export const door = makeDoor(fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url)));

/** @param {string} program of this build, or another @returns {import("./contestant.mjs").Contestant} */
export function makeDoor(program) {
  return {
    name: "door",
    title: "door",
    looksUpNames: true,
    missing: () => (existsSync(program) ? null : `${program} is not there: build it first (npm run build)`),
    async start(place) {
      const { receiver, path } = await startReceiver(place);
      const configuration = await writeConfiguration(place, path);
      // The tether: a door must not outlive the benchmark, and it does not know that it runs in one.
      const router = new Child(
        "The door",
        place.programs.tether,
        [process.execPath, program, "serve", "--config", configuration],
        { ...process.env, ...place.environment },
      );
      const address = await router.find(
        (line) => (line.event === "ready" ? line.listeners?.[0] : undefined),
        START_MILLISECONDS,
        place.signal,
      );
      return {
        address,
        routerPids: () => processTree(router.pid),
        serverPids: () => [receiver.pid],
        async stop() {
          await router.stop();
          await receiver.stop();
        },
      };
    },
  };
}

/** @param {import("./contestant.mjs").Place} place @param {string} socket */
async function writeConfiguration(place, socket) {
  const map = join(place.folder, "names.map");
  const many = place.names > 1;
  if (many) {
    await writeMap(map, place.names, "bench");
  }
  const file = join(place.folder, "door.yaml");
  const configuration = {
    workers: place.workers ?? 1,
    listeners: [{ address: "127.0.0.1:0" }],
    backends: { bench: { handoff: socket } },
    ...(many ? { maps: [map] } : { routes: { [nameOf(0)]: "bench" } }),
  };
  // JSON is YAML.
  await writeFile(file, JSON.stringify(configuration, null, 2));
  return file;
}
