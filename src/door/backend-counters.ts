/**
 * Counters of one worker for each backend of one generation, in shared memory: 32 bits each, one writer (the worker),
 * wrapping. They mean what the counters of the same names do (counters.ts).
 */

export const backendCounterNames = [
  "handed_over",
  "acknowledged",
  "refused_by_instance",
  "redelivered",
  "lost_after_read",
  "held",
  /** Connections that went from this backend to its fallback. */
  "fallback",
  "hold_timeout",
  "hold_full",
  "hello_too_long",
  "hello_spent",
  /** Connections that this backend, which is `reject:`, refused: those without a route too, where it stands for them. */
  "rejected",
  /** Connections refused by the access list of a route that leads to this backend. */
  "access_denied",
  "client_gone",
  /** Channels to its instances that were revoked. */
  "revoked",
] as const;

export type BackendCounterName = (typeof backendCounterNames)[number];

/** Counters a backend. */
export const BACKEND_COUNTERS: number = backendCounterNames.length;

/** Place of each counter in its backend's row. */
export const BackendCounter = Object.fromEntries(backendCounterNames.map((name, index) => [name, index])) as Readonly<
  Record<BackendCounterName, number>
>;

/** Shared memory for one worker's counters of a generation with so many backends. */
export function createBackendCounters(backends: number): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, backends) * BACKEND_COUNTERS * Uint32Array.BYTES_PER_ELEMENT);
}

/** Sums over workers, by backend index and name. Exact while each counter is below 2^32. */
export function sumBackendCounters(
  workers: readonly SharedArrayBuffer[],
  backends: number,
): Record<BackendCounterName, number>[] {
  const rows = workers.map((memory) => new Uint32Array(memory));
  return Array.from({ length: backends }, (_, backend) => {
    const sum = (index: number) =>
      rows.reduce((total, values) => total + Atomics.load(values, backend * BACKEND_COUNTERS + index), 0);
    return Object.fromEntries(backendCounterNames.map((name, index) => [name, sum(index)])) as Record<
      BackendCounterName,
      number
    >;
  });
}
