/** What a new configuration needs and the Landlock rules in force refuse: they cannot be widened without a restart. */
import type { FileAccess } from "./access.js";
import type { LandlockPlan, LandlockRule } from "./landlock-plan.js";

/**
 * One line each, for a reload's answer; empty if all is in reach. `inForce` is the plan of the configuration that the
 * process was started with; undefined: without Landlock.
 */
export function beyondReach(inForce: LandlockPlan | undefined, wanted: LandlockPlan | undefined): string[] {
  if (inForce === undefined || wanted === undefined) return [];
  const lines = wanted.rules.flatMap((rule) => {
    const lacking = rule.access.filter((access) => !isAllowed(inForce.rules, rule.path, access));
    return lacking.length === 0 ? [] : [`${rule.path} (${lacking.join(", ")})`];
  });
  if (inForce.refusesBind && !wanted.refusesBind) lines.push("binding TCP ports (privileges.keepBindService)");
  if (inForce.refusesConnect && !wanted.refusesConnect) lines.push("connecting over TCP (for a relay that it starts)");
  if (inForce.scopesAbstractSockets && !wanted.scopesAbstractSockets) lines.push('abstract unix sockets ("@…")');
  return lines;
}

function isAllowed(rules: readonly LandlockRule[], path: string, access: FileAccess): boolean {
  return rules.some((rule) => rule.access.includes(access) && (path === rule.path || path.startsWith(`${rule.path}/`)));
}
