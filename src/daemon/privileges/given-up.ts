/** What a process has given up, as far as the kernel does not tell: kept for it, and for the one after an upgrade. */
import type { LandlockPlan } from "./landlock-plan.js";
import type { PrivilegePlan } from "./plan.js";
import type { PrivilegeSettings } from "./settings.js";

export interface GivenUp {
  /** What comes of Landlock, in words. */
  readonly outcome: string;
  /** The rules in force, of the configuration that the door was started with. */
  readonly landlock: LandlockPlan | undefined;
  /** Binding ports: below 1024, and with Landlock others too. */
  readonly binding: boolean;
}

export function givenUpBy({ outcome, landlock }: PrivilegePlan, { privileges }: PrivilegeSettings): GivenUp {
  return { outcome, landlock, binding: !privileges.keepBindService };
}
