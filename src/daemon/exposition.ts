/** Totals and gauges in the text format of Prometheus. */
import type { Metric } from "prom-client";

export type Labels = Readonly<Record<string, string | number>>;
export type Sample = readonly [labels: Labels, value: number];

export interface Value {
  readonly labels: Labels;
  readonly value: number;
  /** The metric's name with a histogram's suffix. */
  readonly metricName?: string;
}

type Write = (name: string, help: string, samples: readonly Sample[] | number) => void;

export interface Writer {
  readonly counter: Write;
  readonly gauge: Write;
  readonly histogram: (name: string, help: string, values: readonly Value[]) => void;
}

/**
 * What `write` writes. The counts are totals already, which prom-client's counters cannot be set to: each rendering fills
 * a registry of its own. prom-client is loaded at the first use: serving does not need it.
 */
export async function exposition(write: (writer: Writer) => void): Promise<{ contentType: string; text: string }> {
  const { Registry } = await import("prom-client");
  const registry = new Registry();
  const add = (type: string, name: string, help: string, values: readonly Value[]) => {
    const metric = { name, help, type, aggregator: "sum", get: async () => ({ name, help, type, values }) };
    registry.registerMetric(metric as unknown as Metric);
  };
  const put = (type: "counter" | "gauge") => (name: string, help: string, samples: readonly Sample[] | number) => {
    const all: readonly Sample[] = typeof samples === "number" ? [[{}, samples]] : samples;
    add(
      type,
      name,
      help,
      all.map(([labels, value]) => ({ labels, value })),
    );
  };
  write({
    counter: put("counter"),
    gauge: put("gauge"),
    histogram: (name, help, samples) => add("histogram", name, help, samples),
  });
  return { contentType: registry.contentType, text: await registry.metrics() };
}
