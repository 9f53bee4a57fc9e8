import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

export const demo: Command = {
  usage: "demo",
  describe: "Start a front door with four backend processes on this machine and prove that it works",
  options: {
    once: {
      type: "boolean",
      describe: "Exit after the proof: 0, or 1 if anything failed. Default: false, stays until Ctrl-C",
    },
  },
  async run(args) {
    const { demonstrate } = await import("../../demo/demonstrate.js");
    return (await demonstrate({ once: args.once === true })) ? ExitStatus.DONE : ExitStatus.FAILED;
  },
};
