import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Header } from "../../src/routing/layout.js";
import { MatchKind, matchedPattern, NO_TARGET, RouteTable, RouteTableBuilder } from "../../src/routing/table.js";
import { bytesOf, configuredName, hostName, lookupByScan, nameNear, type Rule, ruleSet } from "./support.js";

function compile(rules: readonly Rule[], seed?: number): RouteTable {
  const nameBytes = rules.reduce((sum, rule) => sum + rule.name.length, 0);
  const builder = new RouteTableBuilder({ names: rules.length, nameBytes }, seed);
  for (const { name, target } of rules) expect(builder.add(name, target)).toBeUndefined();
  return new RouteTable(builder.finish());
}

function find(table: RouteTable, name: string): { pattern: string; target: number } {
  const bytes = bytesOf(name);
  const target = table.lookup(bytes, 0, bytes.length);
  return { pattern: matchedPattern(table.matchedKind, table.matchedLength, name), target };
}

describe("RouteTable.lookup", () => {
  const builder = new RouteTableBuilder({ names: 10, nameBytes: 200 }, 1);
  builder.add("app.example.com", 1);
  builder.add("*.example.com", 2);
  builder.add("*.apps.example.com", 3);
  builder.add("x.y.apps.example.com", 4);
  builder.add("example.org", 5);
  builder.add("*.c.b.a.example.net", 6);
  builder.add("localhost", 7);
  builder.add("*.internal", 8);
  builder.defaultTarget = 9;
  const table = new RouteTable(builder.finish());

  const cases: readonly [name: string, pattern: string, target: number, why: string][] = [
    ["app.example.com", "app.example.com", 1, "an exact name wins over a wildcard that matches it"],
    ["www.example.com", "*.example.com", 2, "a wildcard matches one level below"],
    ["a.b.c.example.com", "*.example.com", 2, "and any level below"],
    ["a.app.example.com", "*.example.com", 2, "an exact name says nothing about names below it"],
    ["example.com", "default", 9, "a wildcard does not match its own suffix"],
    ["xexample.com", "default", 9, "nor a name that merely ends with the same letters"],
    ["a.apps.example.com", "*.apps.example.com", 3, "the longer wildcard wins"],
    ["apps.example.com", "*.example.com", 2, "which does not match its own suffix either, but the shorter one does"],
    ["x.y.apps.example.com", "x.y.apps.example.com", 4, "exact under two wildcards"],
    ["w.x.y.apps.example.com", "*.apps.example.com", 3, "one below it"],
    ["example.org", "example.org", 5, "an exact name without wildcards"],
    ["www.example.org", "default", 9, "is not a wildcard"],
    ["org", "default", 9, "nor are its parents"],
    ["x.c.b.a.example.net", "*.c.b.a.example.net", 6, "a wildcard of five labels"],
    ["x.d.b.a.example.net", "default", 9, "another name at the same depth"],
    ["localhost", "localhost", 7, "a name of one label"],
    ["a.internal", "*.internal", 8, "a wildcard over one label"],
    ["internal", "default", 9, "which is not the label itself"],
    ["APP.EXAMPLE.COM", "default", 9, "lower case is the caller's business, once"],
    ["app.example.com.", "default", 9, "and so is the trailing dot"],
    [".example.com", "default", 9, "a name that is a wildcard's stored form"],
    [".", "default", 9, "nothing but a dot"],
    ["..example.com", "*.example.com", 2, "odd, but below example.com; the hello's parser refuses it before"],
    ["*.example.com", "*.example.com", 2, "a star is a label like others here"],
    ["a\0.example.com", "*.example.com", 2, "bytes are compared to the name's end, not to a NUL"],
    ["app.example.com\0", "default", 9, "the same for exact names"],
  ];
  it.each(cases)("%j -> %s, %d: %s", (name, pattern, target) => {
    expect(find(table, name)).toEqual({ pattern, target });
  });

  it("tells kind and length of what won", () => {
    find(table, "app.example.com");
    expect([table.matchedKind, table.matchedLength]).toEqual([MatchKind.EXACT, 15]);
    find(table, "www.example.com");
    expect([table.matchedKind, table.matchedLength]).toEqual([MatchKind.WILDCARD, 12]);
    find(table, "unknown");
    expect([table.matchedKind, table.matchedLength]).toEqual([MatchKind.DEFAULT, 0]);
  });

  it("gives the default for lengths and places that cannot be", () => {
    const name = bytesOf("app.example.com");
    const long = bytesOf(`${"a".repeat(244)}.example.com`);
    expect(table.lookup(name, 0, 0)).toBe(9);
    expect(table.lookup(name, 0, 16)).toBe(9);
    expect(table.lookup(name, 1, 15)).toBe(9);
    expect(table.lookup(name, -1, 15)).toBe(9);
    expect(table.lookup(name, 0, -1)).toBe(9);
    expect(table.lookup(name, Number.NaN, 15)).toBe(9);
    expect(table.lookup(long, 0, 256)).toBe(9);
    expect(table.lookup(long, 1, 255)).toBe(2);
  });

  it("goes on to less specific routes, the longest first, the default last", () => {
    const chain = (name: string) => {
      const bytes = bytesOf(name);
      const found: [target: number, pattern: string][] = [];
      for (let target = table.lookup(bytes, 0, bytes.length); target >= 0; target = table.next(bytes, 0, bytes.length))
        found.push([target, matchedPattern(table.matchedKind, table.matchedLength, name)]);
      return found;
    };
    expect(chain("x.y.apps.example.com")).toEqual([
      [4, "x.y.apps.example.com"],
      [3, "*.apps.example.com"],
      [2, "*.example.com"],
      [9, "default"],
    ]);
    expect(chain("a.example.com")).toEqual([
      [2, "*.example.com"],
      [9, "default"],
    ]);
    expect(chain("example.org")).toEqual([
      [5, "example.org"],
      [9, "default"],
    ]);
    expect(chain("unknown")).toEqual([[9, "default"]]);
  });

  it("finds names within a larger buffer", () => {
    const bytes = bytesOf("garbage.app.example.com.garbage");
    expect(table.lookup(bytes, 8, 15)).toBe(1);
  });

  it("has no target for anything when nothing is configured", () => {
    const empty = new RouteTable(new RouteTableBuilder({ names: 0, nameBytes: 0 }).finish());
    expect(find(empty, "app.example.com")).toEqual({ pattern: "default", target: NO_TARGET });
    expect([empty.defaultTarget, empty.noServerNameTarget, empty.notTlsTarget]).toEqual([-1, -1, -1]);
    expect(empty.names).toBe(0);
  });

  it("keeps targets of 24 bits", () => {
    const table = compile([
      { name: "a", target: 0xffffff },
      { name: "*.a", target: 0x010203 },
    ]);
    expect(find(table, "a").target).toBe(0xffffff);
    expect(find(table, "b.a").target).toBe(0x010203);
  });

  it("agrees with a scan of all rules", () => {
    const scenario = ruleSet.chain((rules) =>
      fc.tuple(fc.constant(rules), fc.array(nameNear(rules), { minLength: 20, maxLength: 20 }), fc.integer()),
    );
    fc.assert(
      fc.property(scenario, ([rules, names, seed]) => {
        const table = compile(rules, seed);
        for (const name of names) {
          const expected = lookupByScan(rules, name);
          expect(find(table, name)).toEqual({ ...expected, pattern: expected.pattern || "default" });
        }
      }),
      { numRuns: 500 },
    );
  });

  it("finds every name of 255 bytes and every wildcard above it", () => {
    fc.assert(
      fc.property(hostName, fc.nat(254), (name, at) => {
        const rules: Rule[] = [{ name, target: 1 }];
        const dot = name.indexOf(".", at);
        if (dot > 0) rules.push({ name: `*${name.slice(dot)}`, target: 2 });
        const table = compile(rules);
        expect(find(table, name)).toEqual({ pattern: name, target: 1 });
        if (dot > 0) expect(find(compile(rules.slice(1)), name)).toEqual({ pattern: rules[1].name, target: 2 });
      }),
    );
  });

  it("survives any bytes", () => {
    const table = compile([
      { name: "a", target: 1 },
      { name: "*.a", target: 2 },
    ]);
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.integer(), fc.integer(), (bytes, start, length) => {
        expect([-1, 1, 2]).toContain(table.lookup(bytes, 0, bytes.length));
        expect([-1, 1, 2]).toContain(table.lookup(bytes, start, length));
      }),
    );
  });

  it("answers with wildcards at every one of 127 levels", () => {
    const rules: Rule[] = [];
    for (let labels = 1; labels <= 126; labels++)
      rules.push({ name: `*.${"a.".repeat(labels - 1)}com`, target: labels });
    const table = compile(rules);
    for (let labels = 2; labels <= 126; labels++) {
      expect(find(table, `${"a.".repeat(labels - 1)}com`).target).toBe(labels - 1);
      expect(find(table, `b.${"a.".repeat(labels - 1)}com`).target).toBe(labels);
    }
  });
});

describe("RouteTable", () => {
  it("tells the targets of clients without a name and without TLS", () => {
    const builder = new RouteTableBuilder({ names: 0, nameBytes: 0 });
    builder.defaultTarget = 1;
    builder.notTlsTarget = 2;
    const table = new RouteTable(builder.finish());
    expect([table.defaultTarget, table.noServerNameTarget, table.notTlsTarget]).toEqual([1, 1, 2]);
  });

  it("can leave clients without a name no target although there is a default", () => {
    const builder = new RouteTableBuilder({ names: 0, nameBytes: 0 });
    builder.defaultTarget = 1;
    builder.noServerNameTarget = NO_TARGET;
    expect(new RouteTable(builder.finish()).noServerNameTarget).toBe(NO_TARGET);
  });

  it("refuses memory that holds no finished table", () => {
    const message = "no finished route table";
    expect(() => new RouteTable(new SharedArrayBuffer(0))).toThrow(message);
    expect(() => new RouteTable(new SharedArrayBuffer(1 << 20))).toThrow(message);
    const region = new RouteTableBuilder({ names: 1, nameBytes: 1 }).finish();
    new Int32Array(region, 0, 64)[Header.VERSION] = 99;
    expect(() => new RouteTable(region)).toThrow("layout 99");
  });

  it("finds every configured name under any seed", () => {
    fc.assert(
      fc.property(fc.uniqueArray(configuredName, { maxLength: 30 }), fc.integer(), (names, seed) => {
        const table = compile(
          names.map((name, target) => ({ name, target })),
          seed,
        );
        expect(table.names).toBe(names.length);
        names.forEach((name, target) => {
          const key = bytesOf(name.replace(/^\*/, ""));
          expect(table.findKey(key, 0, key.length)).toBe(target);
        });
      }),
    );
  });
});
