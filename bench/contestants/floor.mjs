/** The C floor: what any router must do that hands sockets over, and nothing else (floor.c). */
import { Child } from "../process.mjs";
import { addressOf, startReceiver } from "./contestant.mjs";

/** As a router is written: accept4, recv MSG_PEEK, sendmsg and close for one connection after the other. */
export const floor = makeFloor("floor", "C floor", []);

/** With the messages of a batch in one system call: what the door gains by that too is no gain over C. */
export const floorBatched = makeFloor("floor-batched", "C floor, sendmmsg", ["-m", "64"]);

/**
 * @param {string} name
 * @param {string} title
 * @param {readonly string[]} options of floor.c
 * @returns {import("./contestant.mjs").Contestant}
 */
function makeFloor(name, title, options) {
  return {
    name,
    title,
    looksUpNames: false,
    missing: () => null,
    async start(place) {
      const { receiver, path } = await startReceiver(place, ["-A"]);
      const router = new Child(`The ${title}`, place.programs.floor, ["-p", path, ...options]);
      return {
        address: await addressOf(router, place.signal),
        routerPids: () => [router.pid],
        serverPids: () => [receiver.pid],
        async stop() {
          await router.stop();
          await receiver.stop();
        },
      };
    },
  };
}
