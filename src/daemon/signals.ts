/** What signals tell the daemon: to end, one after the other, and to do something. */

export class EndingSignals {
  private readonly come: NodeJS.Signals[] = [];
  /** How many of these, and of those that only the process before has had, were taken. */
  private taken: number = 0;
  private before: number = 0;
  private wake: (() => void) | undefined;

  /** From now on they no longer end the process by themselves. */
  constructor(names: readonly NodeJS.Signals[] = ["SIGTERM", "SIGINT"]) {
    // Handlers that stay: without any, even for a moment, Node restores the default action.
    for (const name of names) {
      process.on(name, () => {
        this.come.push(name);
        this.wake?.();
      });
    }
  }

  /** The process before an upgrade has had so many. What came to both is one. */
  cameBefore(times: number): void {
    this.before = Math.max(this.before, times);
    this.wake?.();
  }

  /** Resolves to the next one that has not been taken yet. For one caller at a time. */
  async next(): Promise<NodeJS.Signals> {
    while (this.taken >= Math.max(this.come.length, this.before)) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.come[this.taken++] ?? "SIGTERM";
  }
}

/** SIGHUP reloads, SIGUSR2 upgrades. Without handlers either would end the process. */
export class Orders {
  private daemon: { reload(): Promise<unknown>; upgrade(): Promise<unknown> } | undefined;
  private isReloadDue: boolean = false;

  /** From now on they end nothing. Until there is a daemon, a reload is kept for it, and there is nothing to upgrade. */
  constructor() {
    process.on("SIGHUP", () => {
      if (this.daemon === undefined) this.isReloadDue = true;
      else void this.daemon.reload();
    });
    process.on("SIGUSR2", () => void this.daemon?.upgrade());
  }

  goTo(daemon: { reload(): Promise<unknown>; upgrade(): Promise<unknown> }): void {
    this.daemon = daemon;
    if (this.isReloadDue) void daemon.reload();
  }
}
