/** The options that lead to a running daemon, what they mean, and how its answers are shown. */
import type { Options } from "yargs";
import type { Answer } from "../daemon/control/controlled.js";
import { ExitStatus, usageError } from "./exit.js";

export const CONTROL_VARIABLE = "SNI_HANDOFF_CONTROL";

const control = {
  type: "string",
  requiresArg: true,
  nargs: 1,
  describe: `The daemon's control socket. Default: control of --config, else $${CONTROL_VARIABLE}, else /run/sni-handoff/control.sock`,
} as const satisfies Options;

/** For commands that have a --config of their own. */
export const controlOption = { control } as const satisfies Record<string, Options>;

/** For commands that need nothing but a daemon. */
export const daemonOptions = {
  control,
  config: {
    alias: "c",
    type: "string",
    requiresArg: true,
    nargs: 1,
    describe: "Configuration file that names the control socket. No default",
  },
} as const satisfies Record<string, Options>;

/** The control socket's path, "@name" if it is abstract. A usage error if --config names none. */
export async function controlPath(args: Readonly<Record<string, unknown>>): Promise<string> {
  if (args.control === "") throw usageError("--control is empty; give the path of the daemon's control socket");
  if (typeof args.control === "string") return args.control;
  if (typeof args.config === "string") {
    const path = await controlOf(args.config);
    if (path !== undefined) return path;
    throw usageError(
      `${args.config} has no control: its daemon cannot be asked; add one ("control: /run/sni-handoff/control.sock") and restart the daemon`,
    );
  }
  const { DEFAULT_CONTROL } = await import("../daemon/control/client.js");
  return process.env[CONTROL_VARIABLE] || DEFAULT_CONTROL;
}

/**
 * What a configuration says of the control socket; undefined if nothing. Nothing else in it is checked: the daemon that
 * runs with it may have to be asked just because it is wrong now.
 */
export async function controlOf(file: string): Promise<string | undefined> {
  const { readFileSync } = await import("node:fs");
  const { readDocument } = await import("../daemon/configuration/document.js");
  const { readFailure, socketPath } = await import("../daemon/configuration/paths.js");
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    throw usageError(`${file}: cannot be read: ${readFailure(error)}`);
  }
  const { value, problems } = readDocument(text, file);
  if (value === undefined && problems.length > 0) {
    const { ConfigurationError } = await import("../errors.js");
    throw new ConfigurationError(problems);
  }
  const { control } = (typeof value === "object" && value !== null ? value : {}) as { control?: unknown };
  const path = typeof control === "object" && control !== null ? (control as { path?: unknown }).path : control;
  return typeof path === "string" && path !== "" ? socketPath(file, path) : undefined;
}

/** Prints what the daemon answered: on standard error if it could not do what it was told. */
export function show({ ok, message, details = [] }: Answer): ExitStatus {
  const text = [message, ...details.map((each) => `  ${each.replaceAll("\n", "\n  ")}`)].map((line) => `${line}\n`);
  (ok ? process.stdout : process.stderr).write(text.join(""));
  return ok ? ExitStatus.DONE : ExitStatus.FAILED;
}
