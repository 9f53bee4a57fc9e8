/** Notices when an instance has had no connection for a time. */

/** How often is looked: a part of the time to wait, within these bounds. Milliseconds. */
const SHORTEST_INTERVAL = 10;
const LONGEST_INTERVAL = 1000;

export interface Activity {
  /** Connections open now. */
  readonly open: number;
  /** How many have come so far. */
  readonly came: number;
}

export class Idleness {
  private readonly timeout: number;
  private readonly earliest: number;
  private readonly look: () => Activity;
  private readonly timer: NodeJS.Timeout;
  private came: number = 0;
  /** At the last look. */
  private wasActive: boolean = false;
  private idleSince: number;

  /**
   * Calls `onIdle` at each look from which on no connection has been open and none came for `timeout` milliseconds, not
   * before `earliest` milliseconds from now. Keeps no process alive.
   */
  constructor(timeout: number, earliest: number, look: () => Activity, onIdle: () => void) {
    this.timeout = timeout;
    this.look = look;
    this.idleSince = performance.now();
    this.earliest = this.idleSince + earliest;
    const interval = Math.min(LONGEST_INTERVAL, Math.max(SHORTEST_INTERVAL, timeout / 8));
    this.timer = setInterval(() => {
      if (this.isIdle()) onIdle();
    }, interval).unref();
  }

  /** Whether it is idle, and has been for long enough. */
  isIdle(): boolean {
    const { open, came } = this.look();
    const now = performance.now();
    const isActive = open > 0 || came !== this.came;
    // The last connection ended somewhere between the look before and this one: the time counts from this one.
    if (isActive || this.wasActive) this.idleSince = now;
    this.wasActive = isActive;
    this.came = came;
    return now - this.idleSince >= this.timeout && now >= this.earliest;
  }

  /** Waits for the whole time again. */
  restart(): void {
    this.idleSince = performance.now();
  }

  stop(): void {
    clearInterval(this.timer);
  }
}
