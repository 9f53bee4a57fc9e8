import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Deadlines, NOBODY } from "../../src/relay/deadlines.js";

/** All that are due, in the order in which they are given, and cleared. */
function takeExpired(deadlines: Deadlines, now: number): number[] {
  const slots: number[] = [];
  for (let slot = deadlines.expired(now); slot !== NOBODY; slot = deadlines.expired(now)) {
    slots.push(slot);
    deadlines.clear(slot);
  }
  return slots;
}

describe("deadlines", () => {
  test("come when they are due, of whatever duration", () => {
    const deadlines = new Deadlines(4);
    expect(deadlines.dueAt).toBe(Number.POSITIVE_INFINITY);
    deadlines.set(0, 0, 100);
    deadlines.set(1, 10, 20);
    deadlines.set(2, 20, 100);
    expect(deadlines.dueAt).toBe(30);
    expect(takeExpired(deadlines, 29)).toEqual([]);
    expect(takeExpired(deadlines, 30)).toEqual([1]);
    expect(takeExpired(deadlines, 120)).toEqual([0, 2]);
    expect(deadlines.dueAt).toBe(Number.POSITIVE_INFINITY);
  });

  test("are as a plain list of them has it", () => {
    const step = fc.record({
      slot: fc.nat(7),
      action: fc.constantFrom("set", "clear", "expire"),
      duration: fc.constantFrom(5, 20, 100),
      passes: fc.nat(30),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 100 }), (steps) => {
        const deadlines = new Deadlines(8);
        const model = new Map<number, number>();
        let now = 0;
        for (const { slot, action, duration, passes } of steps) {
          now += passes;
          if (action === "set") {
            deadlines.set(slot, now, duration);
            model.set(slot, now + duration);
            expect(deadlines.duration(slot)).toBe(duration);
          } else if (action === "clear") {
            deadlines.clear(slot);
            model.delete(slot);
          } else {
            const due = [...model].filter(([, at]) => at <= now).map(([each]) => each);
            expect(takeExpired(deadlines, now).sort()).toEqual(due.sort());
            for (const each of due) model.delete(each);
          }
          expect(deadlines.dueAt).toBe(Math.min(...model.values()));
        }
      }),
    );
  });
});
