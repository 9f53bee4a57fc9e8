/** What a run of the kit can be told. */
import type { ProbeKind } from "./probe.js";

export interface Options {
  /** The receiver's socket, or a folder of sockets. */
  readonly path: string;
  /** A shell's command that starts it. */
  readonly start?: string;
  /** Names of rules; all of them if absent. */
  readonly only?: readonly string[];
  /** How many sockets the rule `sockets` hands over. */
  readonly sockets: number;
  readonly serverName: string;
  readonly probe: ProbeKind;
  /** How long the receiver may take for each thing that it must do. Milliseconds. */
  readonly timeout: number;
  /** What asks it to drain. */
  readonly stopSignal: NodeJS.Signals;
}
