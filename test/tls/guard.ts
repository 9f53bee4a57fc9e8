/** A byte array that only lets its middle be read, and counts. */

export interface Guarded {
  /** `bytes` between two strips that no one may read. */
  readonly bytes: Uint8Array;
  readonly start: number;
  readonly end: number;
  /** How many bytes were read so far. */
  reads(): number;
}

const STRIP = 64;

/** Reading outside [start..end), writing anywhere, or asking for anything but bytes throws. */
export function guard(inner: Uint8Array): Guarded {
  const start = STRIP;
  const end = STRIP + inner.length;
  const buffer = new Uint8Array(end + STRIP);
  buffer.set(inner, start);
  let reads = 0;
  const bytes = new Proxy(buffer, {
    get(target, key) {
      const index = Number(key);
      if (!(index >= start && index < end)) throw new Error(`read of [${String(key)}] outside [${start}..${end})`);
      reads++;
      return target[index];
    },
    set(_, key) {
      throw new Error(`write to [${String(key)}]`);
    },
  });
  return { bytes, start, end, reads: () => reads };
}
