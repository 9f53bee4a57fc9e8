/** Which calls fail, how, and what may come of it. */
import type { Pattern } from "./inject.js";

/** What becomes of the connection whose own call failed. All others are served. */
export type Fate =
  /** It is served, or refused, as if nothing had failed. */
  | "kept"
  /** It may be ended, so that its client sees an end. */
  | "ended";

export interface Rule {
  readonly site: string;
  readonly errors: readonly string[];
  /** "kept" if nothing is said. */
  readonly fate?: Fate | ((errno: string) => Fate);
  /**
   * Errnos that are tried once, not again and again: EINTR, since the call is made again for as long as it comes, and
   * EAGAIN where the kernel has what was asked for and could not say so.
   */
  readonly once?: readonly string[];
  /** Fails too: what leads there. */
  readonly beside?: Beside;
}

export interface Beside {
  readonly site: string;
  readonly errno: string;
  readonly pattern: Pattern;
}

export interface Case {
  readonly site: string;
  readonly errno: string;
  readonly how: string;
  readonly pattern: Pattern;
  readonly fate: Fate;
  readonly beside: Beside | undefined;
}

/** Calls that are picked: up to the NTH one, and every one up to every NTH. */
const NTH = Number(process.env.NTH ?? 2);
/** "sendmmsg", "sendmmsg ENOMEM" or "sendmmsg ENOMEM every call": only those. */
const ONLY = process.env.ONLY ?? "";

const ordinals = ["every call", "every 2nd call", "every 3rd call"];

function patterns(isLasting: boolean): [string, Pattern][] {
  const all: [string, Pattern][] = [];
  if (isLasting) {
    for (let n = 1; n <= NTH; n++) all.push([ordinals[n - 1] ?? `every ${n}th call`, { first: 1, every: n }]);
  }
  // Single ones beside those only in the long form.
  if (!isLasting || NTH > 2) {
    for (let n = isLasting ? 2 : 1; n <= NTH; n++) all.push([`call ${n}`, { first: n, every: 0 }]);
  }
  return all;
}

/** The cases of a rule. */
export function casesOf({ site, errors, fate = "kept", once = [], beside }: Rule): Case[] {
  return [...new Set(errors)]
    .flatMap((errno) =>
      patterns(!once.includes(errno)).map(([how, pattern]) => {
        return { site, errno, how, pattern, fate: typeof fate === "string" ? fate : fate(errno), beside };
      }),
    )
    .filter((each) => nameOf(each).startsWith(ONLY));
}

export function nameOf({ site, errno, how }: Case): string {
  return `${site} ${errno} ${how}`;
}

/** What was tried, for the line at the end. */
export class Tally {
  private cases = 0;
  private failures = 0;
  private readonly unreached: Set<string> = new Set();
  private readonly reached: Set<string> = new Set();

  add({ site }: Case, failed: number): void {
    this.cases++;
    this.failures += failed;
    if (failed > 0) this.reached.add(site);
    else this.unreached.add(site);
  }

  /** Sites of which no call was made to fail in any case. */
  get missed(): string[] {
    return [...this.unreached].filter((site) => !this.reached.has(site));
  }

  toString(): string {
    return `${this.cases} cases, ${this.failures} calls failed, at ${this.reached.size} sites`;
  }
}
