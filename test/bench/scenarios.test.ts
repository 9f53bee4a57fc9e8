/** Scenarios of the benchmark, in rounds far too short for their figures: what they count must be right all the same. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { limitNotes } from "../../bench/load.mjs";
import { workerCounts } from "../../bench/scenarios/workers.mjs";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";

interface Table {
  readonly title: string;
  readonly columns: readonly { key: string }[];
  readonly rows: readonly {
    name: string;
    cells: Record<string, { median: number; rounds: number[] } | string | number | null>;
  }[];
}

interface Result {
  readonly tables: readonly Table[];
  readonly bounds: readonly { what: string; value: number | null; met: boolean | null }[];
  readonly saturatingRates?: Record<string, { median: number }>;
}

const folder = new Folder();
const program = join(import.meta.dirname, "../../bench/main.mjs");

async function bench(scenario: string, ...options: readonly string[]): Promise<Result> {
  const file = folder.at(`${scenario}.json`);
  const child = new Child(process.execPath, [
    program,
    scenario,
    "--quick",
    "--rounds",
    "1",
    "--json",
    file,
    ...options,
  ]);
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  const { results } = JSON.parse(readFileSync(file, "utf8")) as { results: Record<string, Result> };
  return results[scenario]!;
}

const cell = ({ rows }: Table, row: string, key: string) => {
  const found = rows.find(({ name }) => name === row)?.cells[key];
  return typeof found === "object" && found !== null ? found.median : found;
};

test("burst: all clients of a server that stands still, is killed or is not there are answered through the door", async () => {
  const { tables, bounds } = await bench("burst", "--only", "door,direct");
  expect(tables.map((table) => cell(table, "door", "answered"))).toEqual([1000, 1000, 1000]);
  expect(bounds.map(({ value, met }) => [value, met])).toEqual([
    [0, true],
    [0, true],
    [0, true],
  ]);
  // Whoever accepts by itself keeps its clients only as long as it lives.
  expect(tables.map((table) => cell(table, "direct", "answered"))).toEqual([1000, 0, 0]);
  expect(cell(tables[2]!, "direct", "others")).toBe("1,000 refused");
});

test("open: half of the saturating rate, for the door and direct accept", async () => {
  const { tables, bounds, saturatingRates } = await bench("open", "--duration", "0.3", "--only", "door,direct");
  expect(tables.map(({ title }) => title)).toEqual(["open loop at 50 % of the saturating rate"]);
  expect(tables[0]!.rows.map(({ name }) => name)).toEqual(["door", "direct"]);
  expect(cell(tables[0]!, "door", "cpu")).toBeGreaterThan(0);
  expect(cell(tables[0]!, "direct", "p99")).toBeGreaterThan(0);
  expect(Object.keys(saturatingRates!)).toEqual(["door", "direct"]);
  expect(bounds).toHaveLength(1);
  expect(bounds[0]!.value).toBeGreaterThan(0);
});

test("tls: requests of a Node server, by itself and behind the door", async () => {
  const { tables, bounds } = await bench("tls", "--duration", "0.5", "--only", "node,requests");
  expect(tables[0]!.rows.map(({ name }) => name)).toEqual(["node-direct", "node-door"]);
  expect(cell(tables[0]!, "node-direct", "rate")).toBeGreaterThan(0);
  expect(cell(tables[0]!, "node-door", "rate")).toBeGreaterThan(0);
  expect(cell(tables[0]!, "node-direct", "router")).toBeNull();
  expect(cell(tables[0]!, "node-door", "router")).toBeGreaterThan(0);
  expect(bounds.map(({ met }) => met)).toEqual([true]);
});

test("workers: doors with one and more of them, each connection answered", async () => {
  const { tables } = await bench("workers", "--duration", "0.3");
  const rows = tables[0]!.rows.map(({ name }) => name);
  expect(rows.slice(0, 2)).toEqual(["1", "2"]);
  expect(rows.map((row) => cell(tables[0]!, row, "failed"))).toEqual(rows.map(() => 0));
  expect(cell(tables[0]!, "1", "busiest")).toBe(100);
});

test("idle: thousands of established connections cost the door no descriptor, and the server one each", async () => {
  const { tables, bounds } = await bench("idle", "--only", "door");
  expect(cell(tables[0]!, "door", "routerDescriptors")).toBe(0);
  expect(cell(tables[0]!, "door", "serverDescriptors")).toBe(1);
  expect(cell(tables[0]!, "door", "lost")).toBe(0);
  expect(bounds[1]).toMatchObject({ value: 0, met: true });
});

test.each([
  [1, [1, 2]],
  [2, [1, 2]],
  [3, [1, 2, 3]],
  [6, [1, 2, 4, 6]],
  [96, [1, 2, 4, 8]],
])("workers: on %i cores doors with %j", (cores, counts) => {
  expect(workerCounts(cores)).toEqual(counts);
});

test("a table says in how many rounds the generator was the limit", () => {
  const use = (limit: "none" | "generator" | "cores") => ({ busyShare: 1, cpuShare: 1, limit });
  expect(limitNotes([use("none")])).toEqual([]);
  const notes = limitNotes([use("none"), use("generator"), use("cores"), use("cores")]);
  expect(notes).toHaveLength(2);
  expect(notes[0]).toContain("was the limit in 1 of 4 rounds");
  expect(notes[1]).toContain("had to wait for a core in 2 of 4 rounds");
});
