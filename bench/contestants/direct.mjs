/** The baseline: the same server accepting by itself, with no router before it (receiver.c -l). */
import { setTimeout as sleep } from "node:timers/promises";
import { BACKEND_AWAY } from "./contestant.mjs";
import { startOrigin } from "./origin.mjs";

/** @type {import("./contestant.mjs").Contestant} */
export const direct = {
  name: "direct",
  title: "direct accept",
  looksUpNames: false,
  missing: () => null,
  async start(place) {
    const started = await startOrigin(place);
    const { address } = started;
    let { origin } = started;
    return {
      address,
      routerPids: () => [],
      serverPids: () => [origin.pid],
      stop: () => origin.stop(),
      actions: {
        async backend() {
          await origin.stop();
          await sleep(BACKEND_AWAY);
          ({ origin } = await startOrigin(place, address));
        },
      },
    };
  },
};
