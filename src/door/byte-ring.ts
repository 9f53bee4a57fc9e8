/**
 * A ring of records of bytes in shared memory: one writer and one reader, in different threads. A record that does not
 * fit is dropped and counted, so the writer never waits.
 *
 * The head (written up to) and the tail (read up to) count bytes and wrap at 2^32, which is a multiple of every size. A
 * record is a length, then that many bytes; it begins at a multiple of 8 and does not wrap: where the end of the ring is
 * too near, a length of SKIP says that the next one is at the ring's start.
 */

/** Words of the header, each on a cache line of its own. */
const HEAD = 0;
const TAIL = 16;
const DROPPED = 32;
const HEADER_BYTES = 256;
const LENGTH_BYTES = 8;
const SKIP = -1;

export const SMALLEST_RING = 1 << 10;
const LARGEST_RING = 1 << 30;

/** Shared memory for a ring of `bytes`, a power of two from 2^10 to 2^30. */
export function createRing(bytes: number): SharedArrayBuffer {
  if (!Number.isInteger(Math.log2(bytes)) || bytes < SMALLEST_RING || bytes > LARGEST_RING) {
    throw new RangeError(
      `a ring of ${bytes} bytes; it must be a power of two from ${SMALLEST_RING} to ${LARGEST_RING}`,
    );
  }
  return new SharedArrayBuffer(HEADER_BYTES + bytes);
}

const padded = (length: number) => (length + 7) & ~7;

class Ring {
  /** Views of the whole memory: places are counted from its start. */
  readonly bytes: Uint8Array;
  readonly words: Int32Array;
  readonly doubles: Float64Array;
  protected readonly size: number;

  constructor(memory: SharedArrayBuffer) {
    this.bytes = new Uint8Array(memory);
    this.words = new Int32Array(memory);
    this.doubles = new Float64Array(memory);
    this.size = memory.byteLength - HEADER_BYTES;
  }

  /** Records that were dropped so far, modulo 2^32. */
  get dropped(): number {
    return Atomics.load(this.words, DROPPED) >>> 0;
  }
}

export class RingWriter extends Ring {
  private head: number;
  /** What the reader had read when that was last looked at. */
  private tail: number;

  constructor(memory: SharedArrayBuffer) {
    super(memory);
    this.head = Atomics.load(this.words, HEAD);
    this.tail = Atomics.load(this.words, TAIL);
  }

  /**
   * Where `length` bytes may be written, a multiple of 8; -1 if there is no room, which is counted. `commit` makes the
   * record visible; without it the next `reserve` gives the place again.
   */
  reserve(length: number): number {
    const { words, size } = this;
    const needed = LENGTH_BYTES + padded(length);
    let at = this.head & (size - 1);
    const behind = size - at;
    const skipped = needed > behind ? behind : 0;
    if (!this.fits(skipped + needed)) {
      Atomics.add(words, DROPPED, 1);
      return -1;
    }
    if (skipped > 0) {
      words[(HEADER_BYTES + at) >> 2] = SKIP;
      this.head = (this.head + skipped) | 0;
      at = 0;
    }
    words[(HEADER_BYTES + at) >> 2] = length;
    return HEADER_BYTES + at + LENGTH_BYTES;
  }

  private fits(bytes: number): boolean {
    const { size } = this;
    if (((this.head - this.tail) >>> 0) + bytes <= size) return true;
    this.tail = Atomics.load(this.words, TAIL);
    return ((this.head - this.tail) >>> 0) + bytes <= size;
  }

  /** Gives the record that was reserved last, of so many bytes, to the reader. */
  commit(length: number): void {
    this.head = (this.head + LENGTH_BYTES + padded(length)) | 0;
    Atomics.store(this.words, HEAD, this.head);
  }
}

export class RingReader extends Ring {
  private tail: number;
  /** Bytes of the record that `next` found. */
  length: number = 0;

  constructor(memory: SharedArrayBuffer) {
    super(memory);
    this.tail = Atomics.load(this.words, TAIL);
  }

  /** Where the oldest record's bytes are; -1 if there is none. They stay until `release`. */
  next(): number {
    const { words, size } = this;
    if (Atomics.load(words, HEAD) === this.tail) return -1;
    let at = this.tail & (size - 1);
    if (words[(HEADER_BYTES + at) >> 2] === SKIP) {
      this.tail = (this.tail + size - at) | 0;
      at = 0;
    }
    this.length = words[(HEADER_BYTES + at) >> 2]!;
    return HEADER_BYTES + at + LENGTH_BYTES;
  }

  /** Gives the place of the record that `next` found back to the writer. */
  release(): void {
    this.tail = (this.tail + LENGTH_BYTES + padded(this.length)) | 0;
    Atomics.store(this.words, TAIL, this.tail);
  }
}
