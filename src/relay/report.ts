/**
 * A worker's lines for the log, and its word to the control plane that a target fails. What repeats is said once in a
 * while, with how often it happened meanwhile.
 */
import type { RelayLogLevel, RelayReport } from "./settings.js";
import type { Target } from "./target.js";

/** A target that fails is said again after so long, and told to the control plane. Milliseconds. */
const SAID_AGAIN = 10_000;
const TOLD_AGAIN = 1000;
/** Other lines a second, after a burst of as many. */
const LINES_PER_SECOND = 20;

export type Fields = Record<string, string | number | boolean>;

interface Failing {
  saidAt: number;
  toldAt: number;
  /** Failures that were not said. */
  unsaid: number;
}

export class Report {
  private readonly post: (report: RelayReport) => void;
  private readonly failing: WeakMap<Target, Failing> = new WeakMap();
  private allowance: number = LINES_PER_SECOND;
  private refilledAt: number = 0;
  private dropped: number = 0;

  constructor(post: (report: RelayReport) => void) {
    this.post = post;
  }

  /** A target failed a connection. `now` is CLOCK_MONOTONIC in milliseconds, here and below. */
  targetFailed(now: number, target: Target, reason: string): void {
    const known = this.failing.get(target);
    const failing = known ?? { saidAt: Number.NEGATIVE_INFINITY, toldAt: Number.NEGATIVE_INFINITY, unsaid: 0 };
    if (known === undefined) this.failing.set(target, failing);
    if (now - failing.toldAt >= TOLD_AGAIN) {
      failing.toldAt = now;
      this.post({ type: "targetFailed", backend: target.backend, target: target.name, reason });
    }
    if (now - failing.saidAt < SAID_AGAIN) {
      failing.unsaid++;
      return;
    }
    const { unsaid } = failing;
    failing.saidAt = now;
    failing.unsaid = 0;
    const more = unsaid === 0 ? "" : `; ${unsaid} more failures since it was said last`;
    this.post({
      type: "log",
      level: "warn",
      event: "target.failed",
      message: `target ${target.name} of backend ${target.backend} failed: ${reason}${more}`,
      fields: { backend: target.backend, target: target.name, reason, unsaid },
    });
  }

  line(now: number, level: RelayLogLevel, event: string, message: string, fields: Fields = {}): void {
    this.allowance = Math.min(LINES_PER_SECOND, this.allowance + ((now - this.refilledAt) / 1000) * LINES_PER_SECOND);
    this.refilledAt = now;
    if (this.allowance < 1) {
      this.dropped++;
      return;
    }
    this.allowance--;
    const dropped = this.dropped;
    this.dropped = 0;
    this.post({ type: "log", level, event, message, fields: dropped === 0 ? fields : { ...fields, dropped } });
  }
}
