/** A configuration, ready for the control plane and the workers. */

import type { DoorSettings, LogLevel } from "../../door/settings.js";
import type { Problem } from "../../errors.js";
import type { TcpListenOptions } from "../../native/addon.js";

export interface ListenerSettings {
  /** The address as an operator writes it: "[::]:443". */
  readonly name: string;
  readonly options: TcpListenOptions;
}

export interface Configuration {
  /** The file it was read from. */
  readonly file: string;
  readonly listeners: readonly ListenerSettings[];
  /** Number of worker threads. */
  readonly workers: number;
  readonly log: { readonly level: LogLevel };
  readonly door: DoorSettings;
  readonly pidfile: string | undefined;
  readonly timeouts: { readonly drain: number; readonly upgrade: number };
  /** The compiled route table (routing/table.ts). */
  readonly routes: SharedArrayBuffer;
  /** How many names have a route. */
  readonly names: number;
  /** What works and is probably not meant. */
  readonly warnings: readonly Problem[];
}
