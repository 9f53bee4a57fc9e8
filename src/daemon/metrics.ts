/**
 * What the door counts, in the text format of Prometheus.
 *
 * The counts live in the workers' memory. Labels have only configured names and the words below as values, so that no
 * client can make series.
 */
import { exposition, type Sample, type Value, type Writer } from "./exposition.js";

/** What is rendered: mostly a `Status`. Totals never go down while a backend of that name is configured. */
export interface MetricsSource {
  readonly status: MetricsStatus;
  /** Upper bounds of the latencies' buckets, ascending, in milliseconds; there is one more bucket, for what is above. */
  readonly latencyBounds: readonly number[];
  /** Accept to acknowledgement, by backend; `sum` in milliseconds. A backend without an entry has none yet. */
  readonly latencies: ReadonlyMap<string, LatencyTotals>;
  /** How long each worker was not waiting for events, since its start. Milliseconds. */
  readonly busy: readonly number[];
  readonly reloads: Attempts;
  readonly upgrades: Attempts;
  /** Of the control plane, in milliseconds: loop-lag.ts. */
  readonly lag: { readonly p50: number; readonly p99: number };
  readonly limits: {
    readonly waiting: number;
    readonly held: number;
    /** Most held connections, by backend. */
    readonly heldOfBackend: ReadonlyMap<string, number>;
  };
  /** Lines of the log that standard output did not take: `log.sink.dropped`. */
  readonly logDropped: number;
}

export interface MetricsStatus {
  readonly version: string;
  readonly node: string;
  /** ISO 8601. */
  readonly startedAt: string;
  readonly configuration: {
    readonly generation: number;
    /** ISO 8601: when what is in force was loaded. */
    readonly loadedAt: string;
    readonly names: number;
    readonly tableBytes: number;
    readonly lastReload: { readonly ok: boolean } | undefined;
  };
  readonly workers: readonly {
    readonly index: number;
    readonly responsive: boolean;
    readonly connections: number;
    readonly waiting: number;
    readonly held: number;
    readonly unacknowledged: number;
  }[];
  readonly backends: readonly {
    readonly name: string;
    readonly kind: "handoff" | "datagram" | "reject";
    readonly drained: boolean;
    /** Now. */
    readonly held: number;
    readonly counters: Totals;
    readonly instances: readonly { readonly state: string }[];
  }[];
  readonly counters: Totals;
  readonly process: {
    readonly rss: number;
    readonly descriptors: number;
    readonly descriptorLimit: number;
    readonly cpuSeconds: number;
  };
  readonly accessLog: { readonly dropped: number };
}

export interface LatencyTotals {
  /** Each by itself, not cumulative; one more than there are bounds. */
  readonly buckets: readonly number[];
  readonly sum: number;
}

export interface Attempts {
  readonly succeeded: number;
  readonly failed: number;
}

type Totals = Readonly<Record<string, number>>;

const instanceStates = [
  "ready",
  "absent",
  "greeting",
  "draining",
  "revoking",
  "stalled",
  "resting",
  "drained",
] as const;

/** Refusals before a backend is known: counters of the door. */
const refusalsOfTheDoor = [
  "hello_timeout",
  "hello_invalid",
  "proxy_header_invalid",
  "http_invalid",
  "not_tls",
  "no_route",
  "waiting_full",
  "client_full",
  "rate_limited",
  "abandoned",
  "defect",
] as const;

/** Refusals for a backend: its counters. */
const refusalsOfBackends = [
  "rejected",
  "access_denied",
  "hold_timeout",
  "hold_full",
  "hello_too_long",
  "hello_spent",
] as const;

/** Counters of the door without labels: metric, counter, help. */
const totalsOfTheDoor = [
  ["accepted_total", "accepted", "Connections accepted."],
  ["redirects_total", "redirected", "Requests to http listeners that the door answered with a redirect to https."],
  [
    "client_gone_total",
    "client_gone",
    "Clients that closed before they were handed over. Many at once: instances are slow, or somebody scans.",
  ],
  ["proxied_total", "proxied", "Connections whose PROXY header was read, of listeners with acceptProxyProtocol."],
  ["routed_by_rule_total", "by_rule", "Times that a rule of a route decided where a connection goes."],
  ["routed_by_pattern_total", "by_pattern", "Times that a pattern did."],
  ["silent_total", "silent", "Connections that went to the backend of `silent`: their clients had sent nothing."],
  ["channels_opened_total", "channels_ready", "Channels to instances that became ready, in each worker."],
  [
    "channel_violations_total",
    "violations",
    "Channels closed because the instance broke the handoff protocol. Look for channel events in the log, and update the instance's library.",
  ],
  [
    "accept_rests_total",
    "accept_rested",
    "Times that accepting paused for want of descriptors or memory. Raise LimitNOFILE, or lower limits.held and limits.waiting.",
  ],
  [
    "lingering_closes_total",
    "lingering_closes",
    "Closes left to a thread because an instance set SO_LINGER. Harmless unless there are many.",
  ],
  ["passed_on_total", "passed_on", "Connections given to the successor in an upgrade."],
  ["adopted_total", "adopted", "Connections taken over from the predecessor in an upgrade."],
] as const;

/** Counters of backends: metric, counter, help. */
const totalsOfBackends = [
  ["handoffs_total", "handed_over", "Handoffs sent to instances, those sent again included."],
  ["acknowledged_total", "acknowledged", "Handoffs acknowledged: the connection is the instance's."],
  [
    "instance_refusals_total",
    "refused_by_instance",
    "Handoffs that an instance refused: it is full, or closing. The connection goes to another one.",
  ],
  [
    "redelivered_total",
    "redelivered",
    "Connections taken back whole from a dead, revoked or refusing instance, and placed again. Instances die or hang if it grows outside restarts.",
  ],
  [
    "lost_total",
    "lost_after_read",
    "Connections closed since their instance died after it had read from them or written to them. Look for crashes of instances.",
  ],
  ["holds_total", "held", "Times that a connection was held for want of an instance."],
  ["fallbacks_total", "fallback", "Connections that went to the backend's fallback."],
  [
    "revocations_total",
    "revoked",
    "Times that an instance lost its unacknowledged handoffs: it did not acknowledge in time, or broke the protocol.",
  ],
] as const;

export function renderMetrics(source: MetricsSource): Promise<{ contentType: string; text: string }> {
  return exposition((writer) => {
    writeDoor(source, writer);
    writeBackends(source, writer);
    writeWorkers(source, writer);
    writeControlPlane(source, writer);
    writeProcess(source.status, writer);
  });
}

function writeDoor({ status, limits }: MetricsSource, { counter, gauge }: Writer): void {
  const { counters, backends } = status;
  for (const [name, total, help] of totalsOfTheDoor) counter(`sni_handoff_${name}`, help, counters[total] ?? 0);
  counter(
    "sni_handoff_refused_total",
    "Connections that the door refused, by reason; of which backend, where one was chosen. no_route: names that are not configured. access_denied: the access list of a route. hold_timeout, hold_full: a backend has no instance. hello_too_long, hello_spent: of datagrams. waiting_full, client_full, rate_limited: limits. defect: report it.",
    [
      ...refusalsOfTheDoor.map((reason): Sample => [{ reason, backend: "" }, counters[reason] ?? 0]),
      ...backends.flatMap(({ name, counters }) =>
        refusalsOfBackends.map((reason): Sample => [{ reason, backend: name }, counters[reason] ?? 0]),
      ),
    ],
  );
  gauge("sni_handoff_waiting_limit", "limits.waiting: most connections that wait for a hello.", limits.waiting);
  gauge("sni_handoff_held_limit", "limits.held: most held connections of all backends together.", limits.held);
}

function writeBackends({ status, limits, latencies, latencyBounds }: MetricsSource, writer: Writer): void {
  const backends = status.backends.filter(({ kind }) => kind !== "reject");
  const ofEach = (value: (backend: (typeof backends)[number]) => number) =>
    backends.map((backend): Sample => [{ backend: backend.name }, value(backend)]);
  for (const [name, total, help] of totalsOfBackends) {
    writer.counter(
      `sni_handoff_${name}`,
      help,
      ofEach(({ counters }) => counters[total] ?? 0),
    );
  }
  writer.gauge(
    "sni_handoff_held_connections",
    "Connections held now, since no instance of their backend takes them. Start instances.",
    ofEach(({ held }) => held),
  );
  writer.gauge(
    "sni_handoff_backend_held_limit",
    "Most connections that are held for the backend; more are refused as hold_full.",
    ofEach(({ name }) => limits.heldOfBackend.get(name) ?? 0),
  );
  writer.gauge(
    "sni_handoff_backend_drained",
    "1 while an operator keeps new connections away from the backend.",
    ofEach(({ drained }) => Number(drained)),
  );
  writer.gauge(
    "sni_handoff_instances",
    "Instances by state. Without one that is ready, connections of the backend are held.",
    backends.flatMap(({ name, instances }) =>
      instanceStates.map(
        (state): Sample => [{ backend: name, state }, instances.filter((instance) => instance.state === state).length],
      ),
    ),
  );
  writer.histogram(
    "sni_handoff_handoff_duration_seconds",
    "From accept to the instance's acknowledgement: the wait for the hello, for an instance, and for its loop.",
    backends.flatMap(({ name }) => histogram("sni_handoff_handoff_duration_seconds", name, latencyBounds, latencies)),
  );
}

/** The samples of one backend, cumulative as the format has them. */
function histogram(
  metric: string,
  backend: string,
  bounds: readonly number[],
  latencies: ReadonlyMap<string, LatencyTotals>,
): Value[] {
  const { buckets, sum } = latencies.get(backend) ?? { buckets: [], sum: 0 };
  let below = 0;
  const values = bounds.map((bound, index): Value => {
    below += buckets[index] ?? 0;
    return { metricName: `${metric}_bucket`, labels: { le: seconds(bound), backend }, value: below };
  });
  // Workers count while this is read: only the buckets' own sum is sure to be no less than the last of them.
  const count = below + (buckets[bounds.length] ?? 0);
  return [
    ...values,
    { metricName: `${metric}_bucket`, labels: { le: "+Inf", backend }, value: count },
    { metricName: `${metric}_sum`, labels: { backend }, value: seconds(sum) },
    { metricName: `${metric}_count`, labels: { backend }, value: count },
  ];
}

function writeWorkers({ status: { workers }, busy }: MetricsSource, { counter, gauge }: Writer): void {
  const ofEach = (value: (worker: (typeof workers)[number]) => number) =>
    workers.map((worker): Sample => [{ worker: worker.index }, value(worker)]);
  counter(
    "sni_handoff_worker_busy_seconds_total",
    "Time that a worker's loop did not wait for events; its rate is the share of one core. Near 1: more workers.",
    ofEach(({ index }) => seconds(busy[index] ?? 0)),
  );
  gauge(
    "sni_handoff_worker_responsive",
    "0: the worker's loop does not answer the control plane. Report it, with the log.",
    ofEach(({ responsive }) => Number(responsive)),
  );
  gauge(
    "sni_handoff_connections",
    "Connections that the worker has now: waiting, held and unacknowledged.",
    ofEach(({ connections }) => connections),
  );
  gauge(
    "sni_handoff_waiting_connections",
    "Connections whose hello is not complete. Many: somebody opens connections and sends nothing.",
    ofEach(({ waiting }) => waiting),
  );
  gauge(
    "sni_handoff_unacknowledged_handoffs",
    "Handoffs sent and not acknowledged. Many: instances do not keep up.",
    ofEach(({ unacknowledged }) => unacknowledged),
  );
}

function writeControlPlane(source: MetricsSource, { counter, gauge }: Writer): void {
  const { status, reloads, upgrades, lag } = source;
  const { configuration } = status;
  const results = ({ succeeded, failed }: Attempts): Sample[] => [
    [{ result: "succeeded" }, succeeded],
    [{ result: "failed" }, failed],
  ];
  gauge("sni_handoff_build_info", "Always 1: the version of sni-handoff and of Node.", [
    [{ version: status.version, node: status.node }, 1],
  ]);
  counter("sni_handoff_reloads_total", "Reloads of the configuration, by result.", results(reloads));
  counter(
    "sni_handoff_upgrades_total",
    "Upgrades to a new process, by result, as this process saw them.",
    results(upgrades),
  );
  gauge(
    "sni_handoff_last_reload_successful",
    "0: the last reload failed, and the configuration before it is in force. See `sni-handoff status`.",
    Number(configuration.lastReload?.ok ?? true),
  );
  gauge(
    "sni_handoff_configuration_loaded_timestamp_seconds",
    "When the configuration in force was loaded, in seconds since 1970: the last start or successful reload.",
    timestamp(configuration.loadedAt),
  );
  gauge(
    "sni_handoff_configuration_generation",
    "Counts the configurations that were in force since the start.",
    configuration.generation,
  );
  gauge("sni_handoff_configured_names", "Names in the route table.", configuration.names);
  gauge("sni_handoff_route_table_bytes", "Memory of the route table.", configuration.tableBytes);
  gauge(
    "sni_handoff_control_loop_lag_p50_seconds",
    "How late the control plane's loop is, median of the last minute or two. Connections do not wait for it.",
    seconds(lag.p50),
  );
  gauge(
    "sni_handoff_control_loop_lag_p99_seconds",
    "How late the control plane's loop is, 99th percentile of the last minute or two.",
    seconds(lag.p99),
  );
  counter(
    "sni_handoff_access_log_dropped_total",
    "Lines of the access log that were dropped: its reader is too slow. Log less: accessLog: errors, or sample.",
    status.accessLog.dropped,
  );
  counter(
    "sni_handoff_log_dropped_total",
    "Lines of the log that were dropped: standard output took no more.",
    source.logDropped,
  );
}

export type ProcessFacts = Pick<MetricsStatus, "process" | "startedAt">;

/** Under the names that every Prometheus client library gives them. */
export function writeProcess({ process, startedAt }: ProcessFacts, { counter, gauge }: Writer): void {
  counter("process_cpu_seconds_total", "User and system time, all threads.", process.cpuSeconds);
  gauge("process_resident_memory_bytes", "Resident memory.", process.rss);
  gauge("process_open_fds", "Open descriptors: one a connection, and a few.", process.descriptors);
  gauge(
    "process_max_fds",
    "RLIMIT_NOFILE: raise it by LimitNOFILE before open descriptors come near.",
    process.descriptorLimit,
  );
  gauge("process_start_time_seconds", "When the process started, in seconds since 1970.", timestamp(startedAt));
}

/** From milliseconds, without what binary fractions add: 0.3 ms is 0.0003 s. */
function seconds(milliseconds: number): number {
  return Number((milliseconds / 1000).toPrecision(15));
}

function timestamp(iso: string): number {
  return Date.parse(iso) / 1000;
}
