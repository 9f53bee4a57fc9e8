import { describe, expect, it } from "vitest";
import { PeerError, SystemCallError } from "../../src/errors.js";
import { ToldCauses } from "../../src/handoff/told-causes.js";

const MINUTE = 60_000;
const of = (pid: number, message: string) => new PeerError("ERR_PROTOCOL", message, { pid, uid: 1, gid: 1 });

describe("a cause is told", () => {
  it("once, whatever numbers are in it", () => {
    const told = new ToldCauses();
    expect([5, 6, 7].map((n) => told.isNew(of(9, `states ${n} bytes`), n))).toEqual([true, false, false]);
    expect(told.isNew(of(9, "field 4 twice"), 8)).toBe(true);
  });

  it("for each process apart", () => {
    const told = new ToldCauses();
    expect([9, 10, 9].map((pid) => told.isNew(of(pid, "field 4 twice"), 0))).toEqual([true, true, false]);
  });

  it("again after ten minutes without it, not after ten minutes of it", () => {
    const told = new ToldCauses();
    const error = new SystemCallError("accept4", "EMFILE", 24, "Too many open files");
    expect([0, 9, 18, 27, 37].map((minute) => told.isNew(error, minute * MINUTE))).toEqual([
      ...[true, false, false, false, true],
    ]);
  });

  it("as long as there are no more than a hundred, so that many processes are no flood", () => {
    const told = new ToldCauses();
    const tell = (count: number, first: number, minute: number) =>
      Array.from({ length: count }, (_, i) => told.isNew(of(first + i, "no"), minute * MINUTE)).filter(Boolean).length;
    expect(tell(150, 1, 0)).toBe(100);
    expect(tell(150, 1000, 9)).toBe(0);
    expect(tell(150, 2000, 11)).toBe(100);
  });
});
