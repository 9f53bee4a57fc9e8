/** Chance from a seed, the same on every machine, and from a fuzzer's bytes. */

/** A number in [0, 1), as Math.random() gives it. */
export type Random = () => number;

/** mulberry32: 2^32 numbers for each of 2^32 seeds. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/**
 * Two bytes a number, so that a change of one byte is a change of one decision; when the bytes are used up, numbers
 * that they are the seed of.
 */
export function randomOf(bytes: Uint8Array, start = 0): Random {
  let at = start;
  let rest: Random | undefined;
  return () => {
    if (at + 2 <= bytes.length) {
      at += 2;
      return (bytes[at - 2]! * 256 + bytes[at - 1]!) / 65536;
    }
    rest ??= seededRandom(bytes.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5));
    return rest();
  };
}

/** A whole number of `least`..`most`, both included. */
export function integer(random: Random, least: number, most: number): number {
  return least + Math.floor(random() * (most - least + 1));
}

export function pick<T>(random: Random, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

/** True so many times of a hundred. */
export function percent(random: Random, share: number): boolean {
  return random() * 100 < share;
}

export function randomBytes(random: Random, length: number): Uint8Array {
  const bytes = new Uint8Array(length);
  for (let i = 0; i < length; i++) bytes[i] = random() * 256;
  return bytes;
}

/** In another order. */
export function shuffled<T>(random: Random, list: readonly T[]): T[] {
  const copy = [...list];
  for (let i = copy.length - 1; i > 0; i--) {
    const j = integer(random, 0, i);
    [copy[i], copy[j]] = [copy[j]!, copy[i]!];
  }
  return copy;
}
