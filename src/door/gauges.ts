/** What one worker has at this moment, in shared memory: a float each, one writer (the worker), written once a turn. */

export const gaugeNames = [
  /** Connections that it has, whatever their state. */
  "connections",
  /** Those whose hello is not complete. */
  "waiting",
  /** Those that no instance takes now. */
  "held",
  /** Handoffs queued or sent, and not acknowledged. */
  "unacknowledged",
  /** Refused ones whose client has not closed yet. */
  "parting",
  /** Time since its start that it was not blocked waiting for events, in milliseconds. */
  "busy_milliseconds",
  /** The last `beat` that it was told to repeat. */
  "heartbeat",
] as const;

export type GaugeName = (typeof gaugeNames)[number];

/** Index of each gauge in the array. */
export const Gauge = Object.fromEntries(gaugeNames.map((name, index) => [name, index])) as Readonly<
  Record<GaugeName, number>
>;

/** Shared memory for one worker's gauges. */
export function createGauges(): SharedArrayBuffer {
  return new SharedArrayBuffer(gaugeNames.length * Float64Array.BYTES_PER_ELEMENT);
}

export function readGauges(memory: SharedArrayBuffer): Record<GaugeName, number> {
  const values = new Float64Array(memory);
  return Object.fromEntries(gaugeNames.map((name, index) => [name, values[index]!])) as Record<GaugeName, number>;
}
