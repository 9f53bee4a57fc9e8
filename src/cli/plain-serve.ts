/** The command line of a service, read without yargs, whose import takes longer than all the rest up to "ready". */
import { parseArgs } from "node:util";
import { logLevels } from "./log-levels.js";

export interface PlainServe {
  readonly config: string;
  readonly "log-level"?: string;
}

/** What yargs-parser would take for quotes, an option, or a number of its own. */
const QUIRKY = /^$|^-|^["'`]|["'`]$|[\x00-\x1f]/;

/**
 * `serve --config FILE [--log-level LEVEL]`, in any order and with `=` or without, and nothing else: each once. Whatever
 * is otherwise, right or wrong, is undefined and for yargs to judge, so that there is one set of rules and messages.
 */
export function plainServe(args: readonly string[]): PlainServe | undefined {
  if (args[0] !== "serve") return undefined;
  let tokens: ReturnType<typeof tokensOf>;
  try {
    tokens = tokensOf(args.slice(1));
  } catch {
    return undefined;
  }
  const found: { config?: string; "log-level"?: string } = {};
  for (const token of tokens) {
    if (token.kind !== "option" || token.value === undefined || QUIRKY.test(token.value)) return undefined;
    // -cFILE and -c=FILE mean other things to other parsers.
    if (token.rawName === "-c" && token.inlineValue) return undefined;
    if (found[token.name] !== undefined) return undefined;
    found[token.name] = token.value;
  }
  const { config, "log-level": level } = found;
  if (config === undefined || (level !== undefined && !logLevels.some((each) => each === level))) return undefined;
  return level === undefined ? { config } : { config, "log-level": level };
}

function tokensOf(args: string[]) {
  const options = { config: { type: "string", short: "c" }, "log-level": { type: "string" } } as const;
  return parseArgs({ args, options, strict: true, allowPositionals: false, tokens: true }).tokens;
}
