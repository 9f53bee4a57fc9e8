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

  constructor(index: number, settings: BackendSettings, connections: Connections) {
    this.index = index;
    this.settings = settings;
    this.held = new SlotList(connections);
  }
}

/** The paths of a backend's instances: its own, or those in its folder. */
export function instancePaths(settings: HandoffBackendSettings, found: readonly string[]): readonly string[] {
  return settings.path.endsWith("/") ? found : [settings.path];
}
