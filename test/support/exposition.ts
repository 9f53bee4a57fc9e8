/**
 * A strict reader of the text format of Prometheus, version 0.0.4:
 * https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
 */

export interface Family {
  readonly type: string;
  readonly help: string;
  readonly samples: Sample[];
}

export interface Sample {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
}

const COMMENT = /^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.+)$/;
const SAMPLE = /^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (-?[0-9.]+(?:e[+-]?[0-9]+)?|[+-]Inf|NaN)$/;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\["\\n])*)"(?:,|$)/y;

/** Families by name. Throws with the line that breaks a rule. */
export function parseExposition(text: string): Map<string, Family> {
  if (!text.endsWith("\n")) throw new Error("the last line has no end");
  const families = new Map<string, Family>();
  const seen = new Set<string>();
  let help: readonly string[] = [];
  let current = "";
  for (const line of text.slice(0, -1).split("\n")) {
    const fail = (why: string) => new Error(`${why}: ${line}`);
    if (line === "") continue;
    const comment = COMMENT.exec(line);
    if (comment !== null) {
      const [, kind, name, rest] = comment as unknown as [string, string, string, string];
      if (families.has(name)) throw fail("a family twice");
      if (kind === "HELP") {
        help = [name, rest];
      } else {
        if (help[0] !== name) throw fail("TYPE without HELP before it");
        if (!["counter", "gauge", "histogram"].includes(rest)) throw fail("unknown type");
        families.set(name, { type: rest, help: help[1]!, samples: [] });
        current = name;
      }
      continue;
    }
    const match = SAMPLE.exec(line);
    if (match === null) throw fail("neither comment nor sample");
    const [, name, labels, value] = match as unknown as [string, string, string | undefined, string];
    const family = families.get(current);
    const suffix = name.startsWith(current) ? name.slice(current.length) : undefined;
    const suffixes = family?.type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
    if (family === undefined || suffix === undefined || !suffixes.includes(suffix)) throw fail("outside its family");
    const sample = { name, labels: parseLabels(labels ?? "", fail), value: Number(value.replace("Inf", "Infinity")) };
    const series = JSON.stringify([name, Object.entries(sample.labels).sort()]);
    if (seen.has(series)) throw fail("a series twice");
    seen.add(series);
    family.samples.push(sample);
  }
  return families;
}

function parseLabels(text: string, fail: (why: string) => Error): Record<string, string> {
  const labels: Record<string, string> = {};
  LABEL.lastIndex = 0;
  while (LABEL.lastIndex < text.length) {
    const match = LABEL.exec(text);
    if (match === null) throw fail("malformed labels");
    const [, name, value] = match as unknown as [string, string, string];
    if (name in labels) throw fail("a label twice");
    labels[name] = value.replace(/\\(.)/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
  }
  return labels;
}
