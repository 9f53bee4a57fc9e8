/**
 * Lists of address blocks (CIDR), compiled to what a worker searches without allocating: disjoint ranges in ascending
 * order, so that the time grows with the logarithm of their number.
 *
 * Numbers are the addresses' 32-bit words with the highest bit flipped: as signed integers they are in the same order.
 */

const IPV4 = 4;
const IPV6 = 6;
/** Where the address itself begins in a packed one (addresses.ts). */
const ADDRESS = 4;
/** Words of an IPv6 address. */
const WORDS = 4;
/** Words of a range of IPv6 addresses. */
const RANGE = 2 * WORDS;
/** RFC 4291 §2.5.5.2: ::ffff:0:0/96 is IPv4. */
const MAPPED_PREFIX = 96;

/** One block: the addresses whose first `prefix` bits are those of `bytes`, 4 or 16 of them. */
export interface Block {
  readonly bytes: Uint8Array;
  readonly prefix: number;
}

/** Plain data, for the workers. */
export interface AddressBlocks {
  /** First and last address of each range. */
  readonly v4: Int32Array;
  /** The same, four words each. */
  readonly v6: Int32Array;
}

export function compileBlocks(blocks: readonly Block[]): AddressBlocks {
  const ranges = blocks.map(rangeOf);
  const v4 = merged(ranges.filter(({ words }) => words === 1)).flatMap(({ first, last }) => [
    ...wordsOf(first, 1),
    ...wordsOf(last, 1),
  ]);
  const v6 = merged(ranges.filter(({ words }) => words === WORDS)).flatMap(({ first, last }) => [
    ...wordsOf(first, WORDS),
    ...wordsOf(last, WORDS),
  ]);
  return { v4: Int32Array.from(v4), v6: Int32Array.from(v6) };
}

/** Whether the packed address in bytes[at..at + 20) is in one of the blocks. One that is not known is in none. */
export function containsAddress(blocks: AddressBlocks, bytes: Uint8Array, at: number): boolean {
  switch (bytes[at]) {
    case IPV4:
      return containsV4(blocks.v4, word(bytes, at + ADDRESS));
    case IPV6:
      if (isMapped(bytes, at + ADDRESS)) return containsV4(blocks.v4, word(bytes, at + ADDRESS + 12));
      return containsV6(blocks.v6, bytes, at + ADDRESS);
    default:
      return false;
  }
}

function word(bytes: Uint8Array, at: number): number {
  return ((bytes[at]! << 24) | (bytes[at + 1]! << 16) | (bytes[at + 2]! << 8) | bytes[at + 3]!) ^ -0x80000000;
}

function isMapped(bytes: Uint8Array, at: number): boolean {
  for (let i = 0; i < 10; i++) if (bytes[at + i] !== 0) return false;
  return bytes[at + 10] === 0xff && bytes[at + 11] === 0xff;
}

function containsV4(ranges: Int32Array, address: number): boolean {
  let low = 0;
  let high = ranges.length >> 1;
  // The last range that does not begin behind the address is before `low`.
  while (low < high) {
    const middle = (low + high) >> 1;
    if (ranges[2 * middle]! <= address) low = middle + 1;
    else high = middle;
  }
  return low > 0 && address <= ranges[2 * low - 1]!;
}

function containsV6(ranges: Int32Array, bytes: Uint8Array, at: number): boolean {
  let low = 0;
  let high = ranges.length / RANGE;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (compare(ranges, middle * RANGE, bytes, at) <= 0) low = middle + 1;
    else high = middle;
  }
  return low > 0 && compare(ranges, low * RANGE - WORDS, bytes, at) >= 0;
}

/** The address at ranges[index] less the one at bytes[at]: its sign. */
function compare(ranges: Int32Array, index: number, bytes: Uint8Array, at: number): number {
  for (let i = 0; i < WORDS; i++) {
    const address = word(bytes, at + 4 * i);
    const limit = ranges[index + i]!;
    if (limit !== address) return limit < address ? -1 : 1;
  }
  return 0;
}

/** Whether all addresses of `inner` are in `outer`. For the control plane. */
export function covers(outer: AddressBlocks, inner: AddressBlocks): boolean {
  return rangesCover(outer.v4, inner.v4, 1) && rangesCover(outer.v6, inner.v6, WORDS);
}

function rangesCover(outer: Int32Array, inner: Int32Array, words: number): boolean {
  const size = 2 * words;
  const atMost = (a: Int32Array, i: number, b: Int32Array, j: number) => {
    for (let k = 0; k < words; k++) if (a[i + k] !== b[j + k]) return a[i + k]! < b[j + k]!;
    return true;
  };
  let from = 0;
  for (let at = 0; at < inner.length; at += size) {
    // Ranges do not touch: what one of `inner` covers lies in one of `outer`, or not in it.
    while (from < outer.length && !atMost(inner, at, outer, from + words)) from += size;
    if (from === outer.length) return false;
    if (!atMost(outer, from, inner, at) || !atMost(inner, at + words, outer, from + words)) return false;
  }
  return true;
}

/**
 * Blocks that others have all of: pairs of indices, the inner one first. With `others` these are looked for, else the
 * blocks of the same list. For the control plane.
 */
export function contained(blocks: readonly Block[], others?: readonly Block[]): [inner: number, outer: number][] {
  const placed = [
    ...blocks.map((block, index) => ({ ...rangeOf(block), index, isInner: true, isOuter: others === undefined })),
    ...(others ?? []).map((block, index) => ({ ...rangeOf(block), index, isInner: false, isOuter: true })),
  ];
  // Blocks lie within each other or apart: of those that begin no later, the widest come first.
  placed.sort(
    (a, b) =>
      a.words - b.words ||
      order(a.first, b.first) ||
      order(b.last, a.last) ||
      Number(b.isOuter) - Number(a.isOuter) ||
      a.index - b.index,
  );
  const pairs: [number, number][] = [];
  let outer: (typeof placed)[number] | undefined;
  for (const block of placed) {
    const within = outer !== undefined && outer.words === block.words && block.last <= outer.last;
    if (within && block.isInner) pairs.push([block.index, outer!.index]);
    if (!within && block.isOuter) outer = block;
  }
  return pairs.sort(([a], [b]) => a - b);
}

function order(a: bigint, b: bigint): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

/** Inclusive. */
interface Range {
  readonly words: number;
  readonly first: bigint;
  last: bigint;
}

function rangeOf({ bytes, prefix }: Block): Range {
  const isV4 = bytes.length === 4 || (prefix >= MAPPED_PREFIX && isMapped(bytes, 0));
  const bits = isV4 ? 32 : 128;
  const length = isV4 && bytes.length > 4 ? prefix - MAPPED_PREFIX : prefix;
  const address = BigInt.asUintN(bits, BigInt(`0x${Buffer.from(bytes).toString("hex")}`));
  const host = (1n << BigInt(bits - length)) - 1n;
  return { words: bits / 32, first: address & ~host, last: address | host };
}

/** In ascending order, those that touch each other made one. */
function merged(ranges: readonly Range[]): Range[] {
  const sorted = [...ranges].sort((a, b) => order(a.first, b.first));
  const result: Range[] = [];
  for (const range of sorted) {
    const before = result.at(-1);
    if (before === undefined || range.first > before.last + 1n) result.push({ ...range });
    else if (range.last > before.last) before.last = range.last;
  }
  return result;
}

function wordsOf(address: bigint, words: number): number[] {
  return Array.from(
    { length: words },
    (_, i) => Number((address >> BigInt(32 * (words - 1 - i))) & 0xffffffffn) ^ -0x80000000,
  );
}
