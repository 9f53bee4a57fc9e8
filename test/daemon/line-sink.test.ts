import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { LineSink } from "../../src/daemon/line-sink.js";

beforeEach(() => {
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
});

/** An output that takes `room` bytes, then fails with `code`. */
class Output {
  taken = "";
  writes = 0;
  room = Number.POSITIVE_INFINITY;
  code = "EAGAIN";

  readonly write = (bytes: Uint8Array): number => {
    this.writes++;
    if (this.room === 0) throw Object.assign(new Error(this.code), { code: this.code });
    const part = bytes.subarray(0, this.room);
    this.room -= part.length;
    this.taken += Buffer.from(part).toString();
    return part.length;
  };
}

test("a line is written at once", () => {
  const output = new Output();
  const sink = new LineSink(-1, { write: output.write });
  sink.write("one\n");
  expect(output.taken).toBe("one\n");
  expect(sink.congested).toBe(false);
});

test("corked lines are one write", () => {
  const output = new Output();
  const sink = new LineSink(-1, { write: output.write });
  sink.cork();
  for (let i = 0; i < 100; i++) sink.write(`${i}\n`);
  expect(output.writes).toBe(0);
  sink.uncork();
  expect(output.writes).toBe(1);
  expect(output.taken.split("\n")).toHaveLength(101);
});

test.each(["EAGAIN", "EPIPE", "ENOSPC", "EIO"])(
  "after %s the lines wait, and none is torn when there is room",
  (code) => {
    const output = new Output();
    const sink = new LineSink(-1, { write: output.write });
    output.room = 5;
    output.code = code;
    sink.write("first\n");
    sink.write("sécond\n");
    expect(output.taken).toBe("first");
    expect(sink.congested).toBe(true);
    const drained = vi.fn();
    sink.onceDrained(drained);
    vi.advanceTimersByTime(1000);
    expect(drained).not.toHaveBeenCalled();
    output.room = Number.POSITIVE_INFINITY;
    vi.advanceTimersByTime(200);
    expect(output.taken).toBe("first\nsécond\n");
    expect(sink.congested).toBe(false);
    expect(drained).toHaveBeenCalledOnce();
  },
);

test("what does not fit into the room is dropped line by line, counted, and said when there is room again", () => {
  const output = new Output();
  const said: number[] = [];
  const sink = new LineSink(-1, { write: output.write, room: 10, dropped: (lines) => said.push(lines) });
  output.room = 0;
  for (const line of ["1234\n", "5678\n", "lost\n", "lost\n"]) sink.write(line);
  expect(sink.dropped).toBe(2);
  expect(said).toEqual([]);
  output.room = Number.POSITIVE_INFINITY;
  vi.advanceTimersByTime(200);
  expect(output.taken).toBe("1234\n5678\n");
  expect(said).toEqual([2]);
  sink.write("more\n");
  expect(output.taken).toBe("1234\n5678\nmore\n");
});

test("an output that takes nothing is tried ever more seldom, up to five times a second", () => {
  const output = new Output();
  const sink = new LineSink(-1, { write: output.write });
  output.room = 0;
  sink.write("x\n");
  vi.advanceTimersByTime(60_000);
  expect(output.writes).toBeGreaterThan(290);
  expect(output.writes).toBeLessThan(320);
  // Further lines are no further attempts.
  const before = output.writes;
  for (let i = 0; i < 100; i++) sink.write("x\n");
  expect(output.writes).toBe(before);
});

test("flush waits until all is written, but not for ever", () => {
  const output = new Output();
  const sink = new LineSink(-1, { write: output.write });
  const flushed = vi.fn();
  sink.flush(flushed);
  expect(flushed).toHaveBeenCalledTimes(1);
  output.room = 0;
  sink.write("x\n");
  sink.flush(flushed);
  sink.flush(flushed);
  vi.advanceTimersByTime(500);
  expect(flushed).toHaveBeenCalledTimes(1);
  vi.advanceTimersByTime(500);
  expect(flushed).toHaveBeenCalledTimes(3);
  sink.flush(flushed);
  output.room = 100;
  vi.advanceTimersByTime(400);
  expect(flushed).toHaveBeenCalledTimes(4);
  vi.advanceTimersByTime(10_000);
  expect(flushed).toHaveBeenCalledTimes(4);
});
