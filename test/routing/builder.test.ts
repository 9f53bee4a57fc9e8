import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { fillHashWords, HASH_WORDS, hashBytes } from "../../src/routing/hash.js";
import { Header, MAX_PROBE } from "../../src/routing/layout.js";
import { NO_TARGET, RouteTable, RouteTableBuilder, regionBytes } from "../../src/routing/table.js";
import { bytesOf, configuredName } from "./support.js";

function seedOf(region: SharedArrayBuffer): number {
  return new Int32Array(region, 0, 64)[Header.SEED];
}

function expectAll(table: RouteTable, names: readonly string[]): void {
  names.forEach((name, target) => {
    const bytes = bytesOf(name);
    if (table.lookup(bytes, 0, bytes.length) !== target) expect.fail(`${name} does not have target ${target}`);
  });
}

describe("RouteTableBuilder.add", () => {
  it("returns the first target for a name that is there already, and keeps it", () => {
    const builder = new RouteTableBuilder({ names: 3, nameBytes: 30 });
    expect(builder.add("a.example", 1)).toBeUndefined();
    expect(builder.add("*.a.example", 2)).toBeUndefined();
    expect(builder.add("a.example", 3)).toBe(1);
    expect(builder.add("*.a.example", 3)).toBe(2);
    expect(builder.names).toBe(2);
    const table = new RouteTable(builder.finish());
    expect(table.lookup(bytesOf("a.example"), 0, 9)).toBe(1);
  });

  it("finds every duplicate", () => {
    const additions = fc.array(configuredName, { maxLength: 100 });
    fc.assert(
      fc.property(additions, fc.integer(), (names, seed) => {
        const builder = new RouteTableBuilder({ names: names.length, nameBytes: 0 }, seed);
        const seen = new Map<string, number>();
        names.forEach((name, target) => {
          expect(builder.add(name, target)).toBe(seen.get(name));
          if (!seen.has(name)) seen.set(name, target);
        });
        expect(builder.names).toBe(seen.size);
      }),
    );
  });

  it("takes bytes out of the middle of others", () => {
    const builder = new RouteTableBuilder({ names: 1, nameBytes: 10 });
    builder.addBytes(bytesOf("xx a.example xx"), 3, 12, 1);
    expect(new RouteTable(builder.finish()).lookup(bytesOf("a.example"), 0, 9)).toBe(1);
  });

  it.each([
    [-1, "target -1"],
    [0x1000000, "target 16777216"],
    [Number.NaN, "target NaN"],
  ])("refuses the target %d", (target, message) => {
    const builder = new RouteTableBuilder({ names: 1, nameBytes: 10 });
    expect(() => builder.add("a.example", target)).toThrow(message);
  });

  it("refuses names without bytes or with too many", () => {
    const builder = new RouteTableBuilder({ names: 1, nameBytes: 10 });
    expect(() => builder.add("", 1)).toThrow(RangeError);
    expect(() => builder.add("*", 1)).toThrow(RangeError);
    expect(() => builder.add("a".repeat(256), 1)).toThrow(RangeError);
    expect(() => builder.addBytes(new Uint8Array(300).fill(97), 0, 256, 1)).toThrow(RangeError);
  });

  it("grows when there is more than was announced", () => {
    const names = Array.from({ length: 20_000 }, (_, i) => `${"n".repeat(i % 40)}${i}.example.com`);
    const builder = new RouteTableBuilder({ names: 0, nameBytes: 0 });
    expect(names.every((name, target) => builder.add(name, target) === undefined)).toBe(true);
    expect(names.every((name, target) => builder.add(name, 1) === target)).toBe(true);
    expectAll(new RouteTable(builder.finish()), names);
  });

  it("grows when names are longer than announced", () => {
    const names = Array.from({ length: 1000 }, (_, i) => `${i}.${"x".repeat(200)}`);
    const builder = new RouteTableBuilder({ names: 1000, nameBytes: 1000 });
    names.forEach((name, target) => void builder.add(name, target));
    expectAll(new RouteTable(builder.finish()), names);
  });
});

describe("RouteTableBuilder.finish", () => {
  const names = ["a.example", "b.example", "c.example"];
  const build = (region?: SharedArrayBuffer) => {
    const builder = new RouteTableBuilder({ names: 3, nameBytes: 27 }, undefined, region);
    names.forEach((name, target) => void builder.add(name, target));
    return builder;
  };

  it("makes a region with headroom for some more names", () => {
    const region = build().finish();
    expect(region.byteLength).toBeGreaterThan(regionBytes({ names: 30, nameBytes: 270 }));
    expect(build(region).finish()).toBe(region);
  });

  it("builds in the region that the constructor got, whatever was in it", () => {
    const region = new SharedArrayBuffer(regionBytes({ names: 3, nameBytes: 27 }));
    new Uint8Array(region).fill(0xa5);
    expect(build(region).finish()).toBe(region);
    expectAll(new RouteTable(region), names);
  });

  it("copies into a region that it gets at the end", () => {
    const region = new SharedArrayBuffer(regionBytes({ names: 3, nameBytes: 27 }));
    new Uint8Array(region).fill(0xa5);
    expect(build().finish(region)).toBe(region);
    expectAll(new RouteTable(region), names);
  });

  it("takes a new region if the one it got is too small", () => {
    const small = new SharedArrayBuffer(regionBytes({ names: 3, nameBytes: 27 }) - 4);
    const region = build(small).finish();
    expect(region).not.toBe(small);
    expectAll(new RouteTable(region), names);
    const tiny = new SharedArrayBuffer(100);
    expectAll(new RouteTable(build().finish(tiny)), names);
  });

  it("leaves no name of an earlier table in a region that is used again", () => {
    const region = new SharedArrayBuffer(1 << 20);
    const first = new RouteTableBuilder({ names: 9, nameBytes: 99 }, 1, region);
    first.add("old.example", 1);
    first.add("*.old.example", 2);
    first.defaultTarget = 3;
    first.finish();
    const table = new RouteTable(region);
    const old = bytesOf("x.old.example");
    expect(table.lookup(old, 0, old.length)).toBe(2);
    expect(build(region).finish()).toBe(region);
    table.refresh();
    expect(table.lookup(old, 0, old.length)).toBe(NO_TARGET);
    expect(table.lookup(old, 2, old.length - 2)).toBe(NO_TARGET);
    expectAll(table, names);
  });

  it("marks a region as unfinished while it builds in it", () => {
    const region = build().finish();
    build(region);
    expect(() => new RouteTable(region)).toThrow("no finished route table");
  });

  it("ends the builder", () => {
    const builder = build();
    builder.finish();
    expect(() => builder.add("d.example", 1)).toThrow("finished");
    expect(() => builder.finish()).toThrow("finished");
  });

  it("takes another seed each time", () => {
    const seeds = new Set(Array.from({ length: 5 }, () => seedOf(build().finish())));
    expect(seeds.size).toBe(5);
  });
});

describe("names chosen against a known seed", () => {
  /** Names whose hashes are the smallest, or the largest, of very many. */
  function crowd(seed: number, count: number, where: "first" | "last"): string[] {
    const words = new Int32Array(HASH_WORDS);
    fillHashWords(words, 0, seed);
    const names: string[] = [];
    for (let i = 0; names.length < count; i++) {
      const name = `${i}.example`;
      const hash = hashBytes(words, 0, bytesOf(name), 0, name.length);
      if (where === "first" ? hash < -0x7c000000 : hash > 0x7c000000) names.push(name);
    }
    return names;
  }

  it.each(["first", "last"] as const)("make it take another one (crowded in the %s slots)", (where) => {
    const names = crowd(42, 200, where);
    const builder = new RouteTableBuilder({ names: 400, nameBytes: 8000 }, 42);
    names.forEach((name, target) => void builder.add(name, target));
    expect(names.every((name, target) => builder.add(name, 1) === target)).toBe(true);
    const region = builder.finish();
    const table = new RouteTable(region);
    expect(seedOf(region)).not.toBe(42);
    expect(table.longestProbe).toBeLessThanOrEqual(MAX_PROBE / 4);
    expectAll(table, names);
  });
});

describe("a table of many names", () => {
  const letters = "abcdefghijklmnop";
  const shapes: readonly [what: string, count: number, name: (i: number) => string][] = [
    ["numbers of one length", 200_000, (i) => `t${String(i).padStart(7, "0")}.example.com`],
    ["numbers at the end", 200_000, (i) => `example.com${String(i).padStart(7, "0")}`],
    [
      "all words over two letters",
      1 << 17,
      (i) => i.toString(2).padStart(17, "0").replace(/1/g, "b").replace(/0/g, "a"),
    ],
    ["all words over sixteen letters", 1 << 16, (i) => [12, 8, 4, 0].map((s) => letters[(i >> s) & 15]).join("")],
    ["labels of one letter", 1 << 16, (i) => i.toString(2).padStart(16, "0").split("").join(".")],
    ["differing at the 200th byte only", 60_000, (i) => `${i.toString(36).padStart(4, "0")}${"x".repeat(200)}`],
  ];
  it.each(shapes)("keeps searches short: %s", (_, count, name) => {
    for (const seed of [0, -1]) {
      const builder = new RouteTableBuilder({ names: count, nameBytes: count * name(0).length }, seed);
      for (let i = 0; i < count; i++) builder.add(name(i), i);
      const region = builder.finish();
      const table = new RouteTable(region);
      expect(table.names).toBe(count);
      expect(table.longestProbe).toBeLessThan(40);
      expect(seedOf(region)).toBe(seed);
      if (seed === 0)
        expectAll(
          table,
          Array.from({ length: 5000 }, (_, i) => name(i)),
        );
    }
  });

  it("holds a million names of 25 bytes in less than 50 MB, searches in less than 40 slots", () => {
    const count = 1_000_000;
    const name = (i: number) => `${String((i * 7919) % count).padStart(13, "t")}.example.com`;
    const builder = new RouteTableBuilder({ names: count, nameBytes: count * 25 });
    for (let i = 0; i < count; i++) builder.add(name(i), i & 0xffff);
    const region = builder.finish();
    const table = new RouteTable(region);
    expect(table.names).toBe(count);
    expect(table.bytes).toBeLessThan(50e6);
    expect(region.byteLength).toBeLessThan(50e6);
    expect(table.longestProbe).toBeLessThan(40);
    for (let i = 0; i < count; i += 97) {
      const bytes = bytesOf(name(i));
      if (table.lookup(bytes, 0, 25) !== (i & 0xffff)) expect.fail(`${name(i)} is lost`);
      bytes[0] = 0x7a;
      if (table.lookup(bytes, 0, 25) !== NO_TARGET) expect.fail(`${name(i)} is found under another name`);
    }
  });
});
