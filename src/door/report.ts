/**
 * A worker's lines for the log. They go to the control plane as messages: nothing here waits for a disk. What repeats
 * too fast is dropped, and how much was dropped is said.
 */
import type { LogLevel, WorkerReport } from "./settings.js";

/** Lines a second, after a burst of as many. */
const LINES_PER_SECOND = 50;

export type Fields = Record<string, string | number | boolean>;

/** How many lines may come now. */
class Allowance {
  /** Those that were too many, and have not been told. */
  dropped: number = 0;
  private left: number = LINES_PER_SECOND;
  private refilledAt: number = 0;

  take(now: number): boolean {
    this.left = Math.min(LINES_PER_SECOND, this.left + ((now - this.refilledAt) / 1000) * LINES_PER_SECOND);
    this.refilledAt = now;
    if (this.left < 1) {
      this.dropped++;
      return false;
    }
    this.left--;
    return true;
  }
}

export class Report {
  private readonly post: (report: WorkerReport) => void;
  /** Apart: they may come for each connection, are read by few, and must keep no others out. */
  private readonly debugging: Allowance = new Allowance();
  private readonly others: Allowance = new Allowance();

  constructor(post: (report: WorkerReport) => void) {
    this.post = post;
  }

  /** `now` is CLOCK_MONOTONIC in milliseconds. */
  line(now: number, level: LogLevel, event: string, message: string, fields: Fields = {}): void {
    const isDebug = level === "debug";
    const allowance = isDebug ? this.debugging : this.others;
    if (!allowance.take(now)) return;
    if (allowance.dropped > 0) {
      const lines = allowance.dropped;
      allowance.dropped = 0;
      this.post({
        type: "log",
        level: isDebug ? "debug" : "warn",
        event: "log.dropped",
        message: `${lines} lines of this worker were dropped: more than ${LINES_PER_SECOND} a second`,
        fields: { lines },
      });
    }
    this.post({ type: "log", level, event, message, fields });
  }
}
