/** examples/monitoring: what it asks for is what the door and the relay tell. */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { beforeAll, describe, expect, test } from "vitest";
import { parse } from "yaml";
import { renderMetrics } from "../../src/daemon/metrics.js";
import { renderRelayMetrics } from "../../src/daemon/relay/metrics.js";
import { parseExposition } from "../support/exposition.js";
import { metricsSource } from "../support/metrics-source.js";
import { someRelayStatus } from "../support/some-relay-status.js";

const read = (name: string) =>
  readFileSync(fileURLToPath(new URL(`../../examples/monitoring/${name}`, import.meta.url)), "utf8");

interface Rule {
  readonly alert: string;
  readonly expr: string;
  readonly for?: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
}

interface Target {
  readonly expr: string;
  readonly legendFormat: string;
  readonly datasource: { readonly uid: string };
}

interface Dashboard {
  readonly title: string;
  readonly templating: { readonly list: readonly { name: string; type: string; definition?: string }[] };
  readonly panels: readonly {
    readonly id: number;
    readonly title: string;
    readonly gridPos: { readonly x: number; readonly y: number; readonly w: number; readonly h: number };
    readonly targets: readonly Target[];
  }[];
}

/** Label names that each series has, with their values; by the name as queried (`_bucket` included). */
const series = new Map<string, Map<string, Set<string>>>();

beforeAll(async () => {
  const texts = [(await renderMetrics(metricsSource())).text, (await renderRelayMetrics(someRelayStatus())).text];
  for (const family of texts.flatMap((text) => [...parseExposition(text).values()])) {
    for (const { name, labels } of family.samples) {
      // Prometheus adds the target's labels.
      const known =
        series.get(name) ??
        new Map([
          ["job", new Set<string>()],
          ["instance", new Set<string>()],
        ]);
      series.set(name, known);
      for (const [label, value] of Object.entries(labels)) {
        known.set(label, (known.get(label) ?? new Set()).add(value));
      }
    }
  }
});

const NAME = "(?:sni_handoff|process)_[a-z0-9_]+";

/** What an expression names and neither has. */
function unknownIn(expression: string): string[] {
  const faults: string[] = [];
  const labelsOfAll = new Set<string>();
  for (const [, name, matchers] of expression.matchAll(new RegExp(`\\b(${NAME})\\b(?:\\{([^}]*)\\})?`, "g"))) {
    const labels = series.get(name!);
    if (labels === undefined) faults.push(name!);
    for (const label of labels?.keys() ?? []) labelsOfAll.add(label);
    for (const [, label, operator, pattern] of (matchers ?? "").matchAll(/([a-z_]+)\s*(=~|!~|!=|=)\s*"([^"]*)"/g)) {
      const values = labels?.get(label!);
      if (values === undefined) faults.push(`${name}{${label}}`);
      // Reasons, states and results are the door's own words; other values are the user's.
      if (!["reason", "state", "result"].includes(label!)) continue;
      const words = operator!.includes("~") ? pattern!.split("|") : [pattern!];
      faults.push(...words.filter((word) => !values?.has(word)).map((word) => `${name}{${label}="${word}"}`));
    }
  }
  for (const [, list] of expression.matchAll(/\b(?:by|on|without|ignoring|group_left)\s*\(([^)]*)\)/g)) {
    const named = list!.split(",").map((label) => label.trim());
    faults.push(...named.filter((label) => label !== "" && !labelsOfAll.has(label)).map((label) => `(${label})`));
  }
  return faults;
}

/** Labels that the result of `sum by (…)` or of a plain series has, as a template uses them. */
function unknownLabels(expression: string, template: string, reference: RegExp): string[] {
  const by = /^\s*[a-z_]+(?:\(\d.*?,\s*sum)?\s*by\s*\(([^)]*)\)/.exec(expression)?.[1];
  const metric = new RegExp(NAME).exec(expression)?.[0] ?? "";
  const has = by?.split(",").map((label) => label.trim()) ?? [...(series.get(metric)?.keys() ?? [])];
  return [...template.matchAll(reference)].map(([, label]) => label!).filter((label) => !has.includes(label));
}

function brackets(expression: string): number {
  let depth = 0;
  for (const character of expression.replace(/"[^"]*"/g, "")) {
    if ("([{".includes(character)) depth++;
    if (")]}".includes(character)) depth--;
    if (depth < 0) return depth;
  }
  return depth;
}

describe("alerts.yaml", () => {
  const rules = (parse(read("alerts.yaml")) as { groups: { rules: Rule[] }[] }).groups.flatMap(({ rules }) => rules);

  test("has rules with different names, and each says what to do", () => {
    expect(rules.length).toBeGreaterThan(10);
    expect(new Set(rules.map(({ alert }) => alert)).size).toBe(rules.length);
    for (const { alert, labels, annotations, ...rest } of rules) {
      expect(alert).toMatch(/^SniHandoff[A-Z][A-Za-z]+$/);
      expect(labels.severity).toMatch(/^(warning|critical)$/);
      expect(Object.keys(annotations)).toEqual(["summary", "description"]);
      expect(annotations.description).toMatch(/\.$/);
      expect(rest.for ?? "0s").toMatch(/^\d+[smh]$/);
    }
  });

  test.each(rules)("$alert asks for what there is", ({ expr, annotations }) => {
    expect(unknownIn(expr)).toEqual([]);
    expect(brackets(expr)).toBe(0);
    const text = Object.values(annotations).join(" ");
    expect(unknownLabels(expr, text, /\{\{\s*\$labels\.([a-z_]+)\s*\}\}/g)).toEqual([]);
  });
});

describe("grafana-dashboard.json", () => {
  const dashboard = JSON.parse(read("grafana-dashboard.json")) as Dashboard;
  const { panels, templating } = dashboard;

  test("reads from a Prometheus that is chosen, not from one that is built in", () => {
    expect(templating.list[0]).toMatchObject({ name: "datasource", type: "datasource" });
    const sources = panels.flatMap(({ targets }) => targets.map(({ datasource }) => datasource.uid));
    expect(new Set(sources)).toEqual(new Set(["${" + "datasource}"]));
  });

  test("its panels have different numbers and do not cover each other", () => {
    expect(new Set(panels.map(({ id }) => id)).size).toBe(panels.length);
    const cells = panels.flatMap(({ gridPos: { x, y, w, h } }) =>
      Array.from({ length: w * h }, (_, i) => `${x + (i % w)},${y + Math.floor(i / w)}`),
    );
    expect(new Set(cells).size).toBe(cells.length);
    expect(Math.max(...panels.map(({ gridPos: { x, w } }) => x + w))).toBe(24);
  });

  test("its variables ask for what there is, and all that are used are there", () => {
    for (const { definition = "" } of templating.list) {
      expect(unknownIn(definition.replace(/label_values\((.*), ([a-z_]+)\)/, "max by ($2) ($1)"))).toEqual([]);
    }
    const used = JSON.stringify(panels).matchAll(/\$\{?([a-z_]+)/g);
    const known = [...templating.list.map(({ name }) => name), "__rate_interval"];
    for (const [, name] of used) expect(known).toContain(name);
  });

  test.each(panels)("$title asks for what there is", ({ targets }) => {
    for (const { expr, legendFormat } of targets) {
      expect(unknownIn(expr), expr).toEqual([]);
      expect(brackets(expr), expr).toBe(0);
      expect(unknownLabels(expr, legendFormat, /\{\{([a-z_]+)\}\}/g), expr).toEqual([]);
    }
  });
});

test("the check itself finds what is not there", () => {
  expect(unknownIn("rate(sni_handoff_nothing_total[5m])")).toEqual(["sni_handoff_nothing_total"]);
  expect(unknownIn('sum by (colour) (sni_handoff_instances{state="asleep", size="1"})')).toEqual([
    'sni_handoff_instances{state="asleep"}',
    "sni_handoff_instances{size}",
    "(colour)",
  ]);
  expect(unknownLabels("sum by (backend) (x)", "{{backend}} {{state}}", /\{\{([a-z_]+)\}\}/g)).toEqual(["state"]);
  expect(brackets("sum(rate(x[5m])")).toBe(1);
});
