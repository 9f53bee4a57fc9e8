/** What limits and gauges say once no connection is left. */
import { expect } from "vitest";
import type { Workers } from "../../dist/daemon/workers.js";
import { RATES_BYTES } from "../../src/door/client-sketch.js";
import { type GaugeName, gaugeNames, readGauges } from "../../src/door/gauges.js";
import { until } from "./wait.js";

/** Sums of the workers' gauges. */
export function sumGauges({ memories }: Workers): Record<GaugeName, number> {
  const workers = memories.map(({ gauges }) => readGauges(gauges));
  const sum = (name: GaugeName) => workers.reduce((total, gauges) => total + gauges[name], 0);
  return Object.fromEntries(gaugeNames.map((name) => [name, sum(name)])) as Record<GaugeName, number>;
}

/** Resolves when no connection is left. By then, limits and gauges must have been given back all that was counted. */
export async function expectNothingCounted(workers: Workers, backends: number): Promise<void> {
  await until("no connection to be left", () => sumGauges(workers).connections === 0);
  const { sketch } = workers;
  const words = new Int32Array(sketch, 0, (sketch.byteLength - RATES_BYTES) / Int32Array.BYTES_PER_ELEMENT);
  // Before the counts are the key, and before the clients' counts the times when limits were hit (door/limits.ts).
  expect([...words].filter((count, i) => count !== 0 && ((i >= 16 && i < 64) || i >= 128))).toEqual([]);
  for (let backend = 0; backend < backends; backend++) expect(workers.held(backend)).toBe(0);
  expect(sumGauges(workers)).toMatchObject({ connections: 0, waiting: 0, held: 0, unacknowledged: 0, parting: 0 });
}
