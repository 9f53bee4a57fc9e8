/**
 * A compiled route table in shared memory: 32-bit words in the machine's byte order, then bytes. One builder writes it
 * while no reader looks; then any number of threads read it.
 *
 *     words 0..63          header (`Header` below)
 *     HASH_OFFSET          the random words of the hash (hash.ts)
 *     SLOTS_OFFSET         slots, two words each: hash, reference. Reference 0: the slot is empty
 *     behind the slots     keys, one after another: length (1 byte), target (3 bytes, little-endian), bytes.
 *                          A reference is a key's distance in bytes from the beginning of the region
 *
 * An exact name is stored as it is; "*.example.com" as ".example.com", so one space of keys serves both.
 *
 * A hash h (signed) belongs in slot (h + 2^31) * slotCount / 2^32, which grows with h. Slots are filled by linear
 * probing in order of their hashes, so a search ends at an empty slot or at a larger hash, whichever comes first: few
 * neighbouring words, mostly one cache line. `LONGEST_PROBE` bounds every search; so many spare slots follow the last
 * one that probing never wraps.
 */

import { HASH_WORDS } from "./hash.js";

/** "SNIR": tells a table from other shared memory. */
export const MAGIC = 0x52494e53;
export const LAYOUT_VERSION = 1;

/** Indexes of header words. */
export const Header = {
  /** Written last: a region without it is no table. */
  MAGIC: 0,
  VERSION: 1,
  SEED: 2,
  /** Keys in the table. */
  NAMES: 3,
  /** Slots that hashes are mapped to; SPARE_SLOTS more follow. */
  SLOT_COUNT: 4,
  /** The farthest that any key lies from the slot of its hash. */
  LONGEST_PROBE: 5,
  /** Bytes in use, from the header to the last key. */
  BYTES: 6,
  DEFAULT_TARGET: 7,
  NO_SERVER_NAME_TARGET: 8,
  NOT_TLS_TARGET: 9,
  /** 256 bits: bit n is set if there is a wildcard whose suffix has n labels ("*.example.com": 2). */
  WILDCARD_LABELS: 16,
} as const;

export const WILDCARD_LABELS_WORDS = 8;
export const HASH_OFFSET = 64;
export const SLOTS_OFFSET = HASH_OFFSET + HASH_WORDS;

/** No search looks at more slots than this behind the first; the builder chooses another seed if one would. */
export const MAX_PROBE = 128;
export const SPARE_SLOTS = MAX_PROBE + 1;

/** Bytes in front of each key. */
export const KEY_HEADER_BYTES = 4;

/** The target of names for which nothing is configured. */
export const NO_TARGET = -1;
export const MAX_TARGET = 0xffffff;
/** Targets from here on are no backends: this one stands for the first list of rules, the next for the second … */
export const FIRST_RULES_TARGET = 0x800000;
/** As the default: the patterns decide, and behind them the default that is configured. */
export const PATTERNS_TARGET: number = MAX_TARGET;

/** References are signed 32-bit words. */
export const MAX_REGION_BYTES = 0x7fffffff;

/** How many names, and how many bytes in all of them, a table has to hold. Upper bounds will do. */
export interface Capacity {
  readonly names: number;
  readonly nameBytes: number;
}

/** Slots for so many names: two thirds full, where a search touches about two slots. */
export function slotCountFor(names: number): number {
  return Math.max(16, Math.ceil(names * 1.5));
}

export function keyBytesFor(capacity: Capacity): number {
  return capacity.nameBytes + capacity.names * KEY_HEADER_BYTES;
}

/** Where the keys begin, in bytes. */
export function keysOffset(slotCount: number): number {
  return 4 * (SLOTS_OFFSET + 2 * (slotCount + SPARE_SLOTS));
}

/** Bytes of a region that holds `capacity`. */
export function regionBytes(capacity: Capacity): number {
  return keysOffset(slotCountFor(capacity.names)) + keyBytesFor(capacity);
}

/** The slot where the search for a hash begins. The same product of doubles for builder and reader, and monotonic. */
export function firstSlot(hash: number, slotCount: number): number {
  return ((hash + 0x80000000) * slotCount * (1 / 0x100000000)) | 0;
}
