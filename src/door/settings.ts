/**
 * What the control plane tells the workers, and what they tell it: plain data, structured-cloned between threads.
 * Times are in milliseconds, sizes in bytes.
 */
import type { AddressBlocks } from "./address-blocks.js";
import type { FirstBytesRule } from "./first-bytes.js";

/** How a connection is refused: a TLS alert of RFC 8446 §6 (RFC 6066 §3), or none. */
export type Rejection = "unrecognized_name" | "access_denied" | "internal_error" | "close" | "reset";

export type Balance = "round-robin" | "least-connections";

/** A backend whose processes receive descriptors. */
export interface HandoffBackendSettings {
  readonly kind: "handoff";
  readonly name: string;
  /** A socket's path (or "@abstract"), or, ending in "/", a folder in which every socket is an instance. */
  readonly path: string;
  readonly balance: Balance;
  /** How long a connection may be kept while no instance takes it. */
  readonly hold: number;
  /** Most connections held for this backend at once, all workers together. */
  readonly maxHeld: number;
  /** Most of them from one client address (an IPv6 /64), all workers together. */
  readonly maxHeldPerClient: number;
  /** An instance that leaves a handoff unacknowledged for so long gets no more, and loses what it has not acknowledged to another one. */
  readonly acknowledgeTimeout: number;
  /** Index of the backend that takes what cannot be delivered here; -1: refuse with internal_error. */
  readonly fallback: number;
  /** The user whose processes may be instances, beside root and the path's owner; -1: none. */
  readonly uid: number;
  /** Lazily: an instance is connected to only while a client waits for the backend. */
  readonly connect: "eagerly" | "lazily";
  /** Most connections that its instances may have together, as far as each worker knows (`Backend.capacity`); 0: no limit. */
  readonly maxConnections: number;
  /** Its instances are the relay's workers, and this is where they connect to, as configured. */
  readonly relay?: readonly string[];
}

/** A backend whose one process takes connections in datagrams (handoff/DATAGRAM.md). */
export interface DatagramBackendSettings {
  readonly kind: "datagram";
  readonly name: string;
  /** The socket's path, or "@abstract". */
  readonly path: string;
  /** These as of `HandoffBackendSettings`. */
  readonly hold: number;
  readonly maxHeld: number;
  readonly maxHeldPerClient: number;
  readonly fallback: number;
  /** The user whose socket it may be, beside root and the door's own; -1: none. */
  readonly uid: number;
  /** Most bytes of a hello that it takes; longer ones go to the fallback. */
  readonly maxHello: number;
}

/** Backends that keep connections while nobody takes them. */
export type HoldingBackendSettings = HandoffBackendSettings | DatagramBackendSettings;

export interface RejectBackendSettings {
  readonly kind: "reject";
  readonly name: string;
  readonly reject: Rejection;
  /** The counter of its clients; default `rejected`. Those that stand in for an absent route have its own. */
  readonly countedAs?: "no_route" | "not_tls";
}

export type BackendSettings = HandoffBackendSettings | DatagramBackendSettings | RejectBackendSettings;

/** Addresses as a condition or an access list has them. */
export interface AddressList extends AddressBlocks {
  /** As configured: for people. */
  readonly written: readonly string[];
}

/** Who may use a route. Addresses in `deny` may not; if there is an `allow`, those outside it may not either. */
export interface AccessSettings {
  readonly allow: AddressList | undefined;
  readonly deny: AddressList | undefined;
  readonly reject: Rejection;
}

/** Where a route leads if all its conditions hold; those that are undefined always do. */
export interface RuleSettings {
  /** The backend's index. */
  readonly backend: number;
  /** The client offers one of these protocols (RFC 7301). */
  readonly alpn: readonly Uint8Array[] | undefined;
  /** The client's address is one of these. */
  readonly clients: AddressList | undefined;
  /** The highest version that the client offers is one of these: 0x0304 for TLS 1.3. */
  readonly tls: readonly number[] | undefined;
  /** No condition: the route is taken, then the client refused. */
  readonly access: AccessSettings | undefined;
}

/** A rule for names that match as a whole. */
export interface PatternSettings extends RuleSettings {
  /** routing/patterns.ts */
  readonly match: string;
}

/** What the route table (routing/layout.ts) has no room for. */
export interface RoutingRules {
  /** The table's target FIRST_RULES_TARGET + n is the n-th list: the first rule that holds wins. */
  readonly lists: readonly (readonly RuleSettings[])[];
  /** In order. */
  readonly patterns: readonly PatternSettings[];
  /** The target for names that no route and no pattern takes: a backend or a list. */
  readonly defaultTarget: number;
  /** The backend of those that this doesn't take either. */
  readonly lastTarget: number;
}

/** What there may be of things, all workers together. */
export interface DoorLimits {
  /** Connections that wait for their hello. */
  readonly waiting: number;
  /** Those of one client address (an IPv6 /64). */
  readonly waitingPerClient: number;
  /** Connections that are held, of all backends together. */
  readonly held: number;
  /** Connections a second of one client address (an IPv6 /64); 0: no limit. */
  readonly acceptRate: number;
  /** How many of them may come at once above that. */
  readonly acceptBurst: number;
}

/** What is particular to a listener. */
export interface DoorListenerSettings {
  readonly protocol: "tls" | "http";
  /** From whose addresses connections begin with a PROXY header; undefined: from nobody's. */
  readonly balancers?: AddressBlocks | undefined;
}

/** Where clients go that have sent nothing: those of protocols in which the server speaks first. */
export interface SilentSettings {
  /** How long after accept. */
  readonly after: number;
  /** Index of the backend. */
  readonly backend: number;
}

export interface AccessLogSettings {
  /** Which connections' ends are recorded: errors are those that were neither handed over nor answered, which "sample" has all of too. */
  readonly mode: "all" | "errors" | "off" | "sample";
  /** One in so many of those that were handed over, for "sample". */
  readonly sample: number;
}

/** What http listeners do. */
export interface HttpSettings {
  /** The compiled routes of hosts (routing/table.ts); its default target may be absent. */
  readonly routes: SharedArrayBuffer;
  /** Index of the backend for `/.well-known/acme-challenge/`; -1: none. */
  readonly acmeChallenge: number;
  /** Port of the https URLs to which hosts without a route are redirected; 0: they are not. */
  readonly redirectPort: number;
}

export interface DoorSettings {
  /** Counts up with each configuration. */
  readonly generation: number;
  /** How long a client may take to complete its hello, from accept. */
  readonly helloTimeout: number;
  /** Most bytes of a hello, record headers included. */
  readonly helloLimit: number;
  readonly limits: DoorLimits;
  readonly accessLog: AccessLogSettings;
  /** In the order of their indices, which are the route table's targets. */
  readonly backends: readonly BackendSettings[];
  /** In the order of the listening descriptors; absent: all are for TLS, and nothing else is particular to them. */
  readonly listeners?: readonly DoorListenerSettings[] | undefined;
  readonly rules: RoutingRules;
  /** Absent: http listeners, if there are any, refuse everybody. */
  readonly http?: HttpSettings | undefined;
  /** For what does not begin with TLS: tried before the route table's target for it. */
  readonly notTls?: readonly FirstBytesRule[] | undefined;
  readonly silent?: SilentSettings | undefined;
}

/** The most that `helloLimit` may be: memory for peeking is reserved for it. */
export const MOST_HELLO = 65_536;

/** What one worker writes as long as it runs. */
export interface WorkerMemory {
  /** counters.ts */
  readonly counters: SharedArrayBuffer;
  /** gauges.ts */
  readonly gauges: SharedArrayBuffer;
  /** access-events.ts */
  readonly accessRing: SharedArrayBuffer;
}

/** What one worker writes about the backends of one generation. */
export interface BackendMemory {
  /** backend-counters.ts */
  readonly counters: SharedArrayBuffer;
  /** latency.ts */
  readonly latencies: SharedArrayBuffer;
}

export interface WorkerData {
  readonly index: number;
  readonly settings: DoorSettings;
  /** A route table's region (routing/table.ts). */
  readonly routes: SharedArrayBuffer;
  readonly memory: WorkerMemory;
  readonly backendMemory: BackendMemory;
  /** What limits count, all workers together (limits.ts). */
  readonly sketch: SharedArrayBuffer;
  /** Connections held per backend index, all workers together: Int32. */
  readonly held: SharedArrayBuffer;
  /** Listening descriptors, owned by the control plane. */
  readonly listeners: readonly number[];
  /** False: accepts nothing before the command `accept`. */
  readonly accepting: boolean;
  /** Instance paths per backend index, for those that have a folder. */
  readonly instances: readonly (readonly string[])[];
  /** Most connections that this worker has at once: waiting, held and unacknowledged. */
  readonly capacity: number;
  /** Most handoffs that this worker leaves unacknowledged, all channels together (a share of half of RLIMIT_NOFILE). */
  readonly unacknowledgedLimit: number;
}

/** A connection that another process had accepted; its descriptor changes hands with this. */
export interface Adopted {
  readonly descriptor: number;
  readonly idLow: number;
  readonly idHigh: number;
  /** CLOCK_REALTIME in nanoseconds, two words. */
  readonly acceptedAtLow: number;
  readonly acceptedAtHigh: number;
  /** Until when its hello may be completed, CLOCK_REALTIME in milliseconds; 0: as if accepted now. */
  readonly deadline: number;
  /** It came by an http listener. */
  readonly isHttp: boolean;
  /** Absent: it has to do with no PROXY header. */
  readonly proxied?: ProxiedConnection | undefined;
}

/** What became of a connection's PROXY header in the process before. */
export interface ProxiedConnection {
  /** It is still to come, or the rest of it: nothing of it was read. */
  readonly isHeaderExpected: boolean;
  /** Bytes of the one that was read. */
  readonly consumed: number;
  /** The client and the address that it connected to, as that told them: packed (addresses.ts), family 0 for none. */
  readonly client: Uint8Array;
  readonly server: Uint8Array;
}

/** A configuration that is to take the place of another, and what it is made of. */
export interface Reconfiguration {
  readonly settings: DoorSettings;
  readonly routes: SharedArrayBuffer;
  /** As in `WorkerData`, for the backends of this configuration. */
  readonly held: SharedArrayBuffer;
  readonly backendMemory: BackendMemory;
  readonly instances: readonly (readonly string[])[];
  /** All that there are from now on. Those that are missing are left when their backlogs are empty. */
  readonly listeners: readonly number[];
}

/** Control plane to worker. */
export type WorkerCommand =
  | ({ readonly type: "configure" } & Reconfiguration)
  /** The sockets that a backend's folder has now. */
  | { readonly type: "instances"; readonly backend: number; readonly paths: readonly string[] }
  /** A path appeared or was replaced: try it now, not at the end of the back-off. */
  | { readonly type: "appeared"; readonly path: string }
  /** Begin to accept; also again, after an upgrade that failed. */
  | { readonly type: "accept" }
  /** Upgrade: accept no more, and give what waits or is held to the process behind this channel, whose end is the worker's from now on. */
  | { readonly type: "passOn"; readonly descriptor: number }
  /** Upgrade: a connection of the process before. */
  | { readonly type: "adopt"; readonly connection: Adopted }
  /** What gets nothing new: "backend", or "backend path" for one instance. The whole list, in place of the last one. */
  | { readonly type: "drained"; readonly targets: readonly string[] }
  /** Report the state of every channel. */
  | { readonly type: "snapshot"; readonly id: number }
  /** Accept what the backlog has, then no more; report "drained" when nothing is left, or after `timeout` milliseconds. */
  | { readonly type: "drain"; readonly timeout: number }
  /** Write this to the gauge `heartbeat`: whoever does not is stuck. */
  | { readonly type: "ping"; readonly beat: number };

/** A channel as its worker sees it. Numbers are -1 or 0 while they are not known. */
export interface ChannelStatus {
  readonly backend: string;
  readonly path: string;
  readonly state: "absent" | "greeting" | "ready" | "draining" | "revoking";
  readonly pid: number;
  readonly uid: number;
  readonly window: number;
  readonly weight: number;
  /** Connections that the instance said it has open, whoever sent them. */
  readonly open: number;
  /** Handoffs of this worker that are not acknowledged. */
  readonly outstanding: number;
  readonly stalled: boolean;
  readonly resting: boolean;
  /** By the operator: the instance, or its backend. */
  readonly drained: boolean;
  /** Why it has no instance, or lost its last one: an errno name, or words. */
  readonly lastFailure: string;
}

export type LogLevel = "debug" | "info" | "warn" | "error";

/** Worker to control plane. */
export type WorkerReport =
  /** The worker's loop runs with the configuration of this generation; the region of the one before is free. */
  | { readonly type: "configured"; readonly generation: number }
  | {
      readonly type: "log";
      readonly level: LogLevel;
      /** A stable name of what happened: `channel.ready`, `accept.failed`… */
      readonly event: string;
      readonly message: string;
      readonly fields: Readonly<Record<string, string | number | boolean>>;
    }
  /** Answer to the command of this id. */
  | { readonly type: "snapshot"; readonly id: number; readonly channels: readonly ChannelStatus[] }
  /** Told to drain, the worker has emptied the backlogs and accepts no more: the listeners may be closed. */
  | { readonly type: "stopped" }
  /** Nothing is left; `abandoned` connections were closed at the deadline. */
  | { readonly type: "drained"; readonly abandoned: number };
