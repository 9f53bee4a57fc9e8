/** The baseline: the same server accepting by itself, with no router before it (receiver.c -l). */
import { Child } from "../process.mjs";
import { addressOf } from "./contestant.mjs";

/** @type {import("./contestant.mjs").Contestant} */
export const direct = {
  name: "direct",
  title: "direct accept",
  looksUpNames: false,
  missing: () => null,
  async start(place) {
    const server = new Child("The server that accepts by itself", place.programs.receiver, ["-l", "127.0.0.1:0"]);
    return {
      address: await addressOf(server, place.signal),
      routerPids: () => [],
      serverPids: () => [server.pid],
      stop: () => server.stop(),
    };
  },
};
