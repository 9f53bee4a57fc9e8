import type { Command } from "../command.js";
import { ExitStatus } from "../exit.js";

export const schema: Command = {
  usage: "schema",
  describe: "Print the JSON Schema of the configuration file, for editors",
  examples: [["$0 schema > sni-handoff.schema.json", ""]],
  async run() {
    const { jsonSchema } = await import("../../daemon/configuration/json-schema.js");
    process.stdout.write(`${JSON.stringify(jsonSchema(), null, 2)}\n`);
    return ExitStatus.DONE;
  },
};
