/** The service manager's watchdog, fed only while the data plane is alive: sd_watchdog_enabled(3). */

/** setInterval(3) takes no more. Milliseconds. */
const LONGEST_INTERVAL = 0x7fffffff;

/**
 * How long the service manager waits for a sign of life, in microseconds; undefined if it doesn't. Removes
 * WATCHDOG_USEC and WATCHDOG_PID from `environment`: they are meant for this process, not for its children.
 */
export function takeWatchdogPeriod(
  environment: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): number | undefined {
  const { WATCHDOG_USEC = "", WATCHDOG_PID } = environment;
  delete environment.WATCHDOG_USEC;
  delete environment.WATCHDOG_PID;
  if (WATCHDOG_PID !== undefined && WATCHDOG_PID !== String(pid)) return undefined;
  return /^[1-9][0-9]{0,15}$/.test(WATCHDOG_USEC) ? Number(WATCHDOG_USEC) : undefined;
}

export interface Watched {
  /** Asks every worker for a sign of life. */
  ping(): void;
  /** Whether all of them have answered the last `ping`. */
  answered(): boolean;
  /** Tells the service manager. */
  feed(): void;
}

/**
 * Looks three times a period: a worker may be late once, but one that is stuck, or a control plane that is, lets the
 * period pass, and the service manager ends the process and starts it again.
 */
export class Watchdog {
  private readonly watched: Watched;
  private readonly timer: NodeJS.Timeout;

  /** `period` in microseconds, as WATCHDOG_USEC has it. Pings at once. Doesn't keep the process alive. */
  constructor(period: number, watched: Watched) {
    this.watched = watched;
    const interval = Math.min(LONGEST_INTERVAL, Math.max(1, Math.floor(period / 3000)));
    this.timer = setInterval(() => this.look(), interval);
    this.timer.unref();
    watched.ping();
  }

  private look(): void {
    if (!this.watched.answered()) return; // not asked again: a late answer to this ping counts
    this.watched.feed();
    this.watched.ping();
  }

  close(): void {
    clearInterval(this.timer);
  }
}
