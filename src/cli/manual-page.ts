/** The manual page sni-handoff(1) from the definitions of the commands: man(7), groff_man(7). */
import type { Options, PositionalOptions } from "yargs";
import type { Command } from "./command.js";
import { nameOf } from "./complaint.js";
import { CONTROL_VARIABLE } from "./control.js";
import { spellings, valueName } from "./option.js";

/** Source for man(1); the same for the same commands and version. */
export function manualPage(commands: readonly Command[], version: string): string {
  return [
    `.TH SNI\\-HANDOFF 1 "" "${text(`sni-handoff ${version}`)}" "User Commands"`,
    ".SH NAME",
    text("sni-handoff - a front door for TLS that hands accepted sockets to backend processes"),
    ".SH SYNOPSIS",
    ".B sni\\-handoff",
    `${italic("command")} [${italic("options")}]`,
    ".SH DESCRIPTION",
    ...paragraphs(DESCRIPTION),
    ".SH COMMANDS",
    ...commands.flatMap(section),
    ...[
      [".SH SIGNALS", "Of the process that serves:"],
      list(SIGNALS),
      [".SH EXIT STATUS"],
      list(EXITS),
      [".SH ENVIRONMENT"],
      list([
        [
          CONTROL_VARIABLE,
          "The control socket of the daemon that is asked if neither --control nor --config is given.",
        ],
      ]),
      [".SH FILES"],
      list(FILES),
      [".SH SEE ALSO"],
      [SEE_ALSO.map(([page, of]) => `.BR ${page} (${of})`).join(" ,\n")],
    ].flat(),
    "",
  ].join("\n");
}

const DESCRIPTION = [
  "Accepts TCP connections, peeks at the server name in the first message of TLS (SNI), and gives the accepted socket itself to a backend process on the same machine, by SCM_RIGHTS over a unix socket. From then on it is not in the path: it has no keys and moves no bytes.",
  "The commands status, drain, undrain, reload, upgrade, stop and log-level ask a running daemon over its control socket. It is there if the configuration has the key control, and speaks HTTP: curl --unix-socket PATH http://localhost/ lists what it can be asked.",
  "All keys of the configuration file are described in src/daemon/configuration/README.md of the package, and by the JSON Schema that the command schema prints.",
];

const SIGNALS = [
  [
    "TERM, INT",
    "Accepts no more, finishes what waits and what is not yet acknowledged, and ends. A second one: at once.",
  ],
  ["HUP", "Reads the configuration again, as the command reload. A wrong one changes nothing."],
  ["USR2", "Starts the program that is installed now and gives it everything, as the command upgrade."],
  ["USR1", "Nothing: Node's inspector is not opened."],
] as const;

const EXITS = [
  ["0", "Done."],
  ["1", "Failed while running: an address in use, no daemon, a daemon that could not do what it was told."],
  ["2", "Wrong usage or configuration. Every problem is on standard error."],
] as const;

const FILES = [
  ["/run/sni-handoff/control.sock", "The control socket that is asked if nothing else is said."],
  ["/etc/sni-handoff/front-door.yaml", "Where a configuration file may lie; there is no default."],
] as const;

const SEE_ALSO = [
  ["curl", 1],
  ["unix", 7],
  ["tcp", 7],
  ["systemd.socket", 5],
] as const;

function section(command: Command): string[] {
  const positionals = Object.entries(command.positionals ?? {});
  const options = Object.entries(command.options ?? {});
  const names = positionals.map(([name, { array, demandOption }]) => {
    const word = `${italic(name.toUpperCase())}${array ? "..." : ""}`;
    return demandOption ? word : `[${word}]`;
  });
  const demanded = options.filter(([, option]) => option.demandOption);
  const needs = demanded.map(([name, option]) => `${bold(`--${name}`)} ${italic(valueName(name, option) ?? "")}`);
  const rest = options.length > demanded.length ? [`[${italic("options")}]`] : [];
  const examples = (command.examples ?? []).flatMap(([usage, description]) => [
    ".PP",
    ...(description === "" ? ["Example:"] : [line(`Example (${description}):`)]),
    ".PP",
    ".RS 4",
    ".EX",
    line(usage.replaceAll("$0", "sni-handoff")),
    ".EE",
    ".RE",
  ]);
  return [
    `.SS ${quoted([bold(nameOf(command)), ...names, ...needs, ...rest].join(" "))}`,
    line(`${command.describe}.`),
    ...positionals.flatMap(([name, positional]) => item(italic(name.toUpperCase()), positional)),
    ...options.flatMap(([name, option]) => {
      const value = valueName(name, option);
      const head = spellings(name, option).map(bold).join(", ");
      return item(value === undefined ? head : `${head} ${italic(value)}`, option);
    }),
    ...examples,
  ];
}

function item(head: string, { describe = "" }: Options | PositionalOptions): string[] {
  return [".TP", head, line(`${describe || ""}.`)];
}

function list(entries: readonly (readonly [string, string])[]): string[] {
  return entries.flatMap(([head, body]) => [".TP", bold(head), line(body)]);
}

function paragraphs(all: readonly string[]): string[] {
  return all.flatMap((each, index) => [...(index === 0 ? [] : [".PP"]), line(each)]);
}

const bold = (word: string) => `\\fB${text(word)}\\fR`;
const italic = (word: string) => `\\fI${text(word)}\\fR`;
const quoted = (argument: string) => `"${argument.replaceAll('"', "\\(dq")}"`;

/** Text in a line of its own: no macro, whatever it begins with. */
function line(body: string): string {
  return text(body).replace(/^(?=[.'])/, "\\&");
}

/** Hyphens that stay hyphens when copied, backslashes, quotes: groff_char(7). */
function text(body: string): string {
  return body
    .replaceAll("\\", "\\e")
    .replaceAll("-", "\\-")
    .replaceAll("~", "\\(ti")
    .replaceAll("^", "\\(ha")
    .replaceAll("`", "\\(ga")
    .replaceAll("'", "\\(aq");
}
