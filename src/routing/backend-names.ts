/** Backend names -> indexes, looked up by bytes: a map file with a million lines names few backends very often. */

const encoder = new TextEncoder();

export class BackendNames {
  /** Names behind one another; entry n is bytes [starts[n], starts[n + 1]). */
  readonly #bytes: Uint8Array;
  readonly #starts: Int32Array;
  readonly #targets: Int32Array;
  /** Open addressing, at most half full: entry + 1, or 0. */
  readonly #slots: Int32Array;
  /** The entry found last: map files are often sorted by backend. */
  #last = 0;

  constructor(backends: ReadonlyMap<string, number>) {
    const names = [...backends.keys()].map((name) => encoder.encode(name));
    this.#targets = Int32Array.from(backends.values());
    this.#starts = new Int32Array(names.length + 1);
    for (let n = 0; n < names.length; n++) this.#starts[n + 1] = this.#starts[n] + names[n].length;
    this.#bytes = new Uint8Array(this.#starts[names.length]);
    this.#slots = new Int32Array(2 ** Math.ceil(Math.log2(names.length * 2 + 2)));
    for (let n = 0; n < names.length; n++) {
      this.#bytes.set(names[n], this.#starts[n]);
      let slot = this.#firstSlot(names[n], 0, names[n].length);
      while (this.#slots[slot] !== 0) slot = (slot + 1) & (this.#slots.length - 1);
      this.#slots[slot] = n + 1;
    }
  }

  /** The index of the backend whose name is bytes [start, end), or undefined. */
  find(bytes: Uint8Array, start: number, end: number): number | undefined {
    if (this.#targets.length > 0 && this.#is(this.#last, bytes, start, end)) return this.#targets[this.#last];
    let slot = this.#firstSlot(bytes, start, end);
    for (; this.#slots[slot] !== 0; slot = (slot + 1) & (this.#slots.length - 1)) {
      const entry = this.#slots[slot] - 1;
      if (!this.#is(entry, bytes, start, end)) continue;
      this.#last = entry;
      return this.#targets[entry];
    }
    return undefined;
  }

  #is(entry: number, bytes: Uint8Array, start: number, end: number): boolean {
    const from = this.#starts[entry];
    const length = end - start;
    if (this.#starts[entry + 1] - from !== length) return false;
    let i = 0;
    while (i < length && this.#bytes[from + i] === bytes[start + i]) i++;
    return i === length;
  }

  /** FNV-1a: these names are the operator's own, nobody aims at collisions. */
  #firstSlot(bytes: Uint8Array, start: number, end: number): number {
    let hash = 0x811c9dc5;
    for (let i = start; i < end; i++) hash = Math.imul(hash ^ bytes[i], 0x01000193);
    return (hash ^ (hash >>> 15)) & (this.#slots.length - 1);
  }
}
