import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

export const man: Command = {
  usage: "man",
  describe: "Print the manual page, as source for man(1)",
  examples: [["$0 man | man -l -", ""]],
  async run() {
    const { manualPage } = await import("../manual-page.js");
    const { version } = await import("../version.js");
    const { commands } = await import("./all.js");
    process.stdout.write(manualPage(commands, version()));
    return ExitStatus.DONE;
  },
};
