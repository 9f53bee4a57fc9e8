import { describe, expect, it } from "vitest";
import { Gathering, PAUSE } from "../../src/door/gathering.js";

const BATCH = 64;

/** Turns that each accept so many, so many milliseconds after the one before. What the last one says. */
function turns(gathering: Gathering, count: number, accepted: number, apart: number, from = 0): boolean {
  let pauses = false;
  for (let i = 0; i < count; i++) pauses = gathering.after(accepted, from + i * apart);
  return pauses;
}

describe("a pause in which connections gather", () => {
  it("is made while some come in its time", () => {
    expect(turns(new Gathering(BATCH), 100, 1, PAUSE / 2.1)).toBe(true);
    expect(turns(new Gathering(BATCH), 100, 10, PAUSE * 4)).toBe(true);
  });

  it("is not made while fewer come: who waits alone is not kept waiting", () => {
    expect(turns(new Gathering(BATCH), 100, 1, PAUSE / 1.9)).toBe(false);
    expect(turns(new Gathering(BATCH), 100, 10, PAUSE * 7)).toBe(false);
  });

  it("is not made after a full batch, behind which there are more, nor after a turn without a connection", () => {
    const gathering = new Gathering(BATCH);
    expect(turns(gathering, 10, BATCH - 1, 0.5)).toBe(true);
    expect(gathering.after(BATCH, 5)).toBe(false);
    expect(gathering.after(BATCH + 1, 5.1)).toBe(false);
    expect(gathering.after(0, 5.2)).toBe(false);
    expect(gathering.after(1, 5.3)).toBe(true);
  });

  it("is not made for the first connections after a rest, however many come at once", () => {
    const gathering = new Gathering(BATCH);
    expect(turns(gathering, 100, 10, 0.1)).toBe(true);
    expect(gathering.after(BATCH - 1, 1000)).toBe(false);
  });

  it("is made no more when they come slowly again", () => {
    const gathering = new Gathering(BATCH);
    expect(turns(gathering, 100, 10, 0.1)).toBe(true);
    expect(turns(gathering, 10, 1, 0.5, 20)).toBe(false);
  });
});
