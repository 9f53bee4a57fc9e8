import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { formatProblem } from "../../src/errors.js";
import { MAX_LINE_LENGTH, MapCounter, MapParser } from "../../src/routing/map-file.js";
import { RouteTable, RouteTableBuilder } from "../../src/routing/table.js";
import { bytesOf, configuredName } from "./support.js";

const backends = new Map([
  ["app", 0],
  ["pool", 1],
  ["bücher", 2],
]);

function parse(chunks: readonly Uint8Array[], known: ReadonlyMap<string, number> = backends) {
  const counter = new MapCounter();
  for (const chunk of chunks) counter.push(chunk);
  counter.end();
  const builder = new RouteTableBuilder(counter, 1);
  const parser = new MapParser({ file: "tenants.map", backends: known, builder });
  for (const chunk of chunks) parser.push(chunk);
  parser.end();
  const table = new RouteTable(builder.finish());
  return {
    counter,
    names: parser.names,
    errors: parser.errors.map(formatProblem),
    warnings: parser.warnings.map(formatProblem),
    target: (key: string) => table.findKey(bytesOf(key), 0, bytesOf(key).length),
  };
}

const parseText = (text: string) => parse([bytesOf(text)]);

describe("MapParser", () => {
  it("reads names and backends", () => {
    const map = parseText("a.example app\n*.b.example pool\nC.Example. bücher\n");
    expect(map).toMatchObject({ names: 3, errors: [], warnings: [] });
    expect(map.target("a.example")).toBe(0);
    expect(map.target(".b.example")).toBe(1);
    expect(map.target("c.example")).toBe(2);
  });

  const tolerated: readonly [what: string, text: string][] = [
    ["no newline at the end", "a.example app"],
    ["CRLF", "a.example app\r\n"],
    ["CRLF, and CR at the end", "\r\na.example app\r"],
    ["blank lines", "\n\n  \n\t\na.example app\n\n"],
    ["comments", "# one\n  # two\na.example app # three\n#"],
    ["a comment that ends in CR", "#\r\na.example\tapp\t#\r\n"],
    ["blanks around fields", " \t a.example \t app \t \n"],
    ["a byte order mark", "\ufeffa.example app\n"],
    ["a byte order mark before a comment", "\ufeff# map\na.example app\n"],
    ["comments of any length", `#${"x".repeat(3 * MAX_LINE_LENGTH)}\na.example app\n`],
    ["the longest line", `a.example app #${"x".repeat(MAX_LINE_LENGTH - 15)}\n`],
  ];
  it.each(tolerated)("tolerates %s", (_, text) => {
    const map = parseText(text);
    expect(map).toMatchObject({ names: 1, errors: [], warnings: [] });
    expect(map.target("a.example")).toBe(0);
  });

  it.each(["", "\n", "# nothing", "\ufeff", "\r\n \r\n"])("reads %j as an empty map", (text) => {
    expect(parseText(text)).toMatchObject({ names: 0, errors: [], warnings: [] });
  });

  const refused: readonly [line: string, column: number, says: string, why: string][] = [
    ["a.example", 1, 'found "a.example" without a backend', "half a line"],
    ["  a.example # app", 3, 'found "a.example" without a backend', "the backend is commented out"],
    ["a.example app pool", 15, 'found "pool" behind the backend', "one backend a name"],
    [
      "a.example nope",
      11,
      'found backend "nope", which is not configured; configured are "app", "pool", "bücher"',
      "a typo",
    ],
    ["a.example app;", 11, "without the semicolon", "nginx's maps have one"],
    ["a.example App", 11, 'found backend "App"', "backends are told apart by case"],
    ["a.*.example app", 1, "whole first label", "names are judged as everywhere"],
    ["* app", 1, '"default:"', "the default is configured elsewhere"],
    ["bücher.example app", 1, 'write "xn--bcher-kva.example"', "the A-label is told"],
    ["a.example=app", 1, "without a backend", "other separators are not"],
    [`${"a".repeat(MAX_LINE_LENGTH)} app`, 1, `longer than ${MAX_LINE_LENGTH} bytes`, "no line is so long"],
    ["\ufeffa.example app", 1, "(U+FEFF)", "a byte order mark has its place in front of the file only"],
    [`a.example app${" ".repeat(MAX_LINE_LENGTH)}`, 1, `longer than ${MAX_LINE_LENGTH} bytes`, "even of blanks"],
  ];
  it.each(refused)("refuses %j at column %d: %s (%s)", (line, column, says) => {
    const map = parseText(`one.example app\n\n${line}\ntwo.example pool\n`);
    expect(map.errors).toHaveLength(1);
    expect(map.errors[0]).toContain(`tenants.map:3:${column}: `);
    expect(map.errors[0]).toContain(says);
    expect(map.names, "other lines are not affected").toBe(2);
    expect(map.target("two.example")).toBe(1);
  });

  it("warns about a name that is listed twice with the same backend", () => {
    const map = parseText("a.example app\nA.EXAMPLE. app\n");
    expect(map.warnings).toEqual(['tenants.map:2:1: "a.example" is routed to this backend already']);
    expect(map).toMatchObject({ names: 1, errors: [] });
  });

  it("refuses a name that is listed with two backends, and keeps the first", () => {
    const map = parseText("*.a.example app\n*.a.example pool\n");
    expect(map.errors).toEqual(['tenants.map:2:1: "*.a.example" is routed to backend "app" already']);
    expect(map.target(".a.example")).toBe(0);
  });

  it("tells names and wildcards apart", () => {
    expect(parseText("a.example app\n*.a.example pool\n")).toMatchObject({ names: 2, errors: [], warnings: [] });
  });

  it("tells the first hundred errors of very many, and how many more there are", () => {
    const map = parseText("nope\n".repeat(1000));
    expect(map.errors).toHaveLength(101);
    expect(map.errors[99]).toContain("tenants.map:100:1: ");
    expect(map.errors[100]).toContain("900 more errors");
  });

  it("does not list hundreds of backends", () => {
    const many = new Map(Array.from({ length: 500 }, (_, i) => [`b${i}`, i]));
    const map = parse([bytesOf("a.example nope\n")], many);
    expect(map.errors[0]).toContain('"b7" and 492 more');
  });

  it("says so when no backend is configured at all", () => {
    expect(parse([bytesOf("a.example app\n")], new Map()).errors[0]).toContain("configured are none");
  });

  const line = fc.oneof(
    {
      weight: 5,
      arbitrary: fc.tuple(configuredName, fc.constantFrom("app", "pool", "bücher", "x")).map((f) => f.join(" ")),
    },
    { weight: 1, arbitrary: fc.constantFrom("", "#", "  # x y z", "a", "a app # b", "a b c", "é app", "\ufeff", "\r") },
    { weight: 1, arbitrary: fc.string() },
    {
      weight: 1,
      arbitrary: fc
        .tuple(fc.constantFrom("#", "a app ", " ", "x"), fc.integer({ min: -3, max: 3 }), fc.constantFrom(" ", "x"))
        .map(([front, n, fill]) => front.padEnd(MAX_LINE_LENGTH + n, fill)),
    },
  );
  const mapText = fc
    .tuple(fc.array(line, { maxLength: 30 }), fc.constantFrom("\n", "\r\n"), fc.boolean())
    .map(([lines, newline, last]) => lines.join(newline) + (last ? newline : ""));

  it("gives the same result wherever chunks end", () => {
    fc.assert(
      fc.property(mapText, fc.array(fc.nat(), { maxLength: 20 }), (text, cuts) => {
        const bytes = bytesOf(text);
        const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
        const chunks = ends.map((end, i) => bytes.subarray(ends[i - 1] ?? 0, end));
        const { target: _, ...expected } = parse([bytes]);
        expect(parse(chunks)).toMatchObject(expected);
      }),
      { numRuns: 300 },
    );
  });

  it("gives the same result byte by byte", () => {
    fc.assert(
      fc.property(mapText, (text) => {
        const bytes = bytesOf(text);
        const { target: _, ...expected } = parse([bytes]);
        expect(parse(Array.from(bytes, (_, i) => bytes.subarray(i, i + 1)))).toMatchObject(expected);
      }),
      { numRuns: 30 },
    );
  });

  it("judges a line that is too long by its beginning, wherever chunks end", () => {
    const bytes = bytesOf(`${" ".repeat(MAX_LINE_LENGTH + 1)}# comment\n`);
    const error = `tenants.map:1:1: the line is longer than ${MAX_LINE_LENGTH} bytes`;
    expect(parse([bytes]).errors).toEqual([error]);
    expect(parse([bytes.subarray(0, 9), bytes.subarray(9)]).errors).toEqual([error]);
    expect(parse([bytes.subarray(0, -1), bytes.subarray(-1)]).errors).toEqual([error]);
  });

  it("leaves the bytes that it reads as they are", () => {
    const bytes = bytesOf("A.Example. app\n");
    const before = bytes.slice();
    parse([bytes]);
    expect(bytes).toEqual(before);
  });
});

describe("MapCounter", () => {
  it("counts names and their bytes, comments left out", () => {
    const map = parseText("# one\n\n a.example app\n  # two\nb.example\tpool # three\n");
    expect([map.counter.names, map.counter.nameBytes]).toEqual([2, 18]);
  });

  it("adds several files up, whether they end with a newline or not", () => {
    const counter = new MapCounter();
    for (const text of ["a app", "b app\n", "c app"]) {
      counter.push(bytesOf(text));
      counter.end();
    }
    expect([counter.names, counter.nameBytes]).toEqual([3, 3]);
  });

  it("is never less than what the map adds", () => {
    const lines = fc.array(fc.tuple(configuredName, fc.constantFrom("", "#", " ", "\r")), { maxLength: 50 });
    fc.assert(
      fc.property(lines, (lines) => {
        const map = parseText(lines.map(([name, rest]) => `${name} app${rest}\n`).join(""));
        expect(map.counter.names).toBeGreaterThanOrEqual(map.names);
        expect(map.counter.nameBytes).toBe(lines.reduce((sum, [name]) => sum + name.length, 0));
      }),
    );
  });
});
