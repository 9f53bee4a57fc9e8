/**
 * What became of a connection, and whether that may be. Kept are by the rules all connections but those
 *   - that were an instance's, or the relay's, when that was killed;
 *   - that were a door's when that was killed: accepted, and not yet handed over;
 * and whoever is kept is answered once, by one process, of a backend that its name led to.
 */
import type { Seen } from "./client.js";
import type { AccessLine } from "./door.js";
import type { History } from "./history.js";
import type { Record } from "./journal.js";

/** As it has to be. */
export type Fulfilled = "answered" | "refused" | "left";
/** What the rules allow, since somebody was killed. */
export type Excused =
  | "with its instance"
  | "with its relay"
  | "with its door"
  | "with somebody killed: the door's log is lost";
export type Verdict = { readonly as: Fulfilled | Excused } | { readonly wrong: string };

const ALERT = 21;
const ALERT_LENGTH = 7;

export function judge(seen: Seen, record: Record, said: readonly AccessLine[], history: History): Verdict {
  const { plan, begun, ended } = seen;
  const owners = new Set(record.owned.map(({ pid }) => pid));
  if (owners.size > 1) return { wrong: "two processes had it" };
  // Who leaves does not see what becomes of its request.
  const allowed = history.backends(plan.name, begun, plan.kind === "asks" ? ended : Number.POSITIVE_INFINITY);
  const stranger = [...record.owned, ...record.answered].find(({ backend }) => !allowed.has(backend));
  if (plan.kind === "refused" || plan.kind === "incomplete") {
    if (record.owned.length > 0) return { wrong: "a backend had it, and none should" };
  } else if (stranger !== undefined) {
    return { wrong: `backend ${stranger.backend} had it; its name led to ${[...allowed].join(" or ")}` };
  }
  const numbers = record.answered.map(({ number }) => number);
  if (new Set(numbers).size < numbers.length) return { wrong: "a request was answered twice" };
  const fulfilled = fulfilment(seen, record);
  if (fulfilled !== undefined) return { as: fulfilled };
  const excuse = excuseFor(seen, record, said, history);
  if (excuse !== undefined) return { as: excuse };
  return { wrong: ended - begun > 120_000 ? "it was neither answered nor ended" : "it was lost" };
}

function fulfilment({ plan, answers, received, end }: Seen, { owned }: Record): Fulfilled | undefined {
  switch (plan.kind) {
    case "asks": {
      const owner = owned[0];
      const isAnswered = (number: number) => answers[number - 1] === `${owner?.backend} ${owner?.pid} ${number}`;
      return plan.requests.every((_, i) => isAnswered(i + 1)) ? "answered" : undefined;
    }
    case "refused":
      return received[0] === ALERT && received.length === ALERT_LENGTH ? "refused" : undefined;
    default:
      return end === "own" ? "left" : undefined;
  }
}

function excuseFor(
  { plan, begun, ended }: Seen,
  { owned }: Record,
  said: readonly AccessLine[],
  history: History,
): Excused | undefined {
  const { instancesKilled, relaysKilled, doorsKilled } = history;
  const isRelayed = history.backends(plan.name, begun, ended).has("relayed");
  const owner = owned[0]?.pid;
  if (owner !== undefined) {
    if (history.hasDied(instancesKilled, owner, begun, ended)) return "with its instance";
    return isRelayed && history.anyHasDied(relaysKilled, begun, ended) ? "with its relay" : undefined;
  }
  for (const { outcome, instance_pid, backend } of said) {
    if (outcome === "passed_on") continue;
    if (outcome !== "handed_over") return undefined;
    if (history.hasDied(instancesKilled, instance_pid, begun, ended)) return "with its instance";
    if (history.hasDied(relaysKilled, instance_pid, begun, ended)) return "with its relay";
    // Datagrams have no process that could be told.
    if (instance_pid === undefined && killedOf(history, backend, begun, ended)) return "with its instance";
  }
  if (history.anyHasDied(doorsKilled, begun, ended)) return "with its door";
  // The log's last lines are lost with a door that is killed soon after.
  const isUntold = said.length === 0 && history.anyHasDied(doorsKilled, begun, Number.POSITIVE_INFINITY);
  const isSomebody =
    history.anyHasDied(instancesKilled, begun, ended) || history.anyHasDied(relaysKilled, begun, ended);
  return isUntold && isSomebody ? "with somebody killed: the door's log is lost" : undefined;
}

function killedOf(history: History, backend: string | undefined, from: number, to: number): boolean {
  const { instancesKilled, backendOf } = history;
  const pids = [...instancesKilled.keys()].filter((pid) => backendOf.get(pid) === backend);
  return pids.some((pid) => history.hasDied(instancesKilled, pid, from, to));
}
