import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { explain, NO_TARGET, RouteTable, RouteTableBuilder } from "../../src/routing/table.js";
import { bytesOf, hostName, lookupByScan, nameNear, type Rule, ruleSet } from "./support.js";

function compile(rules: readonly Rule[], defaultTarget = NO_TARGET): RouteTable {
  const builder = new RouteTableBuilder({ names: rules.length, nameBytes: 0 });
  for (const { name, target } of rules) builder.add(name, target);
  builder.defaultTarget = defaultTarget;
  return new RouteTable(builder.finish());
}

describe("explain", () => {
  const table = compile(
    [
      { name: "a.b.example.com", target: 1 },
      { name: "*.b.example.com", target: 2 },
      { name: "*.com", target: 3 },
      { name: "b.example.com", target: 4 },
    ],
    9,
  );

  it("tells the route that wins and those that match as well, the most specific first", () => {
    expect(explain(table, "A.b.Example.com.")).toEqual({
      kind: "exact",
      pattern: "a.b.example.com",
      target: 1,
      shadowed: [
        { kind: "wildcard", pattern: "*.b.example.com", target: 2 },
        { kind: "wildcard", pattern: "*.com", target: 3 },
        { kind: "default", pattern: "default", target: 9 },
      ],
    });
  });

  it("tells that only the default matches", () => {
    expect(explain(table, "example.org")).toEqual({ kind: "default", pattern: "default", target: 9, shadowed: [] });
  });

  it("tells of a default that is not configured", () => {
    expect(explain(compile([]), "a.example")).toMatchObject({ kind: "default", target: NO_TARGET });
  });

  it.each([
    ["a b", '" " (U+0020)'],
    ["*.example.com", "is a wildcard"],
    ["bücher.example", "xn--bcher-kva.example"],
    ["192.0.2.1", "no server name"],
  ])("refuses %j: %s", (name, says) => {
    expect(() => explain(table, name)).toThrow(RangeError);
    expect(() => explain(table, name)).toThrow(says);
  });

  it("agrees with the look-up, and lists every other rule that matches", () => {
    const scenario = ruleSet.chain((rules) => fc.tuple(fc.constant(rules), fc.oneof(hostName, nameNear(rules))));
    fc.assert(
      fc.property(scenario, ([rules, name]) => {
        if (name.split(".").some((label) => label.length > 63)) return;
        const table = compile(rules);
        const bytes = bytesOf(name);
        const { shadowed, ...won } = explain(table, name);
        expect(won.target).toBe(table.lookup(bytes, 0, bytes.length));

        let left = rules;
        for (const match of [won, ...shadowed]) {
          const expected = lookupByScan(left, name);
          expect(match).toMatchObject({ pattern: expected.pattern || "default", target: expected.target });
          left = left.filter((rule) => rule.name !== match.pattern);
        }
        expect([won, ...shadowed].at(-1)!.kind).toBe("default");
      }),
      { numRuns: 300 },
    );
  });
});
