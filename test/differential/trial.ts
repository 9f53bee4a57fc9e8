/** So many generated hellos, read by us and by others. */
import { type Facts, read } from "../tls/facts.js";
import type { Answer, Peer } from "./answer.js";
import { type Cause, causesOf } from "./cause.js";
import { compare, type Verdict } from "./comparison.js";
import type { Disagreement } from "./disagreement.js";
import { helloAt } from "./hellos.js";
import { type Reason, reasonFor } from "./reasons.js";

/** Hellos that are asked for at once. */
const BATCH = 1000;

export interface Tally {
  readonly peer: string;
  readonly seed: number;
  readonly hellos: number;
  /** Both accept, with the same name and, where the peer told it, the same ALPN list. */
  accepted: number;
  /** Of these: with a name. */
  named: number;
  /** Neither accepts. */
  notAccepted: number;
  readonly reasons: Map<Reason, number>;
  unexplained: number;
  /** The first of each sort of these, with all that is needed to see it again. */
  readonly reports: Map<string, string>;
}

interface Made {
  readonly index: number;
  readonly bytes: Uint8Array;
  readonly mutation: string | undefined;
  readonly ours: Facts;
}

interface Compared extends Made {
  readonly theirs: Answer;
}

/** What each peer is asked: hellos `from`..`from + hellos - 1` of a seed. */
export interface Task {
  readonly peer: Peer;
  readonly hellos: number;
}

export async function trial(tasks: readonly Task[], seed: number, from = 0): Promise<Tally[]> {
  const tallies = tasks.map(({ peer, hellos }): Tally => {
    return {
      peer: peer.name,
      seed,
      hellos,
      accepted: 0,
      named: 0,
      notAccepted: 0,
      reasons: new Map(),
      unexplained: 0,
      reports: new Map(),
    };
  });
  const most = Math.max(...tasks.map(({ hellos }) => hellos));
  for (let done = 0; done < most; done += BATCH) {
    const made = Array.from({ length: Math.min(BATCH, most - done) }, (_, i) => madeAt(seed, from + done + i));
    await Promise.all(
      tasks.map(({ peer, hellos }, i) => batch(peer, tallies[i]!, made.slice(0, Math.max(0, hellos - done)))),
    );
  }
  return tallies;
}

function madeAt(seed: number, index: number): Made {
  const { bytes, mutation } = helloAt(seed, index);
  return { index, bytes, mutation, ours: read(bytes) };
}

async function batch(peer: Peer, tally: Tally, made: readonly Made[]): Promise<void> {
  const answers = await peer.ask(made.map(({ bytes }) => bytes));
  const odd: (Compared & { verdict: Verdict & { agreed: false } })[] = [];
  for (const [i, one] of made.entries()) {
    const compared = { ...one, theirs: answers[i]! };
    const verdict = compare(one.ours, compared.theirs, peer.shown);
    if (verdict.agreed === false) odd.push({ ...compared, verdict });
    else if (verdict.agreed === "not accepted") tally.notAccepted++;
    else {
      tally.accepted++;
      if (one.ours.status === "done" && one.ours.serverName !== undefined) tally.named++;
    }
  }
  const disagreements = await explained(peer, odd);
  for (const [i, disagreement] of disagreements.entries()) {
    const reason = reasonFor(disagreement);
    if (reason !== undefined) {
      tally.reasons.set(reason, (tally.reasons.get(reason) ?? 0) + 1);
      continue;
    }
    tally.unexplained++;
    const sort = `${disagreement.kind}: ${disagreement.detail}, ${disagreement.cause}`;
    if (!tally.reports.has(sort)) tally.reports.set(sort, report(tally.seed, odd[i]!, disagreement));
  }
}

/** Disagreements with the cause, where only we accept. */
export async function explained(
  peer: Peer,
  odd: readonly { bytes: Uint8Array; ours: Facts; verdict: Verdict & { agreed: false } }[],
): Promise<Disagreement[]> {
  const refused = odd.flatMap(({ bytes, ours, verdict }) => {
    const isCaused = verdict.kind === "only we accept" && ours.status === "done" && !ours.sslv2;
    return isCaused ? [{ bytes, length: ours.length }] : [];
  });
  const causes = new Map<Uint8Array, Cause>();
  const found = await causesOf(peer, refused);
  for (const [i, { bytes }] of refused.entries()) causes.set(bytes, found[i]!);
  return odd.map(({ bytes, ours, verdict: { kind, detail } }) => ({
    peer: peer.name,
    kind,
    detail,
    bytes,
    ours,
    cause: causes.get(bytes) ?? (kind === "only we accept" ? "hello" : undefined),
  }));
}

function report(seed: number, { index, bytes, mutation, ours, theirs }: Compared, disagreement: Disagreement): string {
  const { peer, kind, detail, cause } = disagreement;
  return [
    `${peer}, hello ${index} of seed ${seed} (${mutation ?? "no mutation"}): ${kind}: ${detail}${cause === undefined ? "" : `, because of ${cause}`}`,
    `  expected: agreement, or a row of test/differential/reasons.ts`,
    `  we find ${JSON.stringify(ours)}`,
    `  ${peer} finds ${JSON.stringify(theirs)}`,
    `  again: npm run differential -- --seed ${seed} --from ${index} --hellos 1 ${peer}`,
    `  ${Buffer.from(bytes).toString("hex")}`,
  ].join("\n");
}

/** The figures of a trial, for people. */
export function table(tally: Tally): string {
  const { peer, seed, hellos, accepted, named, notAccepted, reasons, unexplained } = tally;
  const rows = [...reasons]
    .sort(([, a], [, b]) => b - a)
    .map(([{ kind, what }, count]) => line(count, `${kind}: ${what}`));
  return [
    `${peer}: ${hellos} hellos of seed ${seed}`,
    line(accepted, `accepted by both, the same found (${named} with a name)`),
    line(notAccepted, "accepted by neither"),
    ...rows,
    line(unexplained, "disagreements without a reason"),
  ].join("\n");
}

function line(count: number, what: string): string {
  return `${String(count).padStart(9)}  ${what}`;
}
