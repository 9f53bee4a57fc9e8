import { describe, expect, test } from "vitest";
import { choose } from "../../src/relay/balance.js";
import { interleave, Target } from "../../src/relay/target.js";

function targets(...names: string[]): Target[] {
  return names.map((name) => new Target("app", { name, addresses: [{ path: `/${name}` }] }));
}

describe("choose", () => {
  test("goes round, passing over those that rest", () => {
    const all = targets("a", "b", "c");
    all[1]!.failed(0, 0, "ECONNREFUSED");
    const chosen = Array.from({ length: 6 }, (_, turn) => choose(all, "round-robin", 1, turn, undefined)!.name);
    expect(chosen).toEqual(["a", "c", "c", "a", "c", "c"]);
    expect(choose(all, "round-robin", 1000, 1, undefined)!.name).toBe("b");
  });

  test("takes one that rests if all others have been tried", () => {
    const all = targets("a", "b");
    all[1]!.failed(0, 0, "ECONNREFUSED");
    expect(choose(all, "round-robin", 1, 0, new Set([all[0]!]))!.name).toBe("b");
    expect(choose(all, "round-robin", 1, 0, new Set(all))).toBeUndefined();
    expect(choose([], "round-robin", 1, 0, undefined)).toBeUndefined();
  });

  test("of least-connections takes the fewest, but none that rests before one that does not", () => {
    const all = targets("a", "b", "c");
    all[0]!.active = 5;
    all[1]!.active = 2;
    all[2]!.failed(0, 0, "ECONNREFUSED");
    expect([0, 1, 2].map((turn) => choose(all, "least-connections", 1, turn, undefined)!.name)).toEqual([
      "b",
      "b",
      "b",
    ]);
    all[0]!.active = 2;
    expect([0, 1].map((turn) => choose(all, "least-connections", 1, turn, undefined)!.name)).toEqual(["a", "b"]);
  });
});

describe("a target's rest", () => {
  test("grows with each failure after it, up to half a minute, and ends with a success", () => {
    const [target] = targets("a") as [Target];
    let now = 0;
    const rests: number[] = [];
    for (let i = 0; i < 7; i++) {
      target.failed(now, now, "ECONNREFUSED");
      rests.push(target.status(now).resting);
      now += rests.at(-1)!;
      expect(target.rests(now)).toBe(false);
    }
    expect(rests).toEqual([1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
    target.took();
    expect(target.status(now)).toMatchObject({ failures: 0, resting: 0, lastFailure: "ECONNREFUSED" });
  });

  test("does not grow by what was tried before it began", () => {
    const [target] = targets("a") as [Target];
    target.failed(100, 90, "ECONNREFUSED");
    target.failed(101, 95, "ECONNREFUSED");
    expect(target.status(101)).toMatchObject({ failures: 1, resting: 999 });
  });

  test("is ended by one connection at a time", () => {
    const [target] = targets("a") as [Target];
    target.failed(0, 0, "ETIMEDOUT");
    target.chosen(1000, 300);
    expect(target.rests(1000)).toBe(true);
    expect(target.rests(1300)).toBe(false);
  });
});

describe("addresses", () => {
  test("of two families are tried in turn, beginning with that of the first", () => {
    const endpoint = (text: string) => ({ text, socketAddress: undefined, path: "" });
    const order = (...texts: string[]) => interleave(texts.map(endpoint)).map(({ text }) => text);
    expect(order("[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1")).toEqual([
      "[::1]:1",
      "1.1.1.1:1",
      "[::2]:1",
      "2.2.2.2:1",
      "[::3]:1",
    ]);
    expect(order("1.1.1.1:1", "[::1]:1")).toEqual(["1.1.1.1:1", "[::1]:1"]);
    expect(order()).toEqual([]);
  });
});
