/** A backend in one worker: its targets, and the socket at which doors find it. */
import { Receiver } from "../handoff/receiver.js";
import type { Sink } from "../handoff/sink.js";
import type { RelayBackendSettings, RelaySocketSettings } from "./settings.js";
import { Target } from "./target.js";

/** How long doors may take to close their channels. Milliseconds. */
const LEAVE_TIMEOUT = 10_000;

export interface BackendHost {
  /** Takes a connection over. Must not throw. */
  received(backend: Backend, descriptor: number, handoff: string): void;
  /** How many more it may be now. */
  room(): number;
  refused(): void;
  warn(backend: Backend, event: string, message: string): void;
}

export class Backend implements Sink {
  readonly ownsAtOnce = true;
  settings: RelayBackendSettings;
  targets: readonly Target[];
  /** Whose targets its fallback is: indices are those of one configuration, and it may outlive its own. */
  diversion: Backend | undefined;
  /** Counts the choices among its targets. */
  turn: number = 0;
  /** Connections that came for it and are not ended. */
  active: number = 0;
  private readonly host: BackendHost;
  private receiver: Receiver | undefined;

  constructor(settings: RelayBackendSettings, host: BackendHost) {
    this.settings = settings;
    this.host = host;
    this.targets = settings.targets.map((each) => new Target(settings.name, each));
  }

  get isListening(): boolean {
    return this.receiver !== undefined;
  }

  /** Makes the socket at which doors find it. Throws what `Receiver` does. */
  listen({ mode, uid, gid, allowedUsers }: RelaySocketSettings): void {
    this.receiver = new Receiver(
      {
        path: this.settings.folder,
        mode,
        ...(uid >= 0 && { owner: uid }),
        ...(gid >= 0 && { group: gid }),
        ...(allowedUsers !== undefined && { allowedUsers }),
        drainTimeout: LEAVE_TIMEOUT,
      },
      this,
    );
    this.receiver.on("warning", (error) => this.host.warn(this, "door.warning", error.message));
    this.receiver.on("refused", () => this.host.refused());
  }

  /** Targets of the same name stay what they are; what is given up still has its connections. */
  configure(settings: RelayBackendSettings): void {
    this.settings = settings;
    const known = new Map(this.targets.map((target) => [target.name, target]));
    for (const target of this.targets) target.forget();
    this.targets = settings.targets.map((each) => {
      const target = known.get(each.name);
      if (target === undefined) return new Target(settings.name, each);
      // A name without addresses is about to be resolved again; what it was resolved to serves until then.
      if (each.addresses.length > 0) target.resolved(each.addresses, "");
      return target;
    });
  }

  /** Takes no more. Resolves when all doors know; undefined if it does not listen. */
  close(): Promise<void> | undefined {
    return this.receiver?.close();
  }

  // --- Sink --------------------------------------------------------------------------------------------------------

  open(): number {
    return this.active;
  }

  room(): number {
    return this.host.room();
  }

  closed(): boolean {
    return false;
  }

  own(descriptor: number, handoff: string): boolean {
    this.host.received(this, descriptor, handoff);
    return true;
  }

  deliver(): void {}

  drained(): void {}
}
