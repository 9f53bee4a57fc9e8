/** The JSON Schema of the configuration file, for editors: `# yaml-language-server: $schema=…`. */
import { z } from "zod";
import { configurationSchema } from "./schema.js";

/** Describes what an operator writes (durations with units), not what the program makes of it. */
export function jsonSchema(): object {
  return { title: "sni-handoff", ...z.toJSONSchema(configurationSchema, { io: "input", target: "draft-07" }) };
}
