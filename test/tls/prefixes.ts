/** What must hold for each hello at each place where TCP may split it. */

import { expect } from "vitest";
import { type Facts, read, readGuarded } from "./facts.js";

/** A whole hello: partial before its end, and done from there on, whatever follows. Returns what it comes to. */
export function expectPartialUntilDone(bytes: Uint8Array): Facts {
  const whole = read(bytes);
  expect(whole).toMatchObject({ status: "done", length: bytes.length });
  expect(readGuarded(bytes)).toEqual(whole);
  let before = 0;
  for (let length = 0; length < bytes.length; length++) {
    const { needed } = expectPartial(bytes.subarray(0, length));
    if (needed > bytes.length) throw new Error(`${needed} needed of ${bytes.length}, at ${length}`);
    if (needed < before) throw new Error(`needed sinks from ${before} to ${needed} at ${length}`);
    before = needed;
  }
  const followed = new Uint8Array(bytes.length + 100).fill(0x17);
  followed.set(bytes);
  expect(read(followed)).toEqual(whole);
  return whole;
}

/** A malformed start: partial up to some byte, and from there on refused for one reason, whatever follows. */
export function expectRefused(bytes: Uint8Array, refusal: Facts): void {
  expect(readGuarded(bytes)).toEqual(refusal);
  let refused = false;
  for (let length = 0; length <= bytes.length; length++) {
    const result = read(bytes.subarray(0, length));
    if (refused || result.status !== "partial") {
      if (JSON.stringify(result) !== JSON.stringify(refusal)) expect(result).toEqual(refusal);
      refused = true;
    } else if (result.needed <= length) {
      throw new Error(`${result.needed} needed, ${length} there`);
    }
  }
  const followed = new Uint8Array(bytes.length + 100).fill(0x17);
  followed.set(bytes);
  expect(read(followed)).toEqual(refusal);
}

/** How many reads it takes a caller who waits for `needed` bytes each time and gets exactly those. */
export function readsUntilDone(bytes: Uint8Array): number {
  let length = 0;
  for (let reads = 1; ; reads++) {
    const result = read(bytes.subarray(0, length));
    if (result.status !== "partial") {
      expect(result).toMatchObject({ status: "done", length });
      return reads;
    }
    expect(result.needed).toBeGreaterThan(length);
    length = result.needed;
    expect(length).toBeLessThanOrEqual(bytes.length);
  }
}

function expectPartial(prefix: Uint8Array): { needed: number } {
  const result = read(prefix);
  if (result.status !== "partial") throw new Error(`${result.status} at ${prefix.length} bytes`);
  if (result.needed <= prefix.length) throw new Error(`${result.needed} needed, ${prefix.length} there`);
  return result;
}
