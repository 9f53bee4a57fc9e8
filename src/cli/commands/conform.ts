import { constants } from "node:os";
import type { ProbeKind, RuleResult } from "../../conform/index.js";
import type { Command } from "../command.js";
import { ExitStatus, usageError } from "../exit.js";

const stopSignals = ["TERM", "INT", "QUIT", "HUP", "USR1", "USR2", "WINCH"] as const;

export const conform: Command = {
  usage: "conform",
  describe: "Play the door against a receiver in any language, and check every rule of the handoff protocol. TAP",
  options: {
    path: {
      type: "string",
      requiresArg: true,
      nargs: 1,
      describe: "The receiver's socket, or the folder that it makes one in. No default",
    },
    start: {
      type: "string",
      requiresArg: true,
      nargs: 1,
      describe:
        "Shell command that starts the receiver. It is ended, killed, limited and started again; without it the rules that need that are skipped. No default",
    },
    only: {
      type: "string",
      array: true,
      requiresArg: true,
      describe: "Rules to try. Default: all",
    },
    list: { type: "boolean", describe: "List the rules and try none. Default: false" },
    probe: {
      choices: ["tls", "http", "echo"],
      requiresArg: true,
      describe:
        "What clients do, and what must come back: a TLS handshake (the certificate does not matter); GET / in the clear, and any response; a line, and the same line. Default: tls",
    },
    "server-name": {
      type: "string",
      requiresArg: true,
      nargs: 1,
      describe: "Server name that clients ask for. Default: localhost",
    },
    sockets: {
      type: "number",
      requiresArg: true,
      nargs: 1,
      describe: "Connections of the rule sockets, each one answered. Default: 10000",
    },
    timeout: {
      type: "number",
      requiresArg: true,
      nargs: 1,
      describe: "Seconds that the receiver may take for each thing that it must do. Default: 5",
    },
    "stop-signal": {
      choices: stopSignals,
      requiresArg: true,
      describe: "What asks the receiver to drain (nginx: QUIT). Default: TERM",
    },
    json: { type: "boolean", describe: "Print one JSON document. Default: false, TAP version 14" },
  },
  examples: [
    ["$0 conform --path /run/app/door.sock --start './app /run/app/door.sock'", "Every rule"],
    ["$0 conform --path /run/app/door.sock --only ack revoke-in-queue", "Two of them, of a receiver that runs"],
  ],
  async run(args) {
    endEarly();
    const kit = await import("../../conform/index.js");
    const only = args.only as readonly string[] | undefined;
    const chosen = kit.chosenRules(only);
    if (args.list === true) {
      for (const rule of chosen) process.stdout.write(kit.ruleLine(rule));
      return ExitStatus.DONE;
    }
    if (args.path === undefined) throw usageError('"conform" needs --path SOCKET\nTry: sni-handoff conform --help');
    const start = args.start as string | undefined;
    const running = kit.conform({
      path: args.path as string,
      ...(start === undefined ? {} : { start }),
      ...(only === undefined ? {} : { only }),
      sockets: atLeast("sockets", args.sockets ?? 10_000, 1),
      serverName: (args["server-name"] as string | undefined) ?? "localhost",
      probe: (args.probe as ProbeKind | undefined) ?? "tls",
      timeout: atLeast("timeout", args.timeout ?? 5, 0.1) * 1000,
      stopSignal: `SIG${(args["stop-signal"] as string | undefined) ?? "TERM"}` as NodeJS.Signals,
    });
    const results: RuleResult[] = [];
    for await (const result of running) {
      if (args.json !== true && results.length === 0) process.stdout.write(kit.tapHead(chosen.length));
      results.push(result);
      if (args.json !== true) process.stdout.write(kit.tapLine(results.length, result));
    }
    process.stdout.write(args.json === true ? kit.json(results) : kit.tapEnd(results));
    return results.some(({ outcome }) => outcome === "failed") ? ExitStatus.FAILED : ExitStatus.DONE;
  },
};

/** Whoever ends this, or reads no more of it (EPIPE), ends what was started too: the kit does that as the process exits. */
function endEarly(): void {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    process.once(signal, () => process.exit(128 + constants.signals[signal]));
  }
  process.stdout.once("error", () => process.exit(ExitStatus.FAILED));
}

function atLeast(name: string, value: unknown, lowest: number): number {
  if (typeof value === "number" && value >= lowest) return value;
  throw usageError(`--${name} is ${value}; a number from ${lowest} on is needed\nTry: sni-handoff conform --help`);
}
