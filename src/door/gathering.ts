/**
 * Whether a worker lets connections gather before it looks for the next ones. Each turn has a price, whether it brings one
 * connection or ten: to sleep and be woken, six system calls, the instance that is woken in its turn. Pure.
 *
 * Only while they come so quickly that some will be there after the pause: a client that comes alone, or at a rate that
 * leaves the worker time, never waits for others.
 */

/** How long it lets them gather. Milliseconds; the kernel adds up to 0.05 (PR_SET_TIMERSLACK, prctl(2)). */
export const PAUSE = 0.1;
/** Connections that must be expected meanwhile. */
const WORTH_A_PAUSE = 2;
/** How long arrivals are counted for a rate. Milliseconds. */
const WINDOW = 1;

export class Gathering {
  /** Most connections that a turn accepts. */
  private readonly batch: number;
  private since: number = 0;
  private arrivals: number = 0;
  /** Connections a millisecond, in the last window. */
  private rate: number = 0;

  constructor(batch: number) {
    this.batch = batch;
  }

  /** At the end of a turn that began at `now` (CLOCK_MONOTONIC in milliseconds) and accepted so many connections. */
  after(accepted: number, now: number): boolean {
    this.arrivals += accepted;
    const elapsed = now - this.since;
    if (elapsed >= WINDOW) {
      this.rate = this.arrivals / elapsed;
      this.arrivals = 0;
      this.since = now;
    }
    // After a full batch there are more already.
    return accepted > 0 && accepted < this.batch && this.rate * PAUSE >= WORTH_A_PAUSE;
  }
}
