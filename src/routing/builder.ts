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
  MAX_KEY_BYTES,
  MAX_PROBE,
  MAX_TARGET,
  NO_TARGET,
  SLOTS_OFFSET,
  SPARE_SLOTS,
  slotCountFor,
  WILDCARD_LABELS_WORDS,
} from "./layout.js";
import { MAX_NAME_LENGTH, quote } from "./name.js";

const DOT = 0x2e;
const STAR = 0x2a;

/** A new region is larger than asked by this part, so that a configuration that grows a little reuses it. */
const HEADROOM = 1 / 8;

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
  readonly #encoded = new Uint8Array(MAX_NAME_LENGTH + 1);

  #region!: SharedArrayBuffer;
  #words!: Int32Array;
  #slotCount = 0;
  #keys!: Uint8Array;
  #keyBytes = 0;

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

    const needed = KEY_HEADER_BYTES + length;
    if (this.#names >= this.#slotCount * 0.75 || this.#keyBytes + needed > this.#keys.length) {
      this.#grow(needed);
      return this.addBytes(bytes, start, end, target);
    }
    const at = this.#keyBytes;
    const keys = this.#keys;
    keys[at] = length;
    keys[at + 1] = target;
    keys[at + 2] = target >>> 8;
    keys[at + 3] = target >>> 16;
    for (let i = 0; i < length; i++) keys[at + KEY_HEADER_BYTES + i] = bytes[start + i];
    this.#keyBytes += needed;
    this.#names++;
    if (bytes[start] === DOT) this.#noteWildcard(bytes, start, end);
    if (!this.#place(hash, at + 1)) this.#reseed();
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
    words[Header.KEY_BYTES] = this.#keyBytes;
    words[Header.DEFAULT_TARGET] = this.defaultTarget;
    words[Header.NO_SERVER_NAME_TARGET] = this.noServerNameTarget ?? this.defaultTarget;
    words[Header.NOT_TLS_TARGET] = this.notTlsTarget ?? this.defaultTarget;
    words.set(this.#wildcardLabels, Header.WILDCARD_LABELS);

    const used = keysOffset(this.#slotCount) + this.#keyBytes;
    let result = this.#region;
    if (region !== result && region.byteLength >= used) {
      new Uint8Array(region).set(new Uint8Array(result, 0, used));
      result = region;
    }
    Atomics.store(new Int32Array(result, 0, 1), Header.MAGIC, MAGIC);
    return result;
  }

  /** Takes a region and makes an empty table of it. */
  #lay(slotCount: number, keyBytes: number, region?: SharedArrayBuffer): void {
    if (keyBytes > MAX_KEY_BYTES) throw new RangeError(`${keyBytes} bytes of names are more than a table can hold`);
    const offset = keysOffset(slotCount);
    if (region === undefined || region.byteLength < offset + keyBytes) {
      region = new SharedArrayBuffer(Math.ceil((offset + keyBytes) * (1 + HEADROOM)));
    }
    this.#region = region;
    this.#slotCount = slotCount;
    this.#words = new Int32Array(region, 0, offset / 4);
    this.#words.fill(0, 0, HASH_OFFSET);
    this.#keys = new Uint8Array(region, offset, Math.min(region.byteLength - offset, MAX_KEY_BYTES));
    this.#empty();
  }

  /** Empties the slots and draws the hash anew from the seed. */
  #empty(): void {
    this.#words.fill(0, SLOTS_OFFSET);
    fillHashWords(this.#words, HASH_OFFSET, this.#seed);
  }

  #find(hash: number, bytes: Uint8Array, start: number, length: number): number | undefined {
    const words = this.#words;
    const keys = this.#keys;
    let slot = SLOTS_OFFSET + 2 * firstSlot(hash, this.#slotCount);
    for (; slot < words.length && words[slot + 1] !== 0 && words[slot] <= hash; slot += 2) {
      if (words[slot] !== hash) continue;
      const at = words[slot + 1] - 1;
      if (keys[at] !== length) continue;
      let i = 0;
      while (i < length && keys[at + KEY_HEADER_BYTES + i] === bytes[start + i]) i++;
      if (i === length) return keys[at + 1] | (keys[at + 2] << 8) | (keys[at + 3] << 16);
    }
    return undefined;
  }

  /** Puts a key's slot where its hash belongs, moving larger ones behind it; false if the spare slots are used up. */
  #place(hash: number, reference: number): boolean {
    const words = this.#words;
    let slot = SLOTS_OFFSET + 2 * firstSlot(hash, this.#slotCount);
    while (slot < words.length && words[slot + 1] !== 0 && words[slot] <= hash) slot += 2;
    let free = slot;
    while (free < words.length && words[free + 1] !== 0) free += 2;
    if (free >= words.length) return false;
    for (; free > slot; free -= 2) {
      words[free] = words[free - 2];
      words[free + 1] = words[free - 1];
    }
    words[slot] = hash;
    words[slot + 1] = reference;
    return true;
  }

  #noteWildcard(bytes: Uint8Array, start: number, end: number): void {
    let labels = 0;
    for (let i = start; i < end; i++) if (bytes[i] === DOT) labels++;
    this.#wildcardLabels[labels >>> 5] |= 1 << (labels & 31);
  }

  #longestProbe(): number {
    const words = this.#words;
    const slots = this.#slotCount + SPARE_SLOTS;
    let longest = 0;
    for (let slot = 0; slot < slots; slot++) {
      if (words[SLOTS_OFFSET + 2 * slot + 1] === 0) continue;
      longest = Math.max(longest, slot - firstSlot(words[SLOTS_OFFSET + 2 * slot], this.#slotCount));
    }
    return longest;
  }

  /** Too many names in one place, which is chance of one in very many tables: draw another hash. */
  #reseed(): void {
    do {
      this.#seed = (this.#seed + 0x9e3779b9) | 0;
      this.#empty();
    } while (!this.#placeAll());
  }

  /** Moves to a region with room for `extra` more bytes of keys and twice the names. */
  #grow(extra: number): void {
    const keys = this.#keys.subarray(0, this.#keyBytes);
    this.#lay(slotCountFor(this.#names * 2), this.#keyBytes * 2 + extra);
    this.#keys.set(keys);
    if (!this.#placeAll()) this.#reseed();
  }

  #placeAll(): boolean {
    const keys = this.#keys;
    for (let at = 0; at < this.#keyBytes; at += KEY_HEADER_BYTES + keys[at]) {
      const start = at + KEY_HEADER_BYTES;
      const hash = hashBytes(this.#words, HASH_OFFSET, keys, start, start + keys[at]);
      if (!this.#place(hash, at + 1)) return false;
    }
    return true;
  }
}

function randomSeed(): number {
  return crypto.getRandomValues(new Int32Array(1))[0];
}
