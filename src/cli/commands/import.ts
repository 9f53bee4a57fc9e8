import { dirname, resolve } from "node:path";
import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

/** Standard input, as a file's name: of a positional argument "-" yargs leaves nothing. */
const STDIN = ["-", ""];

export const importing: Command = {
  usage: "import <file>",
  describe: "Print another program's configuration as one of this program, with comments on what is not carried over",
  positionals: {
    file: {
      type: "string",
      demandOption: true,
      describe: 'Its configuration: nginx.conf, haproxy.cfg, sniproxy.conf, or sni-router\'s; "-" reads standard input',
    },
  },
  options: {
    from: {
      choices: ["nginx", "haproxy", "sniproxy", "sni-router"],
      requiresArg: true,
      nargs: 1,
      describe: "The program that it is for. Default: guessed from the content, and said on standard error",
    },
  },
  examples: [
    ["$0 import /etc/haproxy/haproxy.cfg > front-door.yaml", ""],
    ["nginx -T | $0 import -", "With all that nginx.conf includes"],
  ],
  async run(args) {
    const { importConfiguration } = await import("../../import/index.js");
    const { HandoffError } = await import("../../errors.js");
    const { readFileSync } = await import("node:fs");
    const path = String(args.file);
    const isStdin = STDIN.includes(path);
    const file = isStdin ? "standard input" : path;
    const read = (name: string) => {
      try {
        return readFileSync(name, "utf8");
      } catch {
        return undefined;
      }
    };
    let text: string;
    try {
      text = readFileSync(isStdin ? 0 : path, "utf8");
    } catch (error) {
      throw new HandoffError("ERR_IMPORT", `${file} cannot be read: ${(error as Error).message}`);
    }
    const from = args.from as typeof import("../../import/index.js")["FORMATS"][number] | undefined;
    const imported = importConfiguration(text, {
      file,
      from,
      // HAProxy's own rule is its working folder, which nobody knows here.
      read: (name) => read(resolve(isStdin ? "." : dirname(path), name)),
    });
    const { format, remarks } = imported;
    const notes = remarks.length === 1 ? "1 comment says" : `${remarks.length} comments say`;
    if (from === undefined) process.stderr.write(`${file}: taken for a configuration of ${format}\n`);
    if (remarks.length > 0) process.stderr.write(`${notes} what is not carried over, or not as it was\n`);
    process.stdout.write(imported.text);
    return ExitStatus.DONE;
  },
};
