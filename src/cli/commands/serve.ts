import { type Command, configOption } from "../command.js";
import { type LogLevel, logLevels } from "../log-levels.js";

export const serve: Command = {
  usage: "serve",
  describe: "Run the front door until SIGTERM or SIGINT",
  options: {
    ...configOption,
    "log-level": {
      choices: logLevels,
      requiresArg: true,
      describe: "Least level that is logged. Default: log.level of the configuration (info)",
    },
  },
  examples: [["$0 serve --config front-door.yaml", ""]],
  async run(args) {
    const { serve: serveConfiguration } = await import("../../daemon/serve.js");
    return serveConfiguration(args.config as string, { logLevel: args["log-level"] as LogLevel | undefined });
  },
};
