import { describe, expect, it } from "vitest";
import { column, fillHashWords, HASH_WORDS, hashBytes, ROW_WORDS } from "../../src/routing/hash.js";
import { NO_TARGET, RouteTable, RouteTableBuilder } from "../../src/routing/table.js";
import { bytesOf } from "./support.js";

const SEED = 7;
const words = new Int32Array(HASH_WORDS);
fillHashWords(words, 0, SEED);

function hash(name: string): number {
  return hashBytes(words, 0, bytesOf(name), 0, name.length);
}

/**
 * Which of the vectors of 32 bits give `sum` when added without carry. The hash is such a sum, so whoever knows the
 * seed finds as many names of equal hash as he likes.
 */
function solve(vectors: readonly number[], sum: number): boolean[] {
  const rows: { vector: number; uses: boolean[] }[] = [];
  let rest = sum;
  let uses: boolean[] = vectors.map(() => false);
  const highest = (vector: number) => 31 - Math.clz32(vector);
  const plus = (a: boolean[], b: boolean[]) => a.map((use, i) => use !== b[i]);
  vectors.forEach((vector, index) => {
    let row = { vector, uses: vectors.map((_, i) => i === index) };
    for (const known of rows) {
      if ((row.vector >>> highest(known.vector)) & 1) {
        row = { vector: row.vector ^ known.vector, uses: plus(row.uses, known.uses) };
      }
    }
    if (row.vector !== 0) rows.push(row);
    else if (sum === 0) uses = row.uses;
  });
  for (const known of rows) {
    if ((rest >>> highest(known.vector)) & 1) {
      rest ^= known.vector;
      uses = plus(uses, known.uses);
    }
  }
  expect(rest).toBe(0);
  return uses;
}

describe("the hash of names", () => {
  it("gives every byte of a name a column of its own", () => {
    const columns = [..."abcdefghijklmnopqrstuvwxyz0123456789-_."].map((byte) => column(byte.charCodeAt(0)));
    expect(new Set(columns).size).toBe(39);
    for (let byte = 0; byte < 256; byte++) expect(column(byte)).toBeLessThan(ROW_WORDS);
  });

  it("has no two words alike, under several seeds", () => {
    for (const seed of [0, 1, -1, 0x12345678]) {
      const words = new Int32Array(HASH_WORDS);
      fillHashWords(words, 0, seed);
      // 16320 random words of 32 bits have a pair alike in 3 % of all fillings.
      expect(new Set(words).size).toBeGreaterThan(HASH_WORDS - 5);
    }
  });

  it("changes about half of its bits with each byte", () => {
    const name = "abcdefghij.klmnopqrst.example";
    let changed = 0;
    for (let i = 0; i < name.length; i++) {
      let difference = hash(name) ^ hash(`${name.slice(0, i)}0${name.slice(i + 1)}`);
      for (; difference !== 0; difference &= difference - 1) changed++;
    }
    expect(changed / name.length).toBeGreaterThan(12);
    expect(changed / name.length).toBeLessThan(20);
  });
});

describe("names of equal hash", () => {
  const write = (choice: readonly boolean[]) => choice.map((use) => (use ? "b" : "a")).join("");
  const flip = (name: string, i: number) => `${name.slice(0, i)}b${name.slice(i + 1)}`;

  it("are told apart if they have the same length", () => {
    const plain = "a".repeat(40);
    const vectors = Array.from(plain, (_, i) => hash(plain) ^ hash(flip(plain, i)));
    const twin = write(solve(vectors, 0));
    expect(twin).not.toBe(plain);
    expect(hash(twin)).toBe(hash(plain));

    const builder = new RouteTableBuilder({ names: 2, nameBytes: 80 }, SEED);
    expect(builder.add(plain, 1)).toBeUndefined();
    const alone = new RouteTableBuilder({ names: 1, nameBytes: 40 }, SEED);
    alone.add(plain, 1);
    expect(new RouteTable(alone.finish()).lookup(bytesOf(twin), 0, 40)).toBe(NO_TARGET);
    expect(builder.add(twin, 2)).toBeUndefined();
    expect(builder.add(plain, 3)).toBe(1);
    expect(builder.add(twin, 3)).toBe(2);
    const table = new RouteTable(builder.finish());
    expect(table.lookup(bytesOf(plain), 0, 40)).toBe(1);
    expect(table.lookup(bytesOf(twin), 0, 40)).toBe(2);
  });

  it("are told apart if one is the beginning of the other", () => {
    const both = (name: string) => hash(name) ^ hash(`${name}.example`);
    const plain = "a".repeat(60);
    const vectors = Array.from(plain, (_, i) => both(plain) ^ both(flip(plain, i)));
    const short = write(solve(vectors, both(plain)));
    const long = `${short}.example`;
    expect(hash(short)).toBe(hash(long));

    for (const [added, other] of [
      [short, long],
      [long, short],
    ]) {
      const builder = new RouteTableBuilder({ names: 2, nameBytes: 140 }, SEED);
      builder.add(added, 1);
      expect(builder.add(other, 2)).toBeUndefined();
      const alone = new RouteTableBuilder({ names: 1, nameBytes: 70 }, SEED);
      alone.add(added, 1);
      expect(new RouteTable(alone.finish()).lookup(bytesOf(other), 0, other.length)).toBe(NO_TARGET);
    }
  });
});
