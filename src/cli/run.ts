/** The command line: arguments to a command, the command's result to an exit status. */
import { readFileSync } from "node:fs";
import yargs, { type Argv } from "yargs";
import type { Command } from "./command.js";
import { bench } from "./commands/bench.js";
import { check } from "./commands/check.js";
import { demo } from "./commands/demo.js";
import { explain } from "./commands/explain.js";
import { schema } from "./commands/schema.js";
import { serve } from "./commands/serve.js";
import { complaint } from "./complaint.js";
import { ExitStatus, reportFailure, usageError } from "./exit.js";

const commands: readonly Command[] = [serve, check, explain, schema, demo, bench];

const EXIT_STATUSES = "Exit status: 0 done, 1 failed while running, 2 wrong usage or configuration.";

/** Runs one command line (without node and the script) and returns the exit status. */
export async function run(args: readonly string[]): Promise<number> {
  try {
    return await runCommand(args);
  } catch (error) {
    return reportFailure(error);
  }
}

async function runCommand(args: readonly string[]): Promise<number> {
  let status: number = ExitStatus.DONE;
  const parser = yargs([...args])
    .scriptName("sni-handoff")
    .locale("en")
    .usage(
      "$0 <command>\n\nReads the server name of TLS connections and hands the sockets themselves to backend processes.",
    )
    .parserConfiguration({ "camel-case-expansion": false, "duplicate-arguments-array": false })
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
      // YError is what yargs itself finds wrong; other errors come out of a command.
      throw error === undefined || error === null || error.name === "YError"
        ? usageError(complaint(message, args, commands))
        : error;
    });
  for (const command of commands) {
    parser.command(
      command.usage,
      command.describe,
      (sub) => declare(sub, command),
      async (parsed) => {
        status = await command.run(parsed);
      },
    );
  }
  await parser.parseAsync();
  return status;
}

function declare(parser: Argv, { positionals = {}, options = {}, examples = [] }: Command): Argv {
  for (const [name, positional] of Object.entries(positionals)) parser.positional(name, positional);
  for (const [usage, description] of examples) parser.example(usage, description);
  return parser.options({ ...options }).epilogue(EXIT_STATUSES);
}

function version(): string {
  return JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8")).version;
}
