import { existsSync } from "node:fs";
import { builtFile } from "../../built.js";
import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

export const preload: Command = {
  usage: "preload",
  describe: "Print the path of the library that makes an unchanged server receive from the door (LD_PRELOAD)",
  examples: [["SNI_HANDOFF=443=/run/app/door.sock LD_PRELOAD=$($0 preload) nginx", ""]],
  async run() {
    const library = builtFile("preload/libsnihandoff.so");
    if (!existsSync(library)) {
      process.stderr.write(
        `sni-handoff: ${library} was not built when the package was installed; npm rebuild sni-handoff says why\n`,
      );
      return ExitStatus.FAILED;
    }
    process.stdout.write(`${library}\n`);
    return ExitStatus.DONE;
  },
};
