import { type Command, configOption } from "../command.js";
import { ExitStatus, usageError } from "../exit.js";

export const explain: Command = {
  usage: "explain <name>",
  describe: "Say where a server name goes, and over which other routes",
  positionals: {
    name: {
      type: "string",
      demandOption: true,
      describe: "Server name as a client sends it; case and a dot at the end don't matter",
    },
  },
  options: {
    ...configOption,
    json: {
      type: "boolean",
      describe: "One JSON object instead of text. Default: false",
    },
  },
  examples: [["$0 explain shop.example.com --config front-door.yaml", ""]],
  async run(args) {
    const { loadConfiguration } = await import("../../daemon/configuration/index.js");
    const { describeBackend, explainName } = await import("../../daemon/configuration/explain.js");
    const configuration = await loadConfiguration(args.config as string);
    let explained: ReturnType<typeof explainName>;
    try {
      explained = explainName(configuration, String(args.name));
    } catch (error) {
      throw error instanceof RangeError ? usageError(error.message) : error;
    }
    const { name, route, over, backend } = explained;
    const lines = args.json
      ? [JSON.stringify(explained)]
      : [
          `${name} -> ${route.backend}`,
          `  by       ${route.kind === route.pattern ? route.pattern : `${route.kind} ${route.pattern}`}`,
          ...over.map(
            ({ pattern, backend }, index) => `  ${index === 0 ? "over" : "    "}     ${pattern} -> ${backend}`,
          ),
          `  backend  ${describeBackend(backend, configuration.door.backends)}`,
        ];
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
    return ExitStatus.DONE;
  },
};
