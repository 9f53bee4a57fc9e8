import { resolve } from "node:path";
import { type Command, configOption } from "../command.js";
import { controlOption, controlPath, show } from "../control.js";
import { ExitStatus, usageError } from "../exit.js";

/** Milliseconds: the daemon loads the configuration to compare it. */
const PATIENCE = 120_000;

export const check: Command = {
  usage: "check",
  describe: "Say everything that is wrong with a configuration (exit status 2), or that it is right (0)",
  options: {
    ...configOption,
    diff: {
      type: "boolean",
      describe: "Ask the daemon that runs with it what a reload would change, too. Default: false",
    },
    ...controlOption,
  },
  examples: [
    ["$0 check --config front-door.yaml", ""],
    ["$0 check --diff --config front-door.yaml", "Before a reload"],
  ],
  async run(args) {
    const { configuredBackends, loadConfiguration } = await import("../../daemon/configuration/index.js");
    const { formatProblem } = await import("../../errors.js");
    const begun = performance.now();
    const { file, listeners, door, names, routes, warnings } = await loadConfiguration(args.config as string);
    const seconds = (performance.now() - begun) / 1000;
    for (const { message, ...place } of warnings)
      process.stderr.write(`${formatProblem({ ...place, message: `warning: ${message}` })}\n`);
    const facts = [
      `listeners: ${listeners.map(({ name }) => name).join(", ")}`,
      `backends: ${configuredBackends(door).length}`,
      `names: ${names} in ${(routes.byteLength / 2 ** 20).toFixed(1)} MiB, loaded in ${seconds.toFixed(2)} s`,
      `warnings: ${warnings.length}`,
    ];
    process.stdout.write(`${file} is right\n${facts.map((fact) => `  ${fact}\n`).join("")}`);
    return args.diff === true ? diff(args) : ExitStatus.DONE;
  },
};

async function diff(args: Readonly<Record<string, unknown>>): Promise<number> {
  const { askStatus, askTo } = await import("../../daemon/control/client.js");
  const control = await controlPath(args);
  const { configuration } = await askStatus(control);
  const file = resolve(args.config as string);
  if (configuration.file !== file) {
    throw usageError(`the daemon behind ${control} runs with ${configuration.file}, not with ${file}`);
  }
  return show(await askTo(control, "GET", "/diff", { timeout: PATIENCE }));
}
