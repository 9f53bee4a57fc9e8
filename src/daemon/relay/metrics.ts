/**
 * What the relay counts, in the text format of Prometheus. Labels have only configured names and the words below as
 * values, so that no client can make series.
 */
import { exposition, type Sample, type Writer } from "../exposition.js";
import { writeProcess } from "../metrics.js";
import type { RelayStatus, TargetStatus } from "./status.js";
import type { TargetTotals } from "./totals.js";

/** Counters of the relay: metric, counter, help. */
const totalsOfTheRelay = [
  ["received_total", "received", "Connections received from doors."],
  ["connected_total", "connected", "Connections that a target took."],
  ["retries_total", "retried", "Times that one more target was tried for a connection."],
  ["fallbacks_total", "fallback", "Connections that no target took, and that went to the backend's fallback."],
  ["delivered_total", "delivered", "Of them, those that an instance of another backend took."],
  ["refused_total", "refused", "Connections that no target took, refused."],
  [
    "overloaded_total",
    "overloaded",
    "Connections refused to the door since the worker has as many as it may. Raise LimitNOFILE, or relay.workers.",
  ],
  ["client_gone_total", "client_gone", "Clients that were gone before a target took them."],
  [
    "short_of_descriptors_total",
    "short_of_descriptors",
    "Times that connections waited for want of descriptors or memory. Raise LimitNOFILE.",
  ],
  ["short_of_pipes_total", "short_of_pipes", "Times that bytes waited since every pipe was in use."],
  ["defects_total", "defect", "Connections closed because of a defect in the relay. Report it, with the log."],
] as const;

/** How connections ended that a target had taken: counters of the relay. */
const ends = ["completed", "client_reset", "target_reset", "idle_timeout", "lifetime_timeout", "drain_reset"] as const;

/** Counters of targets: metric, total, help. */
const totalsOfTargets = [
  ["connections_total", "connections", "Connections that the target took."],
  ["connect_failures_total", "connect_failures", "Attempts that failed: refused, unreachable, no address."],
  ["connect_timeouts_total", "connect_timeouts", "Attempts that took longer than connectTimeout."],
  ["retried_total", "retried", "Connections that went to another target, or waited, after this one had failed."],
  ["timeouts_total", "timeouts", "Connections that ended by idleTimeout or lifetime."],
  ["resets_total", "target_resets", "Connections that the target reset."],
  ["client_resets_total", "client_resets", "Connections that the client reset."],
  ["fallback_total", "fallback", "Connections of which it was the last target to fail before the fallback was asked."],
] as const;

export function renderRelayMetrics(status: RelayStatus): Promise<{ contentType: string; text: string }> {
  return exposition((writer) => {
    writeRelay(status, writer);
    writeTargets(status, writer);
    writeWorkers(status, writer);
    writeProcess(status, writer);
  });
}

function writeRelay({ counters, version, node, configuration }: RelayStatus, { counter, gauge }: Writer): void {
  for (const [name, total, help] of totalsOfTheRelay) counter(`sni_handoff_relay_${name}`, help, counters[total]);
  counter(
    "sni_handoff_relay_ended_total",
    "Connections that a target had taken, by how they ended. completed: both sides closed in order.",
    ends.map((end): Sample => [{ end }, counters[end]]),
  );
  gauge("sni_handoff_relay_build_info", "Always 1: the version of sni-handoff and of Node.", [[{ version, node }, 1]]);
  gauge(
    "sni_handoff_relay_last_reload_successful",
    "0: the last reload failed, and the configuration before it is in force.",
    Number(configuration.lastReload?.ok ?? true),
  );
  gauge(
    "sni_handoff_relay_configuration_generation",
    "Counts the configurations that were in force since the start.",
    configuration.generation,
  );
}

function writeTargets({ backends }: RelayStatus, { counter, gauge }: Writer): void {
  const ofEach = (value: (target: TargetStatus) => number) =>
    backends.flatMap(({ name, targets }) =>
      targets.map((target): Sample => [{ backend: name, target: target.name }, value(target)]),
    );
  const total = (name: keyof TargetTotals) => ofEach(({ totals }) => totals[name]);
  for (const [name, key, help] of totalsOfTargets) counter(`sni_handoff_relay_target_${name}`, help, total(key));
  counter(
    "sni_handoff_relay_target_bytes_total",
    "Bytes moved, by direction: to the target, or to the client.",
    (["to_target", "to_client"] as const).flatMap((direction) =>
      total(`bytes_${direction}`).map(([labels, value]): Sample => [{ ...labels, direction }, value]),
    ),
  );
  gauge("sni_handoff_relay_target_active", "Connections that the target has now.", total("active"));
  gauge(
    "sni_handoff_relay_target_well",
    "0: the target failed, or its name has no address; others are tried before it. See `sni-handoff status --relay`.",
    ofEach(({ state }) => Number(state === "well")),
  );
}

function writeWorkers({ workers }: RelayStatus, { counter, gauge }: Writer): void {
  const ofEach = (value: (worker: (typeof workers)[number]) => number) =>
    workers.map((worker): Sample => [{ worker: worker.index }, value(worker)]);
  counter(
    "sni_handoff_relay_worker_busy_seconds_total",
    "Time that a worker's loop did not wait for events; its rate is the share of one core. Near 1: more workers.",
    ofEach(({ busy }) => busy),
  );
  gauge(
    "sni_handoff_relay_worker_responsive",
    "0: the worker's loop does not answer the control plane. Report it, with the log.",
    ofEach(({ responsive }) => Number(responsive)),
  );
  gauge(
    "sni_handoff_relay_connections",
    "Connections that the worker has now.",
    ofEach(({ connections }) => connections),
  );
  gauge(
    "sni_handoff_relay_dialing_connections",
    "Connections for which a target is sought.",
    ofEach(({ dialing }) => dialing),
  );
  gauge(
    "sni_handoff_relay_pipes",
    "Pipes that are open, two descriptors each.",
    ofEach(({ pipes }) => pipes),
  );
}
