/** The C floor: what any router must do that hands sockets over, and nothing else (floor.c). */
import { Child } from "../process.mjs";
import { addressOf, startReceiver } from "./contestant.mjs";

/** @type {import("./contestant.mjs").Contestant} */
export const floor = {
  name: "floor",
  title: "C floor",
  looksUpNames: false,
  missing: () => null,
  async start(place) {
    const { receiver, path } = await startReceiver(place, ["-A"]);
    const router = new Child("The C floor", place.programs.floor, ["-p", path]);
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
