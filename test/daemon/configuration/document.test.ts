import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import { readDocument } from "../../../src/daemon/configuration/document.js";
import { formatPath, type Step } from "../../../src/daemon/configuration/positions.js";

const read = (text: string) => readDocument(text, "x.yaml");
/** As compilers write them. */
const problemsOf = (text: string) =>
  read(text).problems.map(({ line, column, key, message }) => `${line}:${column}: ${key}: ${message}`);
const plain = (text: string) => JSON.parse(JSON.stringify(read(text).value));

describe("YAML to values", () => {
  test("anchors, aliases and merge keys", () => {
    const text =
      "a: &x { hold: 1, b: { c: 2 } }\nd: { <<: *x, hold: 3 }\ne: *x\nf: { <<: [ { hold: 4, g: 5 }, *x ] }\n";
    expect(read(text).problems).toEqual([]);
    expect(plain(text)).toEqual({
      a: { hold: 1, b: { c: 2 } },
      d: { hold: 3, b: { c: 2 } }, // the map's own key wins
      e: { hold: 1, b: { c: 2 } },
      f: { hold: 4, g: 5, b: { c: 2 } }, // then the earlier source
    });
  });

  test("an empty file has no value and no problem", () => {
    expect(read("")).toMatchObject({ value: undefined, problems: [] });
    expect(read("# only a comment\n")).toMatchObject({ problems: [] });
  });

  test("words that YAML 1.1 took for booleans are text", () => {
    expect(plain("a: [no, off, yes, 0o17, 1_000]")).toEqual({ a: ["no", "off", "yes", 15, "1_000"] });
  });

  test("an alias of itself is reported, and ends", () => {
    expect(problemsOf("a: &x { b: *x }")).toEqual(["1:12: a.b: the alias *x contains itself"]);
  });

  test("aliases of aliases cost no more than their text", () => {
    const levels = Array.from({ length: 30 }, (_, i) => `l${i}: &l${i} [${i === 0 ? "x" : `*l${i - 1}, *l${i - 1}`}]`);
    expect(read(levels.join("\n")).problems).toEqual([]);
  });
});

describe("faults of the text", () => {
  test.each([
    [
      "a second key",
      "a: 1\nb: 2\na: 3\n",
      ["3:1: a: is a second time in this map (first on line 1); each key may be there once"],
    ],
    [
      "a second key deeper down, however it is quoted",
      "m:\n  a: 1\n  'a': 2\n",
      ["3:3: m.a: is a second time in this map (first on line 2); each key may be there once"],
    ],
    ["a number as a key", "m: { 12: x }", ['1:6: m: found 12 as a key; keys are text: write "12" in quotes']],
    ["true as a key", "true: x", ['1:1: : found true as a key; keys are text: write "true" in quotes']],
    ["a list as a key", "? [a]\n: b\n", ["1:3: : found a list or a map as a key; keys are text"]],
    ["__proto__ as a key", "__proto__: 1", ["1:1: : found __proto__, which cannot be a key"]],
    [
      "a second document",
      "a: 1\n---\nb: 2\n",
      ['2:1: : found a second document; a configuration is one (remove the "---" before it)'],
    ],
    [
      "something else than a map to merge",
      "a: { <<: 5 }",
      ["1:10: a: found something else than a map after <<; allowed: an alias of a map, or a list of such"],
    ],
    ["an alias without an anchor", "a: *nobody", ["1:4: a: the alias *nobody has no anchor before it"]],
    ["an unknown tag", "a: !secret x", ["1:4: : is not valid YAML: Unresolved tag: !secret"]],
    [
      "every fault of syntax",
      "a: [1\nb: @x\nc: [2\n",
      [
        "2:1: : is not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
        "2:4: : is not valid YAML: Plain value cannot start with reserved character @",
        "4:1: : is not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
      ],
    ],
  ])("%s", (_, text, problems) => {
    expect(problemsOf(text)).toEqual(problems);
  });

  test("with faults of syntax there is no value: what could be read of it would mislead", () => {
    expect(read("a: [1\nb: 2").value).toBeUndefined();
  });

  test("ten thousand keys are checked for doubles in time", () => {
    const text = Array.from({ length: 10_000 }, (_, i) => `key${i}: x`).join("\n");
    expect(problemsOf(`${text}\nkey5: y`)).toHaveLength(1);
  });
});

describe("positions", () => {
  test("a path as an operator reads it", () => {
    expect(formatPath([])).toBe("");
    expect(formatPath(["listeners", 0, "address"])).toBe("listeners[0].address");
    expect(formatPath(["routes", "*.example.com"])).toBe('routes["*.example.com"]');
    expect(formatPath(["backends", "a-b_c"])).toBe("backends.a-b_c");
  });

  test("a missing key is where its map is", () => {
    const { value, positions } = read("a:\n  b: { c: 1 }\n");
    expect(positions.value(value, ["a", "b", "missing", "deeper"])).toEqual({ line: 2, column: 6 });
    expect(positions.value(value, ["missing"])).toEqual({ line: 1, column: 1 });
  });

  test("what an alias or a merge brings is where it was written", () => {
    const { value, positions } = read("a: &x\n  hold: 1\nb: *x\nc:\n  <<: *x\n");
    expect(positions.value(value, ["b", "hold"])).toEqual({ line: 2, column: 9 });
    expect(positions.value(value, ["c", "hold"])).toEqual({ line: 2, column: 9 });
    expect(positions.key(value, ["c", "hold"])).toEqual({ line: 2, column: 3 });
  });

  test("each value's position is where its text begins", () => {
    const key = fc.stringMatching(/^[a-z]{1,6}$/);
    const document = fc.letrec((tie) => ({
      node: fc.oneof({ maxDepth: 4 }, fc.integer({ min: 0, max: 1e6 }), key, tie("map"), tie("list")),
      map: fc.dictionary(key, tie("node"), { minKeys: 1, maxKeys: 5 }),
      list: fc.array(tie("node"), { minLength: 1, maxLength: 4 }),
    })).map;
    fc.assert(
      fc.property(document, fc.boolean(), (wanted, flow) => {
        const text = stringify(wanted, flow ? { collectionStyle: "flow" } : {});
        const lines = text.split("\n");
        const { value, positions, problems } = read(text);
        expect(problems).toEqual([]);
        expect(JSON.parse(JSON.stringify(value))).toEqual(wanted);
        const visit = (part: unknown, path: readonly Step[]): void => {
          if (typeof part === "object" && part !== null) {
            for (const [step, below] of Array.isArray(part) ? part.entries() : Object.entries(part))
              visit(below, [...path, step]);
            return;
          }
          const { line, column } = positions.value(value, path);
          expect(
            lines[line - 1]!.slice(column - 1)
              .replace(/^"/, "")
              .startsWith(String(part)),
          ).toBe(true);
        };
        visit(wanted, []);
      }),
    );
  });
});
