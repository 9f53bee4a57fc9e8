/** The command line: arguments to a command, the command's result to an exit status. */
import yargs, { type Argv } from "yargs";
import type { Command } from "./command.js";
import { commands } from "./commands/all.js";
import { complaint } from "./complaint.js";
import { EXIT_STATUSES, ExitStatus, reportFailure, usageError } from "./exit.js";
import { version } from "./version.js";

/** Runs one command line (without node and the script) and returns the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  process.stdout.on("error", readerGone);
  try {
    const asked = await parse(args);
    return asked === undefined ? ExitStatus.DONE : await asked.command.run(asked.args);
  } catch (error) {
    return reportFailure(error);
  }
}

/**
 * Who reads the output has enough of it: `sni-handoff schema | head`. That is no failure, and needs no word. Commands that have
 * something to end first listen themselves.
 */
function readerGone(error: NodeJS.ErrnoException): void {
  if (process.stdout.listenerCount("error") > 1) return;
  if (error.code !== "EPIPE") throw error;
  process.exit(ExitStatus.DONE);
}

export interface Asked {
  readonly command: Command;
  readonly args: Readonly<Record<string, unknown>>;
}

/** Throws a usage error. undefined: help or version was asked for, and has been printed. */
export async function parse(args: readonly string[]): Promise<Asked | undefined> {
  let asked: Asked | undefined;
  const parser = yargs([...args])
    .scriptName("sni-handoff")
    .locale("en")
    .usage(
      "$0 <command>\n\nReads the server name of TLS connections and hands the sockets themselves to backend processes.",
    )
    .parserConfiguration({ "camel-case-expansion": false })
    .demandCommand(1, "A command is needed.")
    .strict()
    .version(version())
    .help()
    .alias({ help: "h", version: "V" })
    .wrap(Math.min(110, process.stdout.columns ?? 110))
    .epilogue(EXIT_STATUSES)
    // yargs would print and exit by itself, with status 1.
    .exitProcess(false)
    .fail((message, error) => {
      // YError is what yargs itself finds wrong.
      throw error === undefined || error === null || error.name === "YError"
        ? usageError(complaint(message, args, commands))
        : error;
    });
  for (const command of commands) {
    parser.command(
      command.usage,
      command.describe,
      (sub) => declare(sub, command),
      (parsed) => {
        asked = { command, args: parsed };
      },
    );
  }
  await parser.parseAsync();
  return asked;
}

function declare(parser: Argv, { positionals = {}, options = {}, examples = [] }: Command): Argv {
  for (const [name, positional] of Object.entries(positionals)) parser.positional(name, positional);
  for (const [usage, description] of examples) parser.example(usage, description);
  const single = Object.entries(options).map(([name, option]) => [
    name,
    option.array ? option : { ...option, coerce: last },
  ]);
  return parser.options(Object.fromEntries(single)).epilogue(EXIT_STATUSES);
}

/**
 * Of an option that is given several times the last one counts. (yargs has a setting for that, which takes all but the
 * last of a list of positional arguments away, too.)
 */
function last(value: unknown): unknown {
  return Array.isArray(value) ? value.at(-1) : value;
}
