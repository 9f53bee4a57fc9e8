/** This project's front door with a control socket, as a service has it: reloaded, upgraded, stopped and started. */
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { Door } from "../door.mjs";
import { writeMap } from "../names.mjs";
import { BACKEND_AWAY, startReceiver } from "./contestant.mjs";
import { door } from "./door.mjs";

/** @type {import("./contestant.mjs").Contestant} */
export const doorService = { ...door, start };

/** @param {import("./contestant.mjs").Place} place @returns {Promise<import("./contestant.mjs").Running>} */
async function start(place) {
  let { receiver, path } = await startReceiver(place);
  const map = join(place.folder, "names.map");
  const star = place.wildcards === true ? "*." : "";
  await writeMap(map, place.names, "bench", (name) => `${star}${name} bench\n`);
  const { folder, programs, signal } = place;
  const configuration = { workers: 1, accessLog: "off", backends: { bench: { handoff: path } }, maps: [map] };
  const began = performance.now();
  let running = await Door.start({ folder, programs, signal, configuration, name: "door" }).catch(async (error) => {
    await receiver.stop();
    throw error;
  });
  const startSeconds = (performance.now() - began) / 1000;
  await running.instances("bench", 1);
  let reloads = 0;
  const again = async (/** @type {NodeJS.Signals} */ how) => {
    await running.stop(how);
    running = await running.again();
  };
  return {
    ...{ address: running.address, startSeconds },
    routerPids: () => [running.pid],
    serverPids: () => [receiver.pid],
    async stop() {
      await running.stop();
      await receiver.stop();
    },
    actions: {
      // Another route each time, so that there is something to change.
      reload: () => running.reload({ ...configuration, routes: { [`reload-${reloads++}.bench.example`]: "bench" } }),
      upgrade: () => running.upgrade(),
      restart: () => again("SIGTERM"),
      kill: () => again("SIGKILL"),
      async backend() {
        await receiver.stop();
        await sleep(BACKEND_AWAY);
        ({ receiver, path } = await startReceiver(place));
        await running.instances("bench", 1);
      },
    },
  };
}
