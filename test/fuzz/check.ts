/** What the targets hold against what they fuzz, and how they say that it does not hold. */

/** An oracle is broken: the code under test is wrong, or the oracle. */
export class Broken extends Error {
  override readonly name = "Broken";
}

/** `expected`: what should be, in words; `seen`: what is. */
export function check(holds: boolean, expected: string, seen?: unknown): asserts holds {
  if (!holds) throw new Broken(seen === undefined ? expected : `${expected}; seen: ${show(seen)}`);
}

/** Both are plain values. */
export function same(seen: unknown, expected: unknown, what: string): void {
  if (!isEqual(seen, expected)) throw new Broken(`${what}\n  expected: ${show(expected)}\n  seen:     ${show(seen)}`);
}

function isEqual(a: unknown, b: unknown): boolean {
  if (Object.is(a, b)) return true;
  if (typeof a !== "object" || typeof b !== "object" || a === null || b === null) return false;
  const keys = Object.keys(a);
  return (
    keys.length === Object.keys(b).length && keys.every((key) => key in b && isEqual(a[key as never], b[key as never]))
  );
}

export function show(value: unknown): string {
  const text = JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === "bigint") return `${each}n`;
    if (each instanceof Uint8Array) return Buffer.from(each).toString("hex");
    return each === undefined ? "undefined" : each;
  });
  return text ?? String(value);
}

/** FNV-1a of the bytes: for decisions that should not cost the input a byte. 0..2^32-1. */
export function hashOf(bytes: Uint8Array): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < bytes.length; i++) hash = Math.imul(hash ^ bytes[i]!, 0x01000193);
  return hash >>> 0;
}

/** The bytes at an offset of a larger array that is full of something else. */
export function surrounded(bytes: Uint8Array, filler: number): { bytes: Uint8Array; start: number; end: number } {
  const start = 17;
  const all = new Uint8Array(bytes.length + 2 * start).fill(filler);
  all.set(bytes, start);
  return { bytes: all, start, end: start + bytes.length };
}

/** Behind the bytes come others. */
export function followed(bytes: Uint8Array, filler: number): Uint8Array {
  const all = new Uint8Array(bytes.length + 40).fill(filler);
  all.set(bytes);
  return all;
}

/** In lower case, labels of 1 to 63 bytes, no dot at the end, 255 bytes at most. */
export const NAME = /^(?=.{1,255}$)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*$/;

/** What ends a line, and what terminals obey first of all; what else there is, who prints it has to replace. */
export const CONTROL = /[\x00-\x1f]/;

/** The same, and what viewers obey: C1, other ends of lines, marks of direction. */
export const HIDDEN = /[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]/;
