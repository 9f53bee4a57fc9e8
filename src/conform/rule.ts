/** What a rule of the protocol is to the conformance kit, and the ways in which trying one ends. */
import type { Stage } from "./stage.js";

export interface Rule {
  /** Stable, in kebab case: what --only takes. */
  readonly name: string;
  /** The heading, or the bold word, of PROTOCOL.md where it stands. */
  readonly where: string;
  /** What the document asks of a receiver, in one phrase. */
  readonly says: string;
  /** What a receiver that breaks it has to change. */
  readonly remedy: string;
  /** Needs --start: the receiver is stopped, limited, killed, or started again. */
  readonly needsStart?: boolean;
  /** The receiver is asked to end: the next rule has a new one. */
  readonly ends?: boolean;
  /** Throws `Broken` if the receiver breaks the rule, `Skip` if it cannot be tried here. */
  run(stage: Stage): Promise<void>;
}

/** The receiver breaks the rule. */
export class Broken extends Error {
  readonly expected: string;
  readonly got: string;

  constructor(expected: string, got: string) {
    super(`expected ${expected}, got ${got}`);
    this.expected = expected;
    this.got = got;
  }
}

/** The rule cannot be tried here; the message says why. */
export class Skip extends Error {}

export interface RuleResult {
  readonly rule: Rule;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Of a failed one. */
  readonly expected?: string;
  readonly got?: string;
  /** Of a skipped one. */
  readonly reason?: string;
  readonly milliseconds: number;
}
