/**
 * Which privileges the door gives up once its sockets are bound.
 *
 * | started as | user | capabilities | no_new_privs, Landlock |
 * |-|-|-|-|
 * | root, with `user` | that user, with all its groups | none | yes |
 * | root, without | root | CAP_DAC_OVERRIDE (backends' sockets belong to others), CAP_CHOWN (the control socket's group) | yes |
 * | another user | itself | none | yes |
 *
 * `privileges.keepBindService` adds CAP_NET_BIND_SERVICE to each, if the process has it; `privileges.landlock: false`
 * leaves Landlock off. A process that an upgrade starts from a door inherits all of it, and does nothing here.
 */
import type { Identity } from "../../native/addon.js";
import { CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_NET_BIND_SERVICE } from "./capabilities.js";
import { type Facts, gatherFacts } from "./facts.js";
import { identityOf } from "./identity.js";
import { type LandlockPlan, landlockOutcome, landlockPlan } from "./landlock-plan.js";
import { processStatus } from "./process-status.js";
import type { PrivilegeSettings } from "./settings.js";

export interface PrivilegePlan {
  /** Undefined: the process stays who it is. */
  readonly identity: Identity | undefined;
  /** Numbers of those that are kept. */
  readonly capabilities: readonly number[];
  readonly landlock: LandlockPlan | undefined;
  /** What comes of Landlock, in words: for `privilegesInForce`. */
  readonly outcome: string;
}

/** Changes nothing yet. Throws ERR_NOT_PERMITTED if this process may not become the user. */
export function planPrivileges(settings: PrivilegeSettings, facts: Facts = gatherFacts()): PrivilegePlan {
  const status = processStatus();
  const identity = identityOf(settings, status);
  const landlock = landlockPlan(settings, facts);
  const staysRoot = (identity?.uid ?? status.uid) === 0;
  return {
    identity,
    capabilities: [
      ...(staysRoot ? [CAP_CHOWN, CAP_DAC_OVERRIDE] : []),
      ...(settings.privileges.keepBindService ? [CAP_NET_BIND_SERVICE] : []),
    ],
    landlock,
    outcome: landlockOutcome(settings, facts, landlock),
  };
}
