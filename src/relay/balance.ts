/** Which target of a backend gets the next connection. */
import type { RelayBalance } from "./settings.js";
import type { Target } from "./target.js";

/**
 * Chooses among targets that are not in `tried`; undefined if all are. Those that rest after a failure only if all do.
 * `turn` counts the choices: round-robin goes by it, and so do the ties of least-connections.
 */
export function choose(
  targets: readonly Target[],
  balance: RelayBalance,
  now: number,
  turn: number,
  tried: ReadonlySet<Target> | undefined,
): Target | undefined {
  let best: Target | undefined;
  let bestRests = false;
  for (let i = 0; i < targets.length; i++) {
    const target = targets[(turn + i) % targets.length]!;
    if (tried?.has(target) === true) continue;
    const rests = target.rests(now);
    if (best !== undefined && (rests || !bestRests)) {
      if (rests !== bestRests || balance !== "least-connections" || target.active >= best.active) continue;
    }
    best = target;
    bestRests = rests;
    if (!rests && balance === "round-robin") break;
  }
  return best;
}
