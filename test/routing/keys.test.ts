import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { KeyCursor } from "../../src/routing/keys.js";
import { RouteTable, RouteTableBuilder } from "../../src/routing/table.js";
import { configuredName, type Rule, ruleSet } from "./support.js";

function build(rules: readonly Rule[], capacity = rules.length): SharedArrayBuffer {
  const builder = new RouteTableBuilder({ names: capacity, nameBytes: capacity * 20 });
  for (const { name, target } of rules) builder.add(name, target);
  return builder.finish();
}

function rulesOf(region: SharedArrayBuffer): Rule[] {
  const cursor = new KeyCursor(region);
  const rules: Rule[] = [];
  while (cursor.next()) rules.push({ name: cursor.pattern, target: cursor.target });
  return rules;
}

describe("KeyCursor", () => {
  it("stands on each route of a table, in the order in which they were added", () => {
    fc.assert(
      fc.property(ruleSet, (rules) => {
        expect(rulesOf(build(rules))).toEqual(rules);
      }),
    );
  });

  it("does so in a table that grew, and in memory that had another table before", () => {
    const many = Array.from({ length: 500 }, (_, i) => ({ name: `n${i}.example`, target: i }));
    expect(rulesOf(build(many, 0))).toEqual(many);
    const region = build(many);
    const builder = new RouteTableBuilder({ names: 1, nameBytes: 9 }, undefined, region);
    builder.add("*.example", 0xff_ffff);
    expect(builder.finish()).toBe(region);
    expect(rulesOf(region)).toEqual([{ name: "*.example", target: 0xff_ffff }]);
  });

  it("tells bytes by which another table finds the same route", () => {
    fc.assert(
      fc.property(configuredName, (name) => {
        const cursor = new KeyCursor(build([{ name, target: 3 }]));
        expect(cursor.next()).toBe(true);
        const other = new RouteTable(build([{ name, target: 5 }]));
        expect(other.findKey(cursor.bytes, cursor.start, cursor.end)).toBe(5);
        expect(cursor.next()).toBe(false);
        expect(cursor.next()).toBe(false);
      }),
    );
  });

  it("refuses memory that holds no finished table", () => {
    expect(() => new KeyCursor(new SharedArrayBuffer(1 << 20))).toThrow("no finished route table");
  });
});
