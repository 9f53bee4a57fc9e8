/**
 * A worker's lines for the log. They go to the control plane as messages: nothing here waits for a disk. What repeats
 * too fast is dropped, and how much was dropped is said.
 */
import type { LogLevel, WorkerReport } from "./settings.js";

/** Lines a second, after a burst of as many. */
const LINES_PER_SECOND = 50;

export type Fields = Record<string, string | number | boolean>;

export class Report {
  private readonly post: (report: WorkerReport) => void;
  private allowance: number = LINES_PER_SECOND;
  private refilledAt: number = 0;
  private dropped: number = 0;

  constructor(post: (report: WorkerReport) => void) {
    this.post = post;
  }

  /** `now` is CLOCK_MONOTONIC in milliseconds. */
  line(now: number, level: LogLevel, event: string, message: string, fields: Fields = {}): void {
    this.allowance = Math.min(LINES_PER_SECOND, this.allowance + ((now - this.refilledAt) / 1000) * LINES_PER_SECOND);
    this.refilledAt = now;
    if (this.allowance < 1) {
      this.dropped++;
      return;
    }
    this.allowance--;
    if (this.dropped > 0) {
      const lines = this.dropped;
      this.dropped = 0;
      this.post({
        type: "log",
        level: "warn",
        event: "log.dropped",
        message: `${lines} lines of this worker were dropped: more than ${LINES_PER_SECOND} a second`,
        fields: { lines },
      });
    }
    this.post({ type: "log", level, event, message, fields });
  }
}
