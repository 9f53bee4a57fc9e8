/**
 * What the relay's control plane tells its workers, and what they tell it: plain data, structured-cloned between
 * threads. Times are in milliseconds, sizes in bytes.
 */
import type { AlertName } from "../tls/alerts.js";

/** One address of a target: TCP (numeric; an IPv6 zone as `%name`), or a unix stream socket ("@name" is abstract). */
export type TargetAddress = { readonly address: string; readonly port: number } | { readonly path: string };

export interface RelayTargetSettings {
  /** As it is configured: names the target in logs and metrics, and tells whether a reload keeps it. */
  readonly name: string;
  /** What is known when the configuration comes into force. Those of a name follow by the command `addresses`. */
  readonly addresses: readonly TargetAddress[];
}

export type ProxyProtocol = "none" | "v1" | "v2";

export type RelayBalance = "round-robin" | "least-connections";

/** Who gets the clients that no target takes: nothing was read from their sockets yet. */
export type RelayFallback =
  /** The client is told so, as the door would. "internal_error" where nothing is configured. */
  | { readonly kind: "reject"; readonly reject: AlertName | "close" | "reset" }
  /** The targets of another relay backend, by its index. */
  | { readonly kind: "relay"; readonly backend: number }
  /** The instances of a backend that receives descriptors: see `Delivery`. */
  | {
      readonly kind: "handoff";
      readonly backend: string;
      /** A socket's path (or "@abstract"), or, ending in "/", a folder in which every socket is an instance. */
      readonly path: string;
      /** The user whose processes may be instances, beside root and the path's owner; -1: none. */
      readonly uid: number;
      readonly acknowledgeTimeout: number;
      /** How long a client is kept while none of them takes it; 0: each is asked once. */
      readonly hold: number;
      /** Who gets it then. */
      readonly fallback: RelayFallback;
    };

export interface RelayBackendSettings {
  readonly name: string;
  /** Where the doors find the workers: a folder that exists, ending in "/". Each worker is an instance in it. */
  readonly folder: string;
  readonly targets: readonly RelayTargetSettings[];
  readonly balance: RelayBalance;
  readonly proxyProtocol: ProxyProtocol;
  /** How long one target may take to accept, all its addresses together. */
  readonly connectTimeout: number;
  /** How long a client is kept while no target can be reached, since it came here; 0: each target is tried once. */
  readonly hold: number;
  /** A connection without a byte in either direction for so long is reset; 0: never. */
  readonly idleTimeout: number;
  /** A connection that is older is reset; 0: never. */
  readonly lifetime: number;
  /** SO_KEEPALIVE on both sides. */
  readonly keepAlive: boolean;
  readonly fallback: RelayFallback;
}

/** Of the unix sockets that doors connect to. */
export interface RelaySocketSettings {
  /** Permission bits. */
  readonly mode: number;
  /** Group and owner; -1: the process's own. */
  readonly gid: number;
  readonly uid: number;
  /** Users whose processes may be doors; undefined: whoever may write to the socket. */
  readonly allowedUsers: readonly number[] | undefined;
}

export interface RelaySettings {
  /** Counts up with each configuration. */
  readonly generation: number;
  readonly sockets: RelaySocketSettings;
  /** In the order of their indices. */
  readonly backends: readonly RelayBackendSettings[];
}

/** What one worker writes as long as it runs. */
export interface RelayMemory {
  /** counters.ts */
  readonly counters: SharedArrayBuffer;
  /** gauges.ts */
  readonly gauges: SharedArrayBuffer;
}

/** The first message to a worker thread. */
export interface RelayWorkerData {
  readonly index: number;
  readonly settings: RelaySettings;
  readonly memory: RelayMemory;
  /** target-stats.ts: what it writes about the targets of this generation. */
  readonly targetMemory: SharedArrayBuffer;
  /** Most connections that it has at once; each takes two descriptors. More are refused, so that the door holds them. */
  readonly capacity: number;
  /** Most pipes that it keeps (two descriptors each). Borrowed while bytes are on the way, never by an idle connection. */
  readonly pipes: number;
}

/** Control plane to worker. */
export type RelayCommand =
  /**
   * A new configuration. Established connections go on by the limits that they began with; those of a backend and
   * target of the same names are counted in the new memory. Backends that are gone take no more.
   */
  | { readonly type: "configure"; readonly settings: RelaySettings; readonly targetMemory: SharedArrayBuffer }
  /** What a target's name resolves to now, in the order of preference (RFC 6724); empty: nothing, for the reason `failure`. */
  | {
      readonly type: "addresses";
      readonly backend: string;
      readonly target: string;
      readonly addresses: readonly TargetAddress[];
      readonly failure: string;
    }
  /** Take no more; report "drained" when no connection is left, or reset those that are after `timeout`. */
  | { readonly type: "drain"; readonly timeout: number }
  /** Report the state of every target. */
  | { readonly type: "snapshot"; readonly id: number }
  /** Write this to the gauge `heartbeat`: whoever does not is stuck. */
  | { readonly type: "ping"; readonly beat: number };

/** A target as a worker sees it. */
export interface RelayTargetStatus {
  readonly backend: string;
  readonly target: string;
  readonly addresses: readonly string[];
  /** Connections that are established or being made. */
  readonly active: number;
  /** It failed, and is tried only if all others rest too: for so many milliseconds more; 0: it is well. */
  readonly resting: number;
  /** Failures in a row. */
  readonly failures: number;
  /** Why it failed last: an errno name, or words; "" if it never did. */
  readonly lastFailure: string;
}

export type RelayLogLevel = "debug" | "info" | "warn" | "error";

/** Worker to control plane. */
export type RelayReport =
  /** It runs with the configuration of this generation, and its sockets are there. */
  | { readonly type: "configured"; readonly generation: number }
  | {
      readonly type: "log";
      readonly level: RelayLogLevel;
      /** A stable name of what happened: `target.failed`, `door.connected`… */
      readonly event: string;
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
    }
  /** A target could not be connected to: its name may resolve to something else by now. At most once a second a target. */
  | { readonly type: "targetFailed"; readonly backend: string; readonly target: string; readonly reason: string }
  /** Answer to the command of this id. */
  | { readonly type: "snapshot"; readonly id: number; readonly targets: readonly RelayTargetStatus[] }
  /** Nothing is left; `reset` connections were ended by the deadline. */
  | { readonly type: "drained"; readonly reset: number };
