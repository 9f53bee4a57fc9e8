import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { BackendNames } from "../../src/routing/backend-names.js";
import { bytesOf } from "./support.js";

describe("BackendNames", () => {
  it("finds what a Map of the same names finds", () => {
    const name = fc.string({ unit: "grapheme", maxLength: 4 });
    fc.assert(
      fc.property(fc.array(fc.tuple(name, fc.nat())), fc.array(name), (entries, others) => {
        const map = new Map(entries);
        const names = new BackendNames(map);
        for (const wanted of [...map.keys(), ...others, ...map.keys()]) {
          const bytes = bytesOf(`<${wanted}>`);
          expect(names.find(bytes, 1, bytes.length - 1)).toBe(map.get(wanted));
        }
      }),
    );
  });

  it("finds each of ten thousand names", () => {
    const map = new Map(Array.from({ length: 10_000 }, (_, i) => [`backend-${i}`, i]));
    const names = new BackendNames(map);
    for (const [name, target] of map) {
      const bytes = bytesOf(name);
      if (names.find(bytes, 0, bytes.length) !== target) expect.fail(name);
    }
  });

  it("finds nothing among no names", () => {
    expect(new BackendNames(new Map()).find(bytesOf("a"), 0, 1)).toBeUndefined();
    expect(new BackendNames(new Map()).find(bytesOf(""), 0, 0)).toBeUndefined();
  });
});
