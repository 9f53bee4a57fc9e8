/** The benchmark's report: tables in the terminal, the page, what changed between two runs. */
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { parseHTML } from "linkedom";
import { afterAll, beforeAll, expect, test } from "vitest";
import { atLeast, atMost } from "../../bench/bound.mjs";
import { compare, comparisonText } from "../../bench/report/compare.mjs";
import * as drawing from "../../bench/report/drawing.mjs";
import { mannWhitney } from "../../bench/report/mann-whitney.mjs";
import { pageText } from "../../bench/report/page.mjs";
import { cellText, column, figureText, uniform } from "../../bench/report/result.mjs";
import { tableText } from "../../bench/report/terminal.mjs";
import { summarize } from "../../bench/stats.mjs";
import { sniHandoff } from "../support/command-line.js";

let folder: string;

beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "report-"));
});

afterAll(async () => {
  await rm(folder, { recursive: true });
});

const machine = {
  ...{ date: "2026-11-28T12:00:00.000Z", kernel: "6.18.0", cpu: "Some <fast> & good CPU", cores: 2 },
  ...{
    memory: 24 * 2 ** 30,
    node: "v20.20.2",
    version: "0.1.0",
    loadAverage: 0.1,
    command: "sni-handoff bench handoff",
  },
};

const SEVEN = [18, 18.5, 17.9, 18.2, 19, 18.1, 18.3];
const times = (factor: number, rounds = SEVEN) => summarize(rounds.map((value) => value * factor));

/** A report of one table; `factor` of the door's CPU time and rate to those of the other runs. */
const report = (factor = 1, more: Partial<Parameters<typeof uniform>[0]> = {}) => ({
  machine,
  interrupted: false,
  results: {
    handoff: {
      description: "what it costs",
      ...uniform({
        tables: [
          {
            title: "hello of 517 bytes, 64 clients",
            note: "A <note>.",
            columns: [
              column("cpu", "router CPU", { unit: "µs/conn", better: "less", digits: 1, range: true }),
              column("rate", "connections", { unit: "conn/s", better: "more", digits: 0 }),
              column("wakes", "wakes/conn", { digits: 2 }),
              column("words", "what it is"),
            ],
            rows: [
              {
                ...{ name: "door", label: "door", ours: true },
                cells: { cpu: times(factor), rate: times(1000 * factor), wakes: 0.25, words: "ours" },
              },
              {
                ...{ name: "nginx", label: "nginx, ssl_preread" },
                cells: { cpu: times(4), rate: times(800), wakes: 1, words: "a peer" },
              },
              {
                ...{ name: "direct", label: "direct accept", router: false },
                cells: { cpu: null, rate: times(1100), wakes: null, words: "none" },
              },
            ],
          },
        ],
        bounds: [atMost("door / nginx, CPU", factor / 4, 0.3, ""), atLeast("rate", null, 1, "")],
        configurations: [{ name: "nginx 1.22", text: "worker_processes 1; # <one>\n" }],
        ...more,
      }),
    },
  },
});

test("a table for the terminal has titles, units, figures with the least and the most where asked for, and its note", () => {
  expect(tableText(report().results.handoff.tables[0])).toBe(
    [
      "hello of 517 bytes, 64 clients",
      "                             router CPU  connections  wakes/conn  what it is",
      "                                µs/conn       conn/s",
      `  ${"─".repeat(74)}`,
      "  door                18.2 (17.9..19.0)       18,200        0.25        ours",
      "  nginx, ssl_preread  72.8 (71.6..76.0)       14,560        1.00      a peer",
      "  direct accept                       –       20,020           –        none",
      "  A <note>.",
      "",
      "",
    ].join("\n"),
  );
});

test("figures without digits of their own have three, and whole ones none behind the point", () => {
  expect([0, 7, 1234567, 123.4, 18.24, 1.234, 0.1234, 0.00123].map((value) => figureText(value))).toEqual([
    ...["0", "7", "1,234,567", "123", "18.2", "1.23", "0.123", "0.0012"],
  ]);
  expect(cellText(summarize([14, 13.3, 15]), column("key", "title"), true)).toBe("14.0 (13.3..15.0)");
});

test.each([
  {
    why: "all of one side above all of the other: 2 of 252 choices",
    a: [1, 2, 3, 4, 5],
    b: [6, 7, 8, 9, 10],
    p: 2 / 252,
  },
  { why: "the same, either way round", a: [6, 7, 8, 9, 10], b: [1, 2, 3, 4, 5], p: 2 / 252 },
  { why: "three rounds can never tell much: 2 of 20", a: [1, 2, 3], b: [4, 5, 6], p: 0.1 },
  { why: "as mixed as can be", a: [1, 4], b: [2, 3], p: 1 },
  { why: "all equal", a: [5, 5, 5], b: [5, 5, 5], p: 1 },
  { why: "nothing to compare with", a: [], b: [1], p: 1 },
  {
    why: "equal figures share a rank: 4 of 70 choices are as far out",
    a: [1, 2, 2, 3],
    b: [3, 4, 5, 6],
    p: 4 / 70,
  },
])("Mann-Whitney: $why", ({ a, b, p }) => {
  expect(mannWhitney(a, b)).toBeCloseTo(p, 10);
});

test("Mann-Whitney of many rounds is the normal distribution's, close to the exact one", () => {
  const odd = Array.from({ length: 20 }, (_, index) => 2 * index + 1);
  const exact = mannWhitney(
    odd,
    odd.map((value) => value + 9.5),
  );
  const approximate = mannWhitney(
    [...odd, 20.2],
    odd.map((value) => value + 9.5),
  );
  expect(exact).toBeGreaterThan(0.005);
  expect(Math.abs(approximate - exact)).toBeLessThan(0.02);
});

test("compare tells what got better and worse, and leaves alone what only scatters", () => {
  expect(compare(report(), report(1.005)).changes).toEqual([]);
  const { changes, compared } = compare(report(), report(1.2));
  expect(compared).toBe(5);
  expect(changes.map(({ row, figure, better, once }) => ({ row, figure, better, once }))).toEqual([
    { row: "door", figure: "router CPU, µs/conn", better: false, once: false },
    { row: "door", figure: "connections, conn/s", better: true, once: false },
  ]);
  expect(comparisonText(report(), report(1.2))).toContain("+20.0 %   WORSE\n");
  expect(comparisonText(report(), report(1.2))).toContain("2 of 5 figures changed beyond noise, 1 for the worse.\n");
});

test("with too few rounds for ranks a change is one that none of the rounds contradicts", () => {
  const of = (rounds: number[]) => {
    const made = report();
    made.results.handoff.tables[0].rows[0].cells.cpu = summarize(rounds);
    return made;
  };
  expect(compare(of([10, 11, 12]), of([13, 14, 15])).changes).toHaveLength(1);
  expect(compare(of([10, 11, 13]), of([12, 14, 15])).changes).toEqual([]);
  expect(compare(of([10]), of([10.9])).changes).toEqual([]);
  expect(compare(of([0, 0, 0]), of([5, 6, 7])).changes).toMatchObject([
    { ratio: Number.POSITIVE_INFINITY, better: false },
  ]);
});

test("compare says which rows, scenarios and bounds are not the same, and what makes the runs hard to compare", () => {
  const after = { ...report(), machine: { ...machine, kernel: "6.19.0" }, interrupted: true };
  after.results.handoff.tables[0].rows[1].name = "haproxy";
  after.results.handoff.bounds = [atMost("door / nginx, CPU", 0.5, 0.3, "")];
  const text = comparisonText(report(), { ...after, results: { ...after.results, idle: after.results.handoff } });
  expect(text).toContain("not the same kernel: 6.18.0, 6.19.0\n");
  expect(text).toContain("the run after was interrupted\n");
  expect(text).toContain("only before: handoff: hello of 517 bytes, 64 clients: nginx, ssl_preread\n");
  expect(text).toContain("only after: idle\n");
  expect(text).toContain("handoff: door / nginx, CPU: was met, is NOT MET\n");
});

test("the page has everything in it, asks the network for nothing, and holds no markup of others", () => {
  const text = pageText(report(), drawing);
  expect(text).not.toMatch(/<script|\bsrc=|<link|@import|url\(/i);
  expect(text).toContain("default-src 'none'");
  expect(text).toContain("prefers-color-scheme: dark");
  const { document } = parseHTML(text);
  const words = document.body.textContent ?? "";
  for (const part of [
    "Some <fast> & good CPU",
    "sni-handoff bench handoff",
    "Linux 6.18.0",
    "A <note>.",
    "# <one>",
    "17.9 – 19.0",
  ]) {
    expect(words).toContain(part);
  }
  // Two columns are better one way or the other; each is drawn for two widths.
  expect([...document.querySelectorAll("figcaption")].map((each) => each.textContent)).toEqual([
    "router CPU: less is better",
    "connections: more is better",
  ]);
  expect(document.querySelectorAll("figure svg")).toHaveLength(4);
  expect([...document.querySelectorAll(".bounds tbody td:last-child")].map((each) => each.textContent)).toEqual([
    ...["met", "not measured"],
  ]);
});

test("a chart names every row that has a figure once, and its axis with the unit", () => {
  const [table] = report().results.handoff.tables;
  for (const drawn of [
    { width: 540, narrow: false },
    { width: 330, narrow: true },
  ]) {
    const { document } = parseHTML(`<html><body>${drawing.chart(table, table.columns[0], drawn)}</body></html>`);
    const texts = [...document.querySelectorAll("svg text")].map((each) => each.textContent);
    expect(texts.filter((text) => /door|nginx|direct/.test(text ?? ""))).toEqual(["door", "nginx, ssl_preread"]);
    expect(texts).toContain("router CPU, µs/conn");
    expect(texts).toContain("18.2");
    expect(document.querySelectorAll("svg rect")).toHaveLength(2);
  }
});

test("a table with an x axis is drawn as lines, one for each series", () => {
  const table = {
    title: "names",
    x: { title: "names", log: true },
    columns: [column("cpu", "router CPU", { unit: "µs/conn", better: "less" })],
    rows: ["exact", "wildcard"].flatMap((series) =>
      [1, 1000, 1_000_000].map((x) => ({
        ...{ name: `${series} ${x}`, label: `${series} ${x}`, point: { series, x } },
        cells: { cpu: times(1) },
      })),
    ),
  };
  const text = pageText(report(1, { tables: [table] }), drawing);
  const { document } = parseHTML(text);
  expect(document.querySelectorAll("figure .wide svg [aria-label=line] path")).toHaveLength(2);
  expect([...document.querySelectorAll("ul.legend li")].map((each) => each.textContent?.trim())).toEqual([
    ...["exact", "wildcard"],
  ]);
  expect([...document.querySelectorAll("figure .wide svg text")].map((each) => each.textContent)).toContain("1M");
});

test("the bundle of an installed package draws the same", async () => {
  const script = fileURLToPath(new URL("../../bench/report/bundle.mjs", import.meta.url));
  await promisify(execFile)(process.execPath, [script, folder]);
  const bundled = await import(pathToFileURL(join(folder, "drawing.mjs")).href);
  expect(pageText(report(), bundled)).toBe(pageText(report(), drawing));
  expect(await readFile(join(folder, "drawing.LICENSES"), "utf8")).toContain("@observablehq/plot");
});

test("bench writes both files, of all scenarios that it was asked for, and compare reads what it wrote", async () => {
  const [json, html] = [join(folder, "run.json"), join(folder, "run.html")];
  const run = ["bench", "log", "handoff", "--quick", "--only", "off,direct", "--rounds", "2", "--duration", "0.1"];
  const { status, stderr } = await sniHandoff([...run, "--json", json, "--html", html]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const { document } = parseHTML(await readFile(html, "utf8"));
  expect([...document.querySelectorAll("section[id]")].map(({ id }) => id)).toEqual(["log", "handoff"]);
  const same = await sniHandoff(["bench", "compare", json, json]);
  expect(same.stdout).toMatch(/0 of \d+ figures changed beyond noise\.\n$/);
  expect(same.status).toBe(0);
});

test("a file that cannot be written is told before anything is measured", async () => {
  const missing = join(folder, "no-such-folder", "run.html");
  const begun = performance.now();
  expect(await sniHandoff(["bench", "handoff", "--html", missing])).toMatchObject({
    ...{ status: 2, stdout: "", stderr: `--html ${missing}: it cannot be written (ENOENT)\n` },
  });
  expect(await sniHandoff(["bench", "handoff", "--json", folder])).toMatchObject({
    ...{ status: 2, stdout: "", stderr: `--json ${folder}: this is a folder; it must be a file\n` },
  });
  expect(performance.now() - begun).toBeLessThan(20_000);
});

test("compare says what is wrong with a file", async () => {
  const [text, other] = [join(folder, "text.json"), join(folder, "other.json")];
  await writeFile(text, "hello");
  await writeFile(other, '{"results":{"handoff":{"cases":[]}}}');
  const complaint = async (...files: string[]) => {
    const { status, stderr } = await sniHandoff(["bench", "compare", ...files]);
    expect(status).toBe(2);
    return stderr;
  };
  expect(await complaint(text)).toContain("compare takes two files of --json");
  expect(await complaint(text, other)).toContain(`${text}: this is no JSON (`);
  expect(await complaint(other, other)).toBe(
    `${other}: this is no file that this version's bench --json has written\n`,
  );
  expect(await complaint(join(folder, "none.json"), other)).toContain("ENOENT");
});
