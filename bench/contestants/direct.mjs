/** The baseline: the same server accepting by itself, with no router before it (receiver.c -l). */
import { startOrigin } from "./origin.mjs";

/** @type {import("./contestant.mjs").Contestant} */
export const direct = {
  name: "direct",
  title: "direct accept",
  looksUpNames: false,
  missing: () => null,
  async start(place) {
    const { origin, address } = await startOrigin(place);
    return {
      address,
      routerPids: () => [],
      serverPids: () => [origin.pid],
      stop: () => origin.stop(),
    };
  },
};
