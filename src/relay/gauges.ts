/** What one worker of the relay has at this moment, in shared memory: a float each, one writer, written once a turn. */

export const relayGaugeNames = [
  /** Connections that it has, whatever their state. */
  "connections",
  /** Those that a target has been found for. */
  "established",
  /** Those for which a target is sought. */
  "dialing",
  /** Refused ones whose client has not closed yet. */
  "parting",
  /** Pipes that are open, and those of them that bytes are in. */
  "pipes",
  "pipes_in_use",
  /** Time since its start that it was not blocked waiting for events, in milliseconds. */
  "busy_milliseconds",
  /** The last `beat` that it was told to repeat. */
  "heartbeat",
] as const;

export type RelayGaugeName = (typeof relayGaugeNames)[number];

/** Index of each gauge in the array. */
export const RelayGauge = Object.fromEntries(relayGaugeNames.map((name, index) => [name, index])) as Readonly<
  Record<RelayGaugeName, number>
>;

/** Shared memory for one worker's gauges. */
export function createRelayGauges(): SharedArrayBuffer {
  return new SharedArrayBuffer(relayGaugeNames.length * Float64Array.BYTES_PER_ELEMENT);
}

export function readRelayGauges(memory: SharedArrayBuffer): Record<RelayGaugeName, number> {
  const values = new Float64Array(memory);
  return Object.fromEntries(relayGaugeNames.map((name, index) => [name, values[index]!])) as Record<
    RelayGaugeName,
    number
  >;
}
