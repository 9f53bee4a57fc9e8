import { Worker } from "node:worker_threads";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { createRing, RingReader, RingWriter, SMALLEST_RING } from "../../src/door/byte-ring.js";

function write(writer: RingWriter, record: Uint8Array): boolean {
  const at = writer.reserve(record.length);
  if (at < 0) return false;
  expect(at % 8).toBe(0);
  writer.bytes.set(record, at);
  writer.commit(record.length);
  return true;
}

function read(reader: RingReader): Uint8Array | undefined {
  const at = reader.next();
  if (at < 0) return undefined;
  const record = reader.bytes.slice(at, at + reader.length);
  reader.release();
  return record;
}

/** Bytes that a record takes of a ring. */
const taken = (record: Uint8Array) => 8 + Math.ceil(record.length / 8) * 8;

/** A ring whose counts stand at `position`, as after so many bytes. */
function ringAt(position: number): SharedArrayBuffer {
  const memory = createRing(SMALLEST_RING);
  const words = new Int32Array(memory);
  words[0] = words[16] = position;
  return memory;
}

describe("a ring", () => {
  it("gives back what was written, in order, as a queue does, across its end and the wrap of its counts", () => {
    const step = fc.oneof(
      fc.uint8Array({ maxLength: 400 }).map((record) => ({ record })),
      fc.constant({ record: undefined }),
    );
    const position = fc.oneof(fc.integer({ min: 0, max: 200 }), fc.integer({ min: -100, max: -1 })).map((n) => 8 * n);
    fc.assert(
      fc.property(position, fc.array(step, { maxLength: 200 }), (start, steps) => {
        const memory = ringAt(start);
        const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
        const queue: Uint8Array[] = [];
        let dropped = 0;
        for (const { record } of steps) {
          if (record === undefined) {
            expect(read(reader)).toEqual(queue.shift());
          } else if (write(writer, record)) {
            queue.push(record);
            expect(queue.reduce((sum, each) => sum + taken(each), 0)).toBeLessThanOrEqual(SMALLEST_RING);
          } else {
            dropped++;
            // Only what may not fit behind what is there, or before it, is dropped.
            expect(queue.reduce((sum, each) => sum + taken(each), 2 * taken(record))).toBeGreaterThan(SMALLEST_RING);
          }
        }
        expect([writer.dropped, reader.dropped]).toEqual([dropped, dropped]);
        for (const record of queue) expect(read(reader)).toEqual(record);
        expect(read(reader)).toBeUndefined();
      }),
      { numRuns: 1000 },
    );
  });

  it("that is full drops, counts, and takes again what fits when it was read", () => {
    const memory = createRing(SMALLEST_RING);
    const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
    const record = new Uint8Array(120).fill(7);
    for (let i = 0; i < 8; i++) expect(write(writer, record)).toBe(true);
    for (let i = 0; i < 3; i++) expect(write(writer, record)).toBe(false);
    expect(reader.dropped).toBe(3);
    expect(read(reader)).toEqual(record);
    expect(write(writer, record)).toBe(true);
    expect(write(writer, record)).toBe(false);
  });

  it("takes a record that was reserved and not committed for none", () => {
    const memory = createRing(SMALLEST_RING);
    const [writer, reader] = [new RingWriter(memory), new RingReader(memory)];
    writer.bytes.fill(1, writer.reserve(40));
    expect(read(reader)).toBeUndefined();
    write(writer, Uint8Array.of(2));
    expect(read(reader)).toEqual(Uint8Array.of(2));
  });

  it("may be read by one that comes later, which begins with what has not been read", () => {
    const memory = createRing(SMALLEST_RING);
    const writer = new RingWriter(memory);
    for (let i = 0; i < 3; i++) write(writer, Uint8Array.of(i));
    expect(read(new RingReader(memory))).toEqual(Uint8Array.of(0));
    expect(read(new RingReader(memory))).toEqual(Uint8Array.of(1));
  });

  it.each([0, 1000, 512, 2 ** 31, 1.5])("cannot have %d bytes", (bytes) => {
    expect(() => createRing(bytes)).toThrow(/^a ring of .* bytes; it must be a power of two from 1024 to 1073741824$/);
  });

  it("carries everything from one thread to another", async () => {
    const count = 300_000;
    const memory = createRing(1 << 12);
    const worker = new Worker(new URL("../fixtures/ring-writer.mjs", import.meta.url), {
      workerData: { memory, count },
    });
    const failed = new Promise<never>((_, reject) => worker.once("error", reject));
    const reader = new RingReader(memory);
    let wrong = 0;
    for (let number = 0; number < count; ) {
      const at = reader.next();
      if (at < 0) {
        await Promise.race([new Promise((resolve) => setImmediate(resolve)), failed]);
        continue;
      }
      const length = 4 + (number % 61);
      if (reader.length !== length || reader.words[at >> 2] !== number) wrong++;
      for (let i = at + 4; i < at + length; i++) if (reader.bytes[i] !== (number & 0xff)) wrong++;
      reader.release();
      number++;
    }
    expect(wrong).toBe(0);
    await worker.terminate();
  });
});
