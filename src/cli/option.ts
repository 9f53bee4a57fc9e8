/** What help texts, completions and the manual page have to know of an option, beside what yargs knows. */
import type { Options, PositionalOptions } from "yargs";

/** What its value stands for: "FILE"; undefined if it takes none. */
export function valueName(name: string, { type, choices }: Options | PositionalOptions): string | undefined {
  if (type === "boolean") return undefined;
  if (choices !== undefined) return choices.join("|");
  if (type === "number") return "NUMBER";
  if (name === "config") return "FILE";
  if (name === "control") return "PATH";
  return "TEXT";
}

/** All ways to write it: "--config", "-c". */
export function spellings(name: string, { alias = [] }: Options): string[] {
  return [name, ...[alias].flat()].map((each) => `${each.length === 1 ? "-" : "--"}${each}`);
}

/** Its description without the default: one phrase. */
export function phrase({ describe, description }: Options | PositionalOptions): string {
  return (describe || description || "").replace(/\. (?:No default|Default: ).*$/s, "");
}
