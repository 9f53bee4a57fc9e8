/**
 * Counters of one worker of the relay in shared memory: 32 bits each, one writer (the worker), wrapping. The control
 * plane adds up the differences.
 */

export const relayCounterNames = [
  /** Connections received from doors. */
  "received",
  /** Connections refused to the door since the worker has as many as it may: it sends them elsewhere, or holds them. */
  "overloaded",
  /** Connections that a target took. */
  "connected",
  /** Times that one more target was tried for a connection. */
  "retried",
  /** Connections that no target took, and that went to the backend's fallback. */
  "fallback",
  /** Of them, those that an instance of another backend took. */
  "delivered",
  /** Connections that no target took, refused. */
  "refused",
  /** Clients that were gone before a target took them. */
  "client_gone",
  /** Connections that ended in order, both sides having closed. */
  "completed",
  /** Connections that the client reset, or whose path to it failed. */
  "client_reset",
  /** Connections that the target reset, or whose path to it failed. */
  "target_reset",
  /** Connections ended by idleTimeout. */
  "idle_timeout",
  /** Connections ended by lifetime. */
  "lifetime_timeout",
  /** Connections ended by the deadline of a shutdown. */
  "drain_reset",
  /** Connections closed because of a defect in the relay itself. */
  "defect",
  /** Times that connections waited for want of descriptors or memory. */
  "short_of_descriptors",
  /** Times that bytes waited since every pipe was in use. */
  "short_of_pipes",
] as const;

export type RelayCounterName = (typeof relayCounterNames)[number];

/** Index of each counter in the array. */
export const RelayCounter = Object.fromEntries(relayCounterNames.map((name, index) => [name, index])) as Readonly<
  Record<RelayCounterName, number>
>;

/** Shared memory for one worker's counters. */
export function createRelayCounters(): SharedArrayBuffer {
  return new SharedArrayBuffer(relayCounterNames.length * Uint32Array.BYTES_PER_ELEMENT);
}

/** Sums over workers, by name. Exact while each counter is below 2^32. */
export function sumRelayCounters(workers: readonly SharedArrayBuffer[]): Record<RelayCounterName, number> {
  const sums = Object.fromEntries(relayCounterNames.map((name) => [name, 0])) as Record<RelayCounterName, number>;
  for (const memory of workers) {
    const values = new Uint32Array(memory);
    relayCounterNames.forEach((name, index) => {
      sums[name] += Atomics.load(values, index);
    });
  }
  return sums;
}
