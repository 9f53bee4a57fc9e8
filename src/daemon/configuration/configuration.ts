/** A configuration, ready for the control plane and the workers. */

import type { DoorListenerSettings, DoorSettings, LogLevel } from "../../door/settings.js";
import type { Problem } from "../../errors.js";
import type { TcpListenOptions } from "../../native/addon.js";
import type { Identity } from "./identity.js";
import type { RelayConfiguration } from "./relay.js";

export interface ListenerSettings {
  /** The address as an operator writes it: "[::]:443". */
  readonly name: string;
  readonly options: TcpListenOptions;
  /** `acceptProxyProtocol`, as an operator writes it; empty: there is none. */
  readonly balancers: readonly string[];
  /** What the workers are told of it. */
  readonly door: DoorListenerSettings;
}

export interface ControlSettings {
  readonly path: string;
  /** Permission bits, as of chmod(2). */
  readonly mode: number;
  /** -1: as the process's. */
  readonly gid: number;
}

export interface Configuration {
  /** The file it was read from; absolute. */
  readonly file: string;
  /** Every file that was read: `file`, then what it includes, then maps; absolute. */
  readonly files: readonly string[];
  readonly listeners: readonly ListenerSettings[];
  /** Number of worker threads. */
  readonly workers: number;
  readonly log: { readonly level: LogLevel };
  readonly door: DoorSettings;
  /** The compiled route table (routing/table.ts). */
  readonly routes: SharedArrayBuffer;
  /** How many names have a route. */
  readonly names: number;
  /** What works and is probably not meant. */
  readonly warnings: readonly Problem[];
  /** The control socket; undefined: there is none. */
  readonly control: ControlSettings | undefined;
  /** Where metrics are served over TCP: a loopback address. */
  readonly metrics: { readonly address: string; readonly port: number } | undefined;
  readonly relay: RelayConfiguration;
  readonly pidfile: string | undefined;
  /** Who to become once the listeners are open; undefined: nobody else. */
  readonly identity: Identity | undefined;
  readonly privileges: { readonly landlock: boolean; readonly keepBindService: boolean };
  /** Milliseconds. */
  readonly timeouts: { readonly drain: number; readonly upgrade: number };
}
