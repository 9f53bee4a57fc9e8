/** How late the control plane's loop is: its timers, its answers on the control socket, its word to the watchdog. */
import { type IntervalHistogram, monitorEventLoopDelay } from "node:perf_hooks";

/**
 * The histogram's timer: it measures from one call to the next, so that this much is no lag, and what blocks the loop is
 * seen without its first part, of at most this. Shorter would wake an idle door for nothing. Milliseconds.
 */
const RESOLUTION = 250;
const WINDOW = 60_000;

/** Of the last one to two minutes, whoever reads how often. Milliseconds. */
export class LoopLag {
  private readonly histogram: IntervalHistogram = monitorEventLoopDelay({ resolution: RESOLUTION });
  private readonly timer: NodeJS.Timeout;
  private before: { readonly p50: number; readonly p99: number } = { p50: 0, p99: 0 };

  constructor() {
    this.histogram.enable();
    this.timer = setInterval(() => {
      this.before = { p50: this.percentile(50), p99: this.percentile(99) };
      this.histogram.reset();
    }, WINDOW);
    this.timer.unref();
  }

  get p50(): number {
    return Math.max(this.before.p50, this.percentile(50));
  }

  get p99(): number {
    return Math.max(this.before.p99, this.percentile(99));
  }

  close(): void {
    clearInterval(this.timer);
    this.histogram.disable();
  }

  private percentile(percentile: number): number {
    return this.histogram.count === 0 ? 0 : Math.max(0, this.histogram.percentile(percentile) / 1e6 - RESOLUTION);
  }
}
