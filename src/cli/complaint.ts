/** What is wrong with a command line, in words that say what to write instead. yargs only names what it stumbled over. */
import { nearest } from "../daemon/configuration/nearest.js";
import type { Command } from "./command.js";

/** The word that calls a command. */
export const nameOf = ({ usage }: Command): string => usage.split(" ")[0]!;

/** `message` is what yargs says of `args`. */
export function complaint(message: string, args: readonly string[], commands: readonly Command[]): string {
  const [word = "", ...rest] = args;
  const command = commands.find((each) => nameOf(each) === word);
  const help = `\nTry: sni-handoff ${command === undefined ? "" : `${word} `}--help`;
  if (command === undefined) {
    const names = commands.map(nameOf);
    if (word === "" || word.startsWith("-")) return `A command is needed: one of ${names.join(", ")}${help}`;
    return `There is no command "${word}"${didYouMean(nearest(word, names))}${help}`;
  }
  const stray = strayOption(rest, command);
  if (stray !== undefined) {
    const near = nearest(stray, optionsOf(command));
    return `"${word}" has no option --${stray}${didYouMean(near && `--${near}`)}${help}`;
  }
  const missing = /^Missing required argument: (\S+)$/.exec(message)?.[1];
  const loose = rest.filter((each) => !each.startsWith("-")).at(-1);
  if (missing === "config") {
    const meant = loose === undefined || (loose === rest[0] && command.positionals) ? undefined : `--config ${loose}`;
    return `"${word}" needs --config FILE${didYouMean(meant)}${help}`;
  }
  if (message.startsWith("Not enough non-option arguments"))
    return `"${word}" needs ${Object.keys(command.positionals ?? {})
      .join(", ")
      .toUpperCase()}${help}`;
  return `${message}${help}`;
}

function didYouMean(near: string | undefined): string {
  return near === undefined ? "" : `, did you mean ${near.startsWith("-") ? near : `"${near}"`}?`;
}

/** The first long option that the command doesn't have. */
function strayOption(args: readonly string[], command: Command): string | undefined {
  const known = new Set([...optionsOf(command), "help", "version"]);
  for (const arg of args) {
    if (arg === "--") return undefined;
    const name = /^--(?:no-)?([^=]+)/.exec(arg)?.[1];
    if (name !== undefined && !known.has(name)) return name;
  }
  return undefined;
}

function optionsOf(command: Command): string[] {
  return Object.keys(command.options ?? {});
}
