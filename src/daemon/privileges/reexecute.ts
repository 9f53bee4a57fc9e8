/**
 * Giving up privileges by executing this program again: user, capabilities, no_new_privs and Landlock belong to threads
 * (credentials(7)), of which Node has many before any JavaScript runs. Only execve(2) gives them to all.
 */
import { realpathSync } from "node:fs";
import { join } from "node:path";
import { builtFile } from "../../built.js";
import { HandoffError } from "../../errors.js";
import { native } from "../../native/addon.js";
import { packageFolder } from "./facts.js";
import { withoutInspector } from "./inspector.js";
import { landlockRuleset } from "./landlock-plan.js";
import type { PrivilegePlan } from "./plan.js";
import { unreadableFor } from "./reading.js";

export interface Reexecution {
  /** Added to this process's environment. */
  readonly environment: Readonly<Record<string, string>>;
  /** Descriptors that stay open, by their numbers, beside 0, 1 and 2. All others are closed. */
  readonly keep: readonly number[];
}

/**
 * The same Node, with the same arguments and process id, in place of this process. Never returns; signals that come
 * meanwhile to handlers of this process are lost with it.
 *
 * Throws ERR_NOT_PERMITTED if the user could not read the program, or a SystemCallError: then nothing has changed.
 */
export function reexecute(plan: PrivilegePlan, { environment, keep }: Reexecution): never {
  checkProgram(plan);
  const variables = { ...process.env, ...environment };
  return native.execute({
    file: process.execPath,
    arguments: [process.argv0, ...withoutInspector(process.execArgv), ...process.argv.slice(1)],
    environment: Object.entries(variables).flatMap(([name, value]) =>
      value === undefined ? [] : [`${name}=${value}`],
    ),
    keep,
    capabilities: plan.capabilities,
    ...(plan.identity === undefined ? {} : { identity: plan.identity }),
    ...(plan.landlock === undefined ? {} : { landlock: landlockRuleset(plan.landlock) }),
  });
}

/** Afterwards it would be too late to say so. */
function checkProgram({ identity }: PrivilegePlan): void {
  if (identity === undefined) return;
  const script = process.argv[1] === undefined ? [] : [realpathSync(process.argv[1])];
  const addon = builtFile("Release/sni_handoff.node");
  const [first] = unreadableFor(identity, [...script, join(packageFolder, "package.json"), addon]);
  if (first === undefined) return;
  throw new HandoffError(
    "ERR_NOT_PERMITTED",
    `user ${identity.uid} cannot read ${first.file} (${first.code}), which is part of this program: install it where all users may read, such as /usr/local/lib or /opt`,
  );
}
