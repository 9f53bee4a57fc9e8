/** The workers' view of a compiled route table: a name's bytes in, a target out. */

import { column, hashBytes, ROW_WORDS } from "./hash.js";
import {
  firstSlot,
  HASH_OFFSET,
  Header,
  KEY_HEADER_BYTES,
  LAYOUT_VERSION,
  MAGIC,
  NO_TARGET,
  SLOTS_OFFSET,
} from "./layout.js";
import { MatchKind } from "./match.js";
import { MAX_NAME_LENGTH } from "./name.js";

export { RouteTableBuilder } from "./builder.js";
export { type Explanation, explain, type Match } from "./explain.js";
export { type Capacity, FIRST_RULES_TARGET, NO_TARGET, PATTERNS_TARGET, regionBytes } from "./layout.js";
export { MatchKind, matchedPattern } from "./match.js";

const DOT = 0x2e;

// What the look-up needs, as constants of this file: see hash.ts for what imports cost there.
const DEFAULT = MatchKind.DEFAULT;
const WILDCARD = MatchKind.WILDCARD;
const EXACT = MatchKind.EXACT;
const LONGEST_NAME = MAX_NAME_LENGTH;
const WILDCARD_LABELS = Header.WILDCARD_LABELS;
const FIRST_ROW = HASH_OFFSET;
const ROW = ROW_WORDS;
const FIRST_SLOT = SLOTS_OFFSET;
const KEY_BYTES = KEY_HEADER_BYTES;
const columnOf = column;
const firstSlotOf = firstSlot;

export class RouteTable {
  /** After a look-up: which kind of route won. */
  matchedKind: MatchKind = MatchKind.DEFAULT;
  /**
   * After a look-up: how many bytes at the name's end the route that won stands for: all of them for an exact name,
   * those of ".example.com" for "*.example.com", 0 for the default.
   */
  matchedLength = 0;

  readonly #words: Int32Array;
  readonly #bytes: Uint8Array;
  #slotCount = 0;
  #longestProbe = 0;
  #defaultTarget = 0;

  /** Dots of the name that is looked up behind which a wildcard may match: hash and place, from the right. */
  readonly #dotHash = new Int32Array(MAX_NAME_LENGTH);
  readonly #dotAt = new Int32Array(MAX_NAME_LENGTH);
  /** How many of them the last look-up has left untried. */
  #untried = 0;

  /** A view over a region that `RouteTableBuilder.finish` returned. */
  constructor(region: SharedArrayBuffer) {
    this.#words = new Int32Array(region, 0, region.byteLength >>> 2);
    this.#bytes = new Uint8Array(region);
    this.refresh();
  }

  /**
   * Reads the header again, for a region that was finished anew: a worker keeps one view of each region and allocates
   * nothing when routes change.
   */
  refresh(): void {
    const words = this.#words;
    if (words.length < SLOTS_OFFSET || Atomics.load(words, Header.MAGIC) !== MAGIC) {
      throw new TypeError("the shared memory holds no finished route table");
    }
    if (words[Header.VERSION] !== LAYOUT_VERSION) {
      throw new TypeError(`the route table has layout ${words[Header.VERSION]}, not ${LAYOUT_VERSION}`);
    }
    this.#slotCount = words[Header.SLOT_COUNT];
    this.#longestProbe = words[Header.LONGEST_PROBE];
    this.#defaultTarget = words[Header.DEFAULT_TARGET];
  }

  /** For names without a route; NO_TARGET if there is none. */
  get defaultTarget(): number {
    return this.#defaultTarget;
  }

  /** For hellos without a server name. */
  get noServerNameTarget(): number {
    return this.#words[Header.NO_SERVER_NAME_TARGET];
  }

  /** For clients that speak something else than TLS. */
  get notTlsTarget(): number {
    return this.#words[Header.NOT_TLS_TARGET];
  }

  /** Routes in the table. */
  get names(): number {
    return this.#words[Header.NAMES];
  }

  /** Bytes of the region that the table uses. */
  get bytes(): number {
    return this.#words[Header.BYTES];
  }

  /** The farthest that any key lies from where its search begins, in slots. */
  get longestProbe(): number {
    return this.#longestProbe;
  }

  /**
   * The target for the name in `length` bytes from `start`: lower case, without trailing dot, as the ClientHello
   * parser leaves it. Exact names win over wildcards, longer wildcards over shorter ones; else it is the default.
   * Does not allocate. Other bytes than those of a name, and impossible lengths, get the default.
   */
  lookup(name: Uint8Array, start: number, length: number): number {
    this.matchedKind = DEFAULT;
    this.matchedLength = 0;
    const end = start + length;
    if (!(length >= 1 && length <= LONGEST_NAME && start >= 0 && end <= name.length)) return this.#defaultTarget;

    const words = this.#words;
    let hash = 0;
    let row = FIRST_ROW;
    let labels = 0;
    let candidates = 0;
    for (let i = end - 1; i > start; i--, row += ROW) {
      const byte = name[i];
      hash ^= words[row + columnOf(byte)];
      if (byte === DOT) {
        labels++;
        if ((words[WILDCARD_LABELS + (labels >>> 5)] >>> (labels & 31)) & 1) {
          this.#dotHash[candidates] = hash;
          this.#dotAt[candidates] = i;
          candidates++;
        }
      }
    }
    // A key that begins with a dot is a wildcard, so a name that does has no exact route.
    if (name[start] !== DOT) {
      const target = this.#find(hash ^ words[row + columnOf(name[start])], name, start, length);
      if (target >= 0) {
        this.matchedKind = EXACT;
        this.matchedLength = length;
        this.#untried = candidates;
        return target;
      }
    }
    return this.#longestWildcard(name, end, candidates);
  }

  /**
   * After a look-up of this very name: the target of the next less specific route that matches, the default being the
   * last; NO_TARGET behind that. For routes whose conditions do not hold. Does not allocate.
   */
  next(name: Uint8Array, start: number, length: number): number {
    if (this.matchedKind === DEFAULT) return NO_TARGET;
    return this.#longestWildcard(name, start + length, this.#untried);
  }

  /** Of the first `candidates` dots the wildcard that is farthest from the end, else the default. */
  #longestWildcard(name: Uint8Array, end: number, candidates: number): number {
    while (candidates > 0) {
      candidates--;
      const at = this.#dotAt[candidates];
      const target = this.#find(this.#dotHash[candidates], name, at, end - at);
      if (target >= 0) {
        this.matchedKind = WILDCARD;
        this.matchedLength = end - at;
        this.#untried = candidates;
        return target;
      }
    }
    this.matchedKind = DEFAULT;
    this.matchedLength = 0;
    return this.#defaultTarget;
  }

  /** The target of one key ("app.example.com"; ".example.com" for a wildcard) in bytes [start, end), or -1. */
  findKey(bytes: Uint8Array, start: number, end: number): number {
    if (!(end > start && end - start <= MAX_NAME_LENGTH)) return -1;
    return this.#find(hashBytes(this.#words, HASH_OFFSET, bytes, start, end), bytes, start, end - start);
  }

  /** The target of the key in `length` bytes from `start`, or -1. */
  #find(hash: number, name: Uint8Array, start: number, length: number): number {
    const words = this.#words;
    const keys = this.#bytes;
    let slot = FIRST_SLOT + 2 * firstSlotOf(hash, this.#slotCount);
    for (let probes = this.#longestProbe; probes >= 0; probes--, slot += 2) {
      const key = words[slot + 1];
      if (key === 0) return -1;
      const stored = words[slot];
      if (stored < hash) continue;
      if (stored > hash) return -1;
      if (keys[key] !== length) continue;
      let i = 0;
      while (i < length && keys[key + KEY_BYTES + i] === name[start + i]) i++;
      if (i === length) return keys[key + 1] | (keys[key + 2] << 8) | (keys[key + 3] << 16);
    }
    return -1;
  }
}
