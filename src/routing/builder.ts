/** Names -> a route table in shared memory. Control plane only. */

import { fillHashWords, hashBytes } from "./hash.js";
import {
  type Capacity,
  firstSlot,
  HASH_OFFSET,
  Header,
  KEY_HEADER_BYTES,
  keyBytesFor,
  keysOffset,
  LAYOUT_VERSION,
  MAGIC,
  MAX_PROBE,
  MAX_REGION_BYTES,
  MAX_TARGET,
  NO_TARGET,
  SLOTS_OFFSET,
  slotCountFor,
  WILDCARD_LABELS_WORDS,
} from "./layout.js";
import { MAX_NAME_LENGTH, quote } from "./name.js";

const DOT = 0x2e;
const STAR = 0x2a;

// For the loops over slots and bytes, as constants of this file: see hash.ts for what imports cost there.
const FIRST_SLOT = SLOTS_OFFSET;
const KEY_BYTES = KEY_HEADER_BYTES;
const firstSlotOf = firstSlot;

/** A new region is larger than asked by this part, so that a configuration that grows a little reuses it. */
const HEADROOM = 1 / 8;

/** The fullest that slots may be; beyond it, searches become long. */
const MAX_LOAD = 0.75;

export class RouteTableBuilder {
  /** For names without a route. */
  defaultTarget: number = NO_TARGET;
  /** For hellos without a server name; undefined: the default. */
  noServerNameTarget: number | undefined;
  /** For clients that speak something else than TLS; undefined: the default. */
  notTlsTarget: number | undefined;

  #seed: number;
  #names = 0;
  #finished = false;
  readonly #wildcardLabels = new Int32Array(WILDCARD_LABELS_WORDS);
  readonly #encoded = new Uint8Array(MAX_NAME_LENGTH);

  #region!: SharedArrayBuffer;
  /** Header, hash and slots. */
  #words!: Int32Array;
  /** The whole region. */
  #bytes!: Uint8Array;
  #slotCount = 0;
  /** Where the first key is, and where the next one goes; bytes. */
  #keysStart = 0;
  #keysEnd = 0;

  /**
   * The table is built in place: in `region` if one is given that is large enough, else in a new one. Nobody may read
   * `region` from now on until `finish`. `capacity` is an expectation; more names make the table move and grow.
   * Without `seed` a random one is taken, and that is what to do outside tests.
   */
  constructor(capacity: Capacity, seed: number = randomSeed(), region?: SharedArrayBuffer) {
    this.#seed = seed | 0;
    this.#lay(slotCountFor(capacity.names), keyBytesFor(capacity), region);
  }

  /** Names added so far. */
  get names(): number {
    return this.#names;
  }

  /** Adds a name that `normaliseName` returned. Result as of `addBytes`. */
  add(name: string, target: number): number | undefined {
    if (name.length > MAX_NAME_LENGTH) throw new RangeError(`${quote(name)} is longer than ${MAX_NAME_LENGTH} bytes`);
    for (let i = 0; i < name.length; i++) this.#encoded[i] = name.charCodeAt(i);
    return this.addBytes(this.#encoded, 0, name.length, target);
  }

  /**
   * Adds the normalised name, or wildcard, in bytes [start, end). If the table has it already, changes nothing and
   * returns the target that it has.
   */
  addBytes(bytes: Uint8Array, start: number, end: number, target: number): number | undefined {
    if (this.#finished) throw new TypeError("the route table is finished");
    if (!(target >= 0 && target <= MAX_TARGET)) throw new RangeError(`target ${target} is not in 0..${MAX_TARGET}`);
    if (bytes[start] === STAR) start++;
    const length = end - start;
    if (!(length >= 1 && length <= MAX_NAME_LENGTH)) {
      throw new RangeError(`a name of ${length} bytes is not in 1..${MAX_NAME_LENGTH}`);
    }

    const hash = hashBytes(this.#words, HASH_OFFSET, bytes, start, end);
    const existing = this.#find(hash, bytes, start, length);
    if (existing !== undefined) return existing;

    if (this.#names >= this.#slotCount * MAX_LOAD || this.#keysEnd + KEY_BYTES + length > this.#bytes.length) {
      this.#grow();
      return this.addBytes(bytes, start, end, target);
    }
    const key = this.#keysEnd;
    const keys = this.#bytes;
    keys[key] = length;
    keys[key + 1] = target;
    keys[key + 2] = target >>> 8;
    keys[key + 3] = target >>> 16;
    for (let i = 0; i < length; i++) keys[key + KEY_BYTES + i] = bytes[start + i];
    this.#keysEnd += KEY_BYTES + length;
    this.#names++;
    if (bytes[start] === DOT) this.#noteWildcard(bytes, start, end);
    if (!this.#place(hash, key)) this.#reseed();
    return undefined;
  }

  /**
   * Completes the table and returns the region that holds it. That is the region it was built in, unless another one
   * is given here that is large enough: then the table is copied there. The builder can't be used afterwards.
   */
  finish(region: SharedArrayBuffer = this.#region): SharedArrayBuffer {
    if (this.#finished) throw new TypeError("the route table is finished");
    this.#finished = true;
    let longest = this.#longestProbe();
    while (longest > MAX_PROBE) {
      this.#reseed();
      longest = this.#longestProbe();
    }

    const words = this.#words;
    words[Header.VERSION] = LAYOUT_VERSION;
    words[Header.SEED] = this.#seed;
    words[Header.NAMES] = this.#names;
    words[Header.SLOT_COUNT] = this.#slotCount;
    words[Header.LONGEST_PROBE] = longest;
    words[Header.BYTES] = this.#keysEnd;
    words[Header.DEFAULT_TARGET] = this.defaultTarget;
    words[Header.NO_SERVER_NAME_TARGET] = this.noServerNameTarget ?? this.defaultTarget;
    words[Header.NOT_TLS_TARGET] = this.notTlsTarget ?? this.defaultTarget;
    words.set(this.#wildcardLabels, Header.WILDCARD_LABELS);

    let result = this.#region;
    if (region !== result && region.byteLength >= this.#keysEnd) {
      new Uint8Array(region).set(this.#bytes.subarray(0, this.#keysEnd));
      result = region;
    }
    Atomics.store(new Int32Array(result, 0, 1), Header.MAGIC, MAGIC);
    return result;
  }

  /** Takes a region and makes an empty table of it. */
  #lay(slotCount: number, keyBytes: number, region?: SharedArrayBuffer): void {
    const start = keysOffset(slotCount);
    const size = start + keyBytes;
    if (size > MAX_REGION_BYTES) throw new RangeError(`a route table of ${size} bytes is larger than 2 GiB`);
    if (region === undefined || region.byteLength < size) {
      region = new SharedArrayBuffer(Math.min(wholePages(size * (1 + HEADROOM)), MAX_REGION_BYTES));
    }
    this.#region = region;
    this.#words = new Int32Array(region, 0, start / 4);
    this.#bytes = new Uint8Array(region, 0, Math.min(region.byteLength, MAX_REGION_BYTES));
    this.#slotCount = slotCount;
    this.#keysStart = start;
    this.#keysEnd = start;
    this.#words.fill(0, 0, HASH_OFFSET);
    this.#empty();
  }

  /** Empties the slots and draws the hash anew from the seed. */
  #empty(): void {
    this.#words.fill(0, FIRST_SLOT);
    fillHashWords(this.#words, HASH_OFFSET, this.#seed);
  }

  #find(hash: number, bytes: Uint8Array, start: number, length: number): number | undefined {
    const words = this.#words;
    const keys = this.#bytes;
    let slot = FIRST_SLOT + 2 * firstSlotOf(hash, this.#slotCount);
    for (; slot < words.length && words[slot + 1] !== 0 && words[slot] <= hash; slot += 2) {
      if (words[slot] !== hash) continue;
      const key = words[slot + 1];
      if (keys[key] !== length) continue;
      let i = 0;
      while (i < length && keys[key + KEY_BYTES + i] === bytes[start + i]) i++;
      if (i === length) return keys[key + 1] | (keys[key + 2] << 8) | (keys[key + 3] << 16);
    }
    return undefined;
  }

  /** Puts a key's slot where its hash belongs, moving larger ones behind it; false if the spare slots are used up. */
  #place(hash: number, key: number): boolean {
    const words = this.#words;
    let slot = FIRST_SLOT + 2 * firstSlotOf(hash, this.#slotCount);
    while (slot < words.length && words[slot + 1] !== 0 && words[slot] <= hash) slot += 2;
    let free = slot;
    while (free < words.length && words[free + 1] !== 0) free += 2;
    if (free >= words.length) return false;
    for (; free > slot; free -= 2) {
      words[free] = words[free - 2];
      words[free + 1] = words[free - 1];
    }
    words[slot] = hash;
    words[slot + 1] = key;
    return true;
  }

  #noteWildcard(bytes: Uint8Array, start: number, end: number): void {
    let labels = 0;
    for (let i = start; i < end; i++) if (bytes[i] === DOT) labels++;
    this.#wildcardLabels[labels >>> 5] |= 1 << (labels & 31);
  }

  #longestProbe(): number {
    const words = this.#words;
    let longest = 0;
    for (let slot = FIRST_SLOT; slot < words.length; slot += 2) {
      if (words[slot + 1] === 0) continue;
      longest = Math.max(longest, (slot - FIRST_SLOT) / 2 - firstSlotOf(words[slot], this.#slotCount));
    }
    return longest;
  }

  /** Too many names in one place, as chance has it once in very many tables: draw another hash. */
  #reseed(): void {
    do {
      this.#seed = (this.#seed + 0x9e3779b9) | 0;
      this.#empty();
    } while (!this.#placeAll());
  }

  /** Moves to a new region with room for twice the names. */
  #grow(): void {
    const keys = this.#bytes.subarray(this.#keysStart, this.#keysEnd);
    this.#lay(slotCountFor(this.#names * 2), keys.length * 2 + KEY_BYTES + MAX_NAME_LENGTH);
    this.#bytes.set(keys, this.#keysStart);
    this.#keysEnd = this.#keysStart + keys.length;
    if (!this.#placeAll()) this.#reseed();
  }

  /** Puts every key in its slot; false if the spare slots do not suffice. */
  #placeAll(): boolean {
    const keys = this.#bytes;
    for (let key = this.#keysStart; key < this.#keysEnd; key += KEY_BYTES + keys[key]) {
      const start = key + KEY_BYTES;
      const hash = hashBytes(this.#words, HASH_OFFSET, keys, start, start + keys[key]);
      if (!this.#place(hash, key)) return false;
    }
    return true;
  }
}

function wholePages(bytes: number): number {
  return Math.ceil(bytes / 4096) * 4096;
}

function randomSeed(): number {
  return crypto.getRandomValues(new Int32Array(1))[0];
}
