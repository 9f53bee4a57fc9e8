import fc from "fast-check";
import { describe, expect, it, vi } from "vitest";
import { Patterns, patternFault, timeOfSlowNames } from "../../src/routing/patterns.js";
import { below } from "../support/trials.js";
import { bytesOf, hostName } from "./support.js";

const matches = (sources: readonly string[], name: string) =>
  new Patterns(sources).matches(bytesOf(name), bytesOf(name).length);

describe("Patterns", () => {
  const cases: readonly [source: string, name: string, found: boolean, why: string][] = [
    ["tenant-[0-9]+[.]example", "tenant-7.example", true, "a plain match"],
    ["tenant-[0-9]+[.]example", "x.tenant-7.example", false, "the whole name, from its beginning"],
    ["tenant-[0-9]+[.]example", "tenant-7.example.com", false, "to its end"],
    ["a|a[.]b", "a.b", true, "of alternatives not the first that fits a part"],
    ["(a|ab)(c|bcd)?", "abcd", true, "nor within a group"],
    ["^a[.]b$", "a.b", true, "anchors change nothing"],
    ["(?m)^a$", "a.b", false, "nor does multi-line mode"],
    ["App[.]Example", "app.example", true, "letter case does not matter"],
    ["a.b", "a-b", true, "a dot is any character"],
    ["", "a", false, "nothing is no name"],
  ];
  it.each(cases)("%j, %j: %j, %s", (source, name, found) => {
    expect(matches([source], name)).toEqual(found ? [0] : []);
  });

  it("tells all that match, in their order", () => {
    expect(matches(["a.*", "b", ".*c", "[abc]+", "abc"], "abc")).toEqual([0, 2, 3, 4]);
    expect(matches([], "abc")).toEqual([]);
  });

  it("looks at the name's bytes only", () => {
    expect(new Patterns(["abc", "abcx"]).matches(bytesOf("abcx"), 3)).toEqual([0]);
  });

  it("agrees with the regular expressions of JavaScript, one by one", () => {
    const part = fc.constantFrom(
      "a",
      "b",
      ".",
      "\\.",
      "[ab]",
      "-",
      "(a|ab)",
      "(b|ba)*",
      "a+",
      "x?",
      "\\w",
      "[^.]*",
      "com",
    );
    const source = fc.array(part, { minLength: 1, maxLength: 6 }).map((parts) => parts.join(""));
    fc.assert(
      fc.property(fc.array(source, { maxLength: 8 }), hostName, (sources, name) => {
        const expected = sources.flatMap((each, index) => (new RegExp(`^(?:${each})$`, "i").test(name) ? [index] : []));
        expect(matches(sources, name)).toEqual(expected);
      }),
      { numRuns: 300 },
    );
  });

  it("takes time in proportion to the name for what makes others take for ever", async () => {
    const patterns = new Patterns(["(a*)*b", "(a+)+c", "(a|aa)+d", "(.*a){20}", ".*a.{12}b.*"]);
    const time = (length: number) => {
      const names = Array.from({ length: 20 }, (_, i) => bytesOf("ab".repeat(length / 2).slice(i)));
      const begun = performance.now();
      for (const name of names) patterns.matches(name, name.length);
      return performance.now() - begun;
    };
    await below("milliseconds", 1000, () => time(250));
  });
});

describe("timeOfSlowNames", () => {
  it("is not taken from a name during which the process stood still", () => {
    const now = performance.now.bind(performance);
    let calls = 0;
    // From the end of the first name on it is much later.
    const clock = vi.spyOn(performance, "now").mockImplementation(() => now() + (++calls < 4 ? 0 : 10_000));
    try {
      expect(timeOfSlowNames(["app[.].*"])).toBeLessThan(5000);
    } finally {
      clock.mockRestore();
    }
  });
});

describe("patternFault", () => {
  it.each([
    ["a(b", 'missing closing ): "a(b"'],
    ["(?=a)", 'invalid or unsupported Perl syntax: "(?="'],
    ["(a)\\1", 'invalid escape sequence: "\\\\1"'],
    ["a{1001}", 'invalid repeat count: "{1001}"'],
    ["((a{100}){100}){100}", 'invalid repeat count: "{100}"'],
    ["[z-a]", 'invalid character class range: "z-a"'],
    ["*", 'missing argument to repetition operator: "*"'],
  ])("%j: %s", (source, fault) => {
    expect(patternFault(source)).toBe(fault);
  });

  it("finds none in what can be used, whatever the text is", () => {
    fc.assert(
      fc.property(fc.string({ maxLength: 30 }), (source) => {
        if (patternFault(source) === undefined)
          expect(() => new Patterns([source]).matches(bytesOf("a.b"), 3)).not.toThrow();
      }),
      { numRuns: 500 },
    );
  });
});
