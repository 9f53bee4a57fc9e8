/**
 * Hash of a name's bytes from right to left, so that one pass over "a.b.example.com" passes through the hashes of
 * ".com", ".example.com" and ".b.example.com" at the dots.
 *
 * Simple tabulation: the hash is the XOR of one random word for each byte and its distance from the end. Tenants who
 * choose names cannot aim at collisions without knowing the random words, and linear probing with it takes constant
 * expected time for every set of names, structured or not (Pătraşcu and Thorup, "The Power of Simple Tabulation
 * Hashing", J. ACM 59(3), 2012). Plain multiplicative hashes (FNV, 31x+c, Murmur) have collisions that no seed removes.
 */

/** Words in a row: one for each value of `column`. */
export const ROW_WORDS = 64;

/** Rows: one for each distance from the end of a name of at most 255 bytes. */
export const ROWS = 255;

export const HASH_WORDS = ROW_WORDS * ROWS;

/**
 * Six bits for a byte. Distinct for all bytes that a normalised name may hold (0x2d-0x2e and 0x30-0x39 lack bit 0x40;
 * 0x5f and 0x61-0x7a have it); other bytes share columns, which is harmless: stored names are always compared.
 */
export function column(byte: number): number {
  return (byte & 0x1f) | ((byte >>> 1) & 0x20);
}

/** Fills the random words from a seed of 32 bits. */
export function fillHashWords(words: Int32Array, at: number, seed: number): void {
  for (let i = 0; i < HASH_WORDS; i++) words[at + i] = mix(mix(seed ^ Math.imul(i, 0x9e3779b1)) + i);
}

/** A bijection of 32 bits in which each bit of the input changes half of the output (the finaliser of MurmurHash3). */
function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return x ^ (x >>> 16);
}

// V8 (Node 20) reads an import or an export from its module's cell, with a check, each time it is used. In a loop over
// bytes that costs more than the work itself. Constants that are not exported become part of the code.
const STEP = ROW_WORDS;
const columnOf = column;

/** The hash of bytes [start, end), at most 255 of them. */
export function hashBytes(words: Int32Array, at: number, bytes: Uint8Array, start: number, end: number): number {
  let hash = 0;
  for (let i = end - 1, row = at; i >= start; i--, row += STEP) hash ^= words[row + columnOf(bytes[i])];
  return hash;
}
