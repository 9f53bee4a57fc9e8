/**
 * This project's front door and its relay, each with one worker, as a user starts them: to a server that accepts
 * connections by itself (`relay`), and, the relay idle beside it, to one that receives them (`handedOver`).
 */
import { existsSync } from "node:fs";
import { mkdir, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { nameOf } from "../names.mjs";
import { Child, processTree } from "../process.mjs";
import { startReceiver } from "./contestant.mjs";
import { startOrigin } from "./origin.mjs";

const program = fileURLToPath(new URL("../../dist/cli/main.js", import.meta.url));
const command = fileURLToPath(new URL("../../dist/cli/commands/relay.js", import.meta.url));
const START_MILLISECONDS = 30_000;

export const relay = makeRelayed("relay", "door and relay", async (place) => {
  const { origin, address } = await startOrigin(place);
  return { server: origin, target: address };
});

export const handedOver = makeRelayed("handed-over", "door, handed over", async (place) => {
  const { receiver, path } = await startReceiver(place);
  return { server: receiver, path };
});

/**
 * @param {string} name
 * @param {string} title
 * @param {(place: import("./contestant.mjs").Place) => Promise<{ server: Child, target?: string, path?: string }>} startServer
 * @returns {import("./contestant.mjs").Contestant}
 */
function makeRelayed(name, title, startServer) {
  return {
    name,
    title,
    looksUpNames: false,
    ...(name === "relay" && { descriptors: 2 }),
    missing: () => (existsSync(command) ? null : `${command} is not there: build it first (npm run build)`),
    async start(place) {
      const { server, target, path } = await startServer(place);
      const file = await writeConfiguration(place, target, path);
      // Two children of the benchmark: a relay that the door starts outlives it.
      const relaying = sniHandoff(place, "The relay", ["relay", "--config", file]);
      await isReady(relaying, place);
      const door = sniHandoff(place, "The door", ["serve", "--config", file]);
      const address = await isReady(door, place);
      return {
        address,
        routerPids: () => [...processTree(door.pid), ...processTree(relaying.pid)],
        serverPids: () => [server.pid],
        async stop() {
          await door.stop();
          await relaying.stop();
          await server.stop();
        },
      };
    },
  };
}

/** @param {import("./contestant.mjs").Place} place @param {string} name @param {readonly string[]} parameters */
function sniHandoff(place, name, parameters) {
  return new Child(name, place.programs.tether, [process.execPath, program, ...parameters]);
}

/** Its first address, "" without one. @param {Child} child @param {import("./contestant.mjs").Place} place @returns {Promise<string>} */
function isReady(child, { signal }) {
  return child.find(
    (line) => (line.event === "ready" || line.event === "relay.ready" ? (line.listeners?.[0] ?? "") : undefined),
    START_MILLISECONDS,
    signal,
  );
}

/** @param {import("./contestant.mjs").Place} place @param {string | undefined} target @param {string | undefined} socket */
async function writeConfiguration(place, target, socket) {
  const folder = join(place.folder, "relay");
  await mkdir(folder);
  const file = join(place.folder, "door.yaml");
  const configuration = {
    workers: 1,
    listeners: [{ address: "127.0.0.1:0" }],
    relay: { folder: `${folder}/`, workers: 1, start: false },
    backends: {
      relayed: { relay: target ?? "127.0.0.1:9" },
      ...(socket !== undefined && { received: { handoff: socket } }),
    },
    routes: { [nameOf(0)]: socket === undefined ? "relayed" : "received", "relayed.example": "relayed" },
  };
  // JSON is YAML.
  await writeFile(file, JSON.stringify(configuration, null, 2));
  return file;
}
