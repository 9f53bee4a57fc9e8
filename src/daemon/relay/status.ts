/** What the relay tells about itself: GET /status of its control socket. Counters only grow; rates are for the reader. */
import type { RelayCounterName } from "../../relay/counters.js";
import type { TargetTotals } from "./totals.js";

export interface RelayStatus {
  /** Tells it from a door's. */
  readonly kind: "relay";
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Seconds. */
  readonly uptime: number;
  readonly state: "running" | "reloading" | "draining";
  readonly node: string;
  readonly kernel: string;
  readonly configuration: {
    readonly file: string;
    readonly generation: number;
    /** ISO 8601. */
    readonly loadedAt: string;
    readonly lastReload: { readonly at: string; readonly ok: boolean; readonly message: string } | undefined;
  };
  readonly folder: string;
  /** Ends by itself when no door is there and no connection is left. */
  readonly whileNeeded: boolean;
  readonly workers: readonly RelayWorkerStatus[];
  readonly backends: readonly RelayBackendStatus[];
  readonly counters: Readonly<Record<RelayCounterName, number>>;
  readonly process: {
    readonly user: number;
    /** Bytes. */
    readonly rss: number;
    readonly descriptors: number;
    readonly descriptorLimit: number;
    readonly cpuSeconds: number;
  };
}

export interface RelayWorkerStatus {
  readonly index: number;
  readonly responsive: boolean;
  readonly connections: number;
  readonly established: number;
  readonly dialing: number;
  readonly pipes: number;
  /** Seconds that it did not wait for events, since its start. */
  readonly busy: number;
}

export interface RelayBackendStatus {
  readonly name: string;
  readonly targets: readonly TargetStatus[];
}

export interface TargetStatus {
  readonly name: string;
  readonly addresses: readonly string[];
  /** Resting: it failed, and is tried only if all others rest, too. */
  readonly state: "well" | "resting" | "unresolved";
  /** Why it failed last, or why its name has no address; "" if nothing did. */
  readonly lastFailure: string;
  readonly totals: TargetTotals;
}
