/** What a command is made of. */
import type { Options, PositionalOptions } from "yargs";

export interface Command {
  /** With its positional arguments, as yargs writes them: `explain <name>`. */
  readonly usage: string;
  readonly describe: string;
  readonly positionals?: Readonly<Record<string, PositionalOptions>>;
  readonly options?: Readonly<Record<string, Options>>;
  /** Usage and what it does: shown at the end of its help. */
  readonly examples?: readonly (readonly [string, string])[];
  /** Resolves to the exit status. Imports what it needs by itself, so that no command waits for another's modules. */
  readonly run: (args: Readonly<Record<string, unknown>>) => Promise<number>;
}

/** The option that most commands need. */
export const configOption = {
  config: {
    alias: "c",
    type: "string",
    demandOption: true,
    requiresArg: true,
    nargs: 1,
    describe: "Configuration file (YAML). No default",
  },
} as const satisfies Record<string, Options>;
