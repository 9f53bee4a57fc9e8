/** What the daemon tells about itself: GET /status of the control socket. Counters only grow; rates are for the reader. */
import type { CounterName } from "../door/counters.js";
import type { PrivilegesInForce } from "./privileges/index.js";
import type { KeptRelay } from "./relay/keeper.js";

export interface Status {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Seconds. */
  readonly uptime: number;
  readonly state: "running" | "reloading" | "upgrading" | "draining";
  readonly node: string;
  readonly kernel: string;
  readonly configuration: ConfigurationStatus;
  readonly listeners: readonly ListenerStatus[];
  readonly workers: readonly WorkerStatus[];
  readonly backends: readonly BackendStatus[];
  readonly counters: Readonly<Record<CounterName, number>>;
  readonly privileges: PrivilegesInForce;
  readonly process: {
    /** Bytes. */
    readonly rss: number;
    readonly descriptors: number;
    readonly descriptorLimit: number;
    readonly cpuSeconds: number;
    /** Milliseconds, the 99th percentile. */
    readonly eventLoopLag: number;
  };
  /** The relay, as the door sees it; more at its own control socket. */
  readonly relay: KeptRelay;
  /** `watchdog` in seconds, 0 if off. */
  readonly systemd: { readonly notify: boolean; readonly watchdog: number };
  readonly control: string;
  readonly metrics: string;
  /** `dropped`: lines that were not written since the writer was too slow. */
  readonly accessLog: { readonly mode: string; readonly dropped: number };
}

export interface ConfigurationStatus {
  readonly file: string;
  readonly generation: number;
  /** ISO 8601. */
  readonly loadedAt: string;
  readonly names: number;
  readonly tableBytes: number;
  readonly lastReload: { readonly at: string; readonly ok: boolean; readonly message: string } | undefined;
}

export interface ListenerStatus {
  readonly name: string;
  readonly address: string;
  readonly protocol: "tls" | "http";
  readonly source: "configuration" | "systemd" | "inherited";
}

export interface WorkerStatus {
  readonly index: number;
  readonly responsive: boolean;
  /** 0 to 1, since the last status. */
  readonly utilisation: number;
  readonly connections: number;
  readonly waiting: number;
  readonly held: number;
  readonly unacknowledged: number;
}

export interface BackendStatus {
  readonly name: string;
  readonly kind: "handoff" | "datagram" | "reject";
  /** Where the relay connects to for it; empty: it is no relay backend. */
  readonly targets: readonly string[];
  /** Told to get nothing new. */
  readonly drained: boolean;
  readonly held: number;
  readonly counters: Readonly<Record<string, number>>;
  /** Accept to acknowledgement in milliseconds; 0 if there was none. */
  readonly latency: { readonly p50: number; readonly p99: number; readonly count: number };
  readonly instances: readonly InstanceStatus[];
}

/** One instance, over all workers. */
export interface InstanceStatus {
  readonly path: string;
  readonly pid: number;
  readonly uid: number;
  readonly state: "ready" | "absent" | "greeting" | "draining" | "revoking" | "stalled" | "resting" | "drained";
  readonly window: number;
  readonly weight: number;
  /** Connections that it has. */
  readonly open: number;
  /** Handoffs that it has not acknowledged. */
  readonly outstanding: number;
  /** One a worker, when all are connected. */
  readonly channels: number;
  /** "" if there was none. */
  readonly lastFailure: string;
}
