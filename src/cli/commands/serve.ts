import { type Command, configOption } from "../command.js";

const levels = ["debug", "info", "warn", "error"] as const;

export const serve: Command = {
  usage: "serve",
  describe: "Run the front door until SIGTERM or SIGINT",
  options: {
    ...configOption,
    "log-level": {
      choices: levels,
      requiresArg: true,
      describe: "Least level that is logged. Default: log.level of the configuration (info)",
    },
  },
  examples: [["$0 serve --config front-door.yaml", ""]],
  async run(args) {
    const { serve: serveConfiguration } = await import("../../daemon/serve.js");
    const logLevel = args["log-level"] as (typeof levels)[number] | undefined;
    return serveConfiguration(args.config as string, { logLevel });
  },
};
