/** What a worker keeps for each backend of the configuration. */
import type { Channel } from "./channel.js";
import { type Connections, SlotList } from "./connections.js";
import type { BackendSettings, HandoffBackendSettings } from "./settings.js";

export class Backend {
  readonly index: number;
  readonly settings: BackendSettings;
  /** One for each instance, connected or not. Empty for a backend that rejects. */
  channels: Channel[] = [];
  /** Connections that no instance takes now, oldest first. */
  readonly held: SlotList;
  /** By the operator: gets nothing new. */
  drained: boolean = false;

  constructor(index: number, settings: BackendSettings, connections: Connections) {
    this.index = index;
    this.settings = settings;
    this.held = new SlotList(connections);
  }

  /**
   * How many more connections `maxConnections` allows, as far as this worker knows. An instance tells every worker how
   * many connections it has open, whoever sent them; what other workers have under way, or sent since it last told, is
   * not known here, and may come on top.
   */
  get capacity(): number {
    if (this.settings.kind !== "handoff" || this.settings.maxConnections === 0) return Number.POSITIVE_INFINITY;
    let load = 0;
    for (const channel of this.channels) load += channel.load;
    return Math.max(0, this.settings.maxConnections - load);
  }

  /** How many connections its instances take now. */
  room(now: number): number {
    let room = 0;
    for (const channel of this.channels) room += channel.room(now);
    return Math.min(room, this.capacity);
  }
}

/** The paths of a backend's instances: its own, or those in its folder. */
export function instancePaths(settings: HandoffBackendSettings, found: readonly string[]): readonly string[] {
  return settings.path.endsWith("/") ? found : [settings.path];
}
