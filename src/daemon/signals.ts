/** Signals that end the daemon, one after the other. */

export class EndingSignals {
  private readonly come: NodeJS.Signals[] = [];
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

  /** Resolves to the next one that has not been taken yet. For one caller at a time. */
  async next(): Promise<NodeJS.Signals> {
    while (this.come.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
      });
    }
    return this.come.shift()!;
  }
}
