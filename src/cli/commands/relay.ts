import { type Command, configOption } from "../command.js";
import { type LogLevel, logLevels } from "../log-levels.js";

export const relay: Command = {
  usage: "relay",
  describe:
    "Run the relay, which moves the bytes of relay backends, until SIGTERM or SIGINT. The door starts one itself",
  options: {
    ...configOption,
    "log-level": {
      choices: logLevels,
      requiresArg: true,
      describe: "Least level that is logged. Default: log.level of the configuration (info)",
    },
    "while-needed": {
      type: "boolean",
      describe:
        "End when no door is there and no connection is left, and at once if a relay is there already (else this one takes its place, and that one drains). Default: false",
    },
  },
  examples: [["$0 relay --config front-door.yaml", "As a service of its own, with relay: { start: false }"]],
  async run(args) {
    const { serveRelay } = await import("../../daemon/relay/serve.js");
    return serveRelay(args.config as string, {
      logLevel: args["log-level"] as LogLevel | undefined,
      whileNeeded: args["while-needed"] === true,
    });
  },
};
