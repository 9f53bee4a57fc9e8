/** Scripts that complete commands, options and their values in a shell. Where a file may stand, files are offered. */
import type { Options } from "yargs";
import type { Command } from "./command.js";
import { nameOf } from "./complaint.js";
import { phrase, spellings, valueName } from "./option.js";

export type Shell = "bash" | "zsh" | "fish";

export function completionScript(shell: Shell, commands: readonly Command[]): string {
  return { bash, zsh, fish }[shell](commands);
}

const general = ["--help", "--version"];

const optionsOf = (command: Command): [string, Options][] => Object.entries(command.options ?? {});
const positionalsOf = (command: Command) => Object.entries(command.positionals ?? {});
/** Values that a positional argument may have, if they are known. */
const choicesOf = (command: Command): string[] =>
  positionalsOf(command).flatMap(([, { choices = [] }]) => choices.map(String));

/** Bash: bash(1), Programmable Completion. No reply means files, by `-o default`. */
function bash(commands: readonly Command[]): string {
  const words = (list: readonly string[]) => `_sni_handoff_reply "${list.join(" ")}"; return`;
  const branches = commands.map((command) => {
    const valued = optionsOf(command).filter(([name, option]) => valueName(name, option) !== undefined);
    const cases = valued.map(([name, option]) => {
      const then = option.choices === undefined ? "return" : words(option.choices.map(String));
      return `        ${spellings(name, option).join("|")}) ${then} ;;`;
    });
    const options = [...optionsOf(command).flatMap(([name, option]) => spellings(name, option)), "--help"];
    const choices = choicesOf(command);
    const lines = [
      `    ${nameOf(command)})`,
      ...(cases.length > 0 ? ['      case "$previous" in', ...cases, "      esac"] : []),
      ...(positionalsOf(command).length > 0
        ? [`      if [[ "$current" != -* ]]; then ${choices.length > 0 ? words(choices) : "return"}; fi`]
        : []),
      `      ${words(options)} ;;`,
    ];
    return lines.join("\n");
  });
  return `# Completion of sni-handoff for bash: source <(sni-handoff completion bash)
_sni_handoff_reply() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do COMPREPLY+=("$word"); done < <(compgen -W "$1" -- "$current")
}
_sni_handoff() {
  local current="\${COMP_WORDS[COMP_CWORD]}" previous="\${COMP_WORDS[COMP_CWORD - 1]}"
  COMPREPLY=()
  if ((COMP_CWORD == 1)); then
    ${words([...commands.map(nameOf), ...general])}
  fi
  # --option=value: bash makes three words of it.
  if [[ "$current" == "=" ]]; then current=""; elif [[ "$previous" == "=" ]]; then previous="\${COMP_WORDS[COMP_CWORD - 2]}"; fi
  case "\${COMP_WORDS[1]}" in
${branches.join("\n")}
  esac
}
complete -o bashdefault -o default -F _sni_handoff sni-handoff
`;
}

/** Zsh: zshcompsys(1), _arguments and _describe. Works as a file in $fpath and if it is sourced. */
function zsh(commands: readonly Command[]): string {
  const quoted = (text: string) => `'${text.replaceAll("'", "'\\''")}'`;
  const escaped = (text: string) => text.replaceAll(/[[\]:\\]/g, "\\$&");
  const action = (name: string, option: Options) => {
    if (option.choices !== undefined) return `:${name}:(${option.choices.join(" ")})`;
    if (valueName(name, option) === undefined) return "";
    return option.type === "number" ? `:${name}: ` : `:${name}:_files`;
  };
  const branches = commands.map((command) => {
    const specifications = [
      ...optionsOf(command).flatMap(([name, option]) => {
        const all = spellings(name, option);
        const others = all.length > 1 && !option.array ? `(${all.join(" ")})` : option.array ? "*" : "";
        return all.map((each) => quoted(`${others}${each}[${escaped(phrase(option))}]${action(name, option)}`));
      }),
      quoted("--help[Show help]"),
      ...positionalsOf(command).map(([name, { choices, array }]) =>
        quoted(`${array ? "*" : "1"}:${name}:${choices === undefined ? " " : `(${choices.join(" ")})`}`),
      ),
    ];
    return `    ${nameOf(command)})\n      _arguments \\\n        ${specifications.join(" \\\n        ")}\n      ;;`;
  });
  const list = commands.map((command) => quoted(`${nameOf(command)}:${escaped(command.describe)}`));
  return `#compdef sni-handoff
# Completion of sni-handoff for zsh: source <(sni-handoff completion zsh)
_sni_handoff() {
  local -a commands=(
    ${list.join("\n    ")}
  )
  if ((CURRENT == 2)); then
    _describe command commands
    return
  fi
  local command="$words[2]"
  shift words
  ((CURRENT--))
  case "$command" in
${branches.join("\n")}
  esac
}
if [[ "$funcstack[1]" == _sni_handoff ]]; then
  _sni_handoff "$@"
else
  compdef _sni_handoff sni-handoff
fi
`;
}

/** Fish: complete(1) of fish. */
function fish(commands: readonly Command[]): string {
  const quoted = (text: string) => `'${text.replaceAll(/['\\]/g, "\\$&")}'`;
  const lines = commands.flatMap((command) => {
    const name = nameOf(command);
    const on = `complete -c sni-handoff -n ${quoted(`__fish_seen_subcommand_from ${name}`)}`;
    const choices = choicesOf(command);
    return [
      `complete -c sni-handoff -n __fish_use_subcommand -f -a ${name} -d ${quoted(command.describe)}`,
      ...(choices.length > 0 ? [`${on} -f -a ${quoted(choices.join(" "))}`] : []),
      ...optionsOf(command).map(([optionName, option]) => {
        const flags = spellings(optionName, option).map((each) =>
          each.replace(/^--/, "-l ").replace(/^-(?=.$)/, "-s "),
        );
        const value = valueName(optionName, option);
        const takes =
          option.choices !== undefined
            ? `-x -a ${quoted(option.choices.join(" "))}`
            : value === undefined
              ? ""
              : value === "NUMBER"
                ? "-x"
                : "-r -F";
        return [on, ...flags, takes, "-d", quoted(phrase(option))].filter(Boolean).join(" ");
      }),
    ];
  });
  return `# Completion of sni-handoff for fish: sni-handoff completion fish > ~/.config/fish/completions/sni-handoff.fish
complete -c sni-handoff -l help -s h -d 'Show help'
complete -c sni-handoff -n __fish_use_subcommand -l version -s V -d 'Show version number'
${lines.join("\n")}
`;
}
