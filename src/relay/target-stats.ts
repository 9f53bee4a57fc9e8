/**
 * What one worker counts for each target of one generation, in shared memory: a float each, for bytes pass 2^32 soon and
 * stay exact up to 2^53. One writer (the worker). Rows are the targets of all backends, in their order.
 */
import type { RelaySettings } from "./settings.js";

export const targetStatNames = [
  /** Connections that it took. */
  "connections",
  /** Those that it has now: the one that also falls. */
  "active",
  /** Bytes from clients to it, and from it to clients. A PROXY header is not counted. */
  "bytes_to_target",
  "bytes_to_client",
  /** Attempts that failed: refused, unreachable, no address. */
  "connect_failures",
  /** Attempts that took longer than connectTimeout. */
  "connect_timeouts",
  /** Connections that went to another target, or waited, after it had failed. */
  "retried",
  /** Connections that ended by idleTimeout or lifetime. */
  "timeouts",
  /** Connections that it reset, and those that the client reset. */
  "target_resets",
  "client_resets",
  /** Connections of which it was the last to fail before the fallback was asked. */
  "fallback",
] as const;

export type TargetStatName = (typeof targetStatNames)[number];

/** Numbers a target. */
export const TARGET_STATS: number = targetStatNames.length;

/** Place of each number in its target's row. */
export const TargetStat = Object.fromEntries(targetStatNames.map((name, index) => [name, index])) as Readonly<
  Record<TargetStatName, number>
>;

/** How many rows there are: the targets of all backends. */
export function targetCount(settings: RelaySettings): number {
  return settings.backends.reduce((sum, { targets }) => sum + targets.length, 0);
}

/** Shared memory for what one worker counts of a generation with these targets. */
export function createTargetStats(settings: RelaySettings): SharedArrayBuffer {
  return new SharedArrayBuffer(Math.max(1, targetCount(settings)) * TARGET_STATS * Float64Array.BYTES_PER_ELEMENT);
}

/** Sums over workers, by row and name. */
export function sumTargetStats(
  workers: readonly SharedArrayBuffer[],
  settings: RelaySettings,
): Record<TargetStatName, number>[] {
  const memories = workers.map((memory) => new Float64Array(memory));
  return Array.from({ length: targetCount(settings) }, (_, row) => {
    const sum = (index: number) => memories.reduce((total, values) => total + values[row * TARGET_STATS + index]!, 0);
    return Object.fromEntries(targetStatNames.map((name, index) => [name, sum(index)])) as Record<
      TargetStatName,
      number
    >;
  });
}
