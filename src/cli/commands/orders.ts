/** Commands that tell a running daemon to do something. */
import type { Command } from "../command.js";
import { controlPath, daemonOptions, show } from "../control.js";
import { logLevels } from "../log-levels.js";

/** For a reload of a million names, and for an upgrade, which the daemon itself gives up earlier. Milliseconds. */
const PATIENCE = 120_000;

type Args = Readonly<Record<string, unknown>>;

async function order(args: Args, method: "POST" | "PUT", path: string, body?: string): Promise<number> {
  const { askTo } = await import("../../daemon/control/client.js");
  const options = { timeout: PATIENCE, ...(body === undefined ? {} : { body }) };
  return show(await askTo(await controlPath(args), method, path, options));
}

export const reload: Command = {
  usage: "reload",
  describe: "Have the daemon read its configuration again; a wrong one changes nothing (exit status 1)",
  options: daemonOptions,
  examples: [["$0 check --diff --config front-door.yaml && $0 reload", "Look first"]],
  run: (args) => order(args, "POST", "/reload"),
};

export const upgrade: Command = {
  usage: "upgrade",
  describe: "Have the daemon start the program that is installed now and give it everything, without a gap",
  options: daemonOptions,
  run: (args) => order(args, "POST", "/upgrade"),
};

export const stop: Command = {
  usage: "stop",
  describe: "Have the daemon accept no more, finish what waits, and end, as by SIGTERM",
  options: daemonOptions,
  run: (args) => order(args, "POST", "/stop"),
};

const target = {
  type: "string",
  demandOption: true,
  describe: "A backend, or one of its instances: BACKEND/FILE, FILE being the name of its socket",
} as const;

export const drain: Command = {
  usage: "drain <target>",
  describe: "Give a backend, or one instance of it, no new connections until undrain",
  positionals: { target },
  options: daemonOptions,
  examples: [
    ["$0 drain app", ""],
    ["$0 drain pool/4242-1f.sock", "One instance of a folder"],
  ],
  run: (args) => orderFor(args, "/drain"),
};

export const undrain: Command = {
  usage: "undrain <target>",
  describe: "Give a drained backend or instance new connections again",
  positionals: { target },
  options: daemonOptions,
  run: (args) => orderFor(args, "/undrain"),
};

async function orderFor(args: Args, path: string): Promise<number> {
  const { targetPath } = await import("../../daemon/control/client.js");
  return order(args, "POST", targetPath(path, String(args.target)));
}

export const logLevel: Command = {
  usage: "log-level <level>",
  describe: "Set the least level that the daemon logs, until it reloads or ends",
  positionals: {
    level: {
      choices: logLevels,
      demandOption: true,
      describe: "debug, info, warn or error",
    },
  },
  options: daemonOptions,
  run: (args) => order(args, "PUT", "/log-level", String(args.level)),
};
