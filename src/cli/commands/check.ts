import { type Command, configOption } from "../command.js";
import { ExitStatus } from "../exit.js";

export const check: Command = {
  usage: "check",
  describe: "Say everything that is wrong with a configuration (exit status 2), or that it is right (0)",
  options: configOption,
  examples: [["$0 check --config front-door.yaml", ""]],
  async run(args) {
    const { loadConfiguration } = await import("../../daemon/configuration/index.js");
    const { formatProblem } = await import("../../errors.js");
    const begun = performance.now();
    const { file, listeners, door, names, routes, warnings } = await loadConfiguration(args.config as string);
    const seconds = (performance.now() - begun) / 1000;
    for (const { message, ...place } of warnings)
      process.stderr.write(`${formatProblem({ ...place, message: `warning: ${message}` })}\n`);
    const facts = [
      `listeners: ${listeners.map(({ name }) => name).join(", ")}`,
      `backends: ${door.backends.length}`,
      `names: ${names} in ${(routes.byteLength / 2 ** 20).toFixed(1)} MiB, loaded in ${seconds.toFixed(2)} s`,
      `warnings: ${warnings.length}`,
    ];
    process.stdout.write(`${file} is right\n${facts.map((fact) => `  ${fact}\n`).join("")}`);
    return ExitStatus.DONE;
  },
};
