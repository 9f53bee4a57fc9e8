/** A test for each call, and a line at the end that says how much was tried. */
import { mkdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Folder } from "../../support/folder.js";
import { inParallel } from "../../support/raw-client.js";
import { type Case, casesOf, type Rule, Tally } from "./cases.js";
import { compileInjector, type Waits } from "./inject.js";

/** A process whose calls fail, and all around it. */
export interface Lane {
  start(): Promise<void>;
  /**
   * One case: how many calls failed, and what is wrong with what came of it. `stretch`: they fail so much longer than
   * they would on a machine that has time.
   */
  round(tried: Case, stretch: number): Promise<{ failed: number; wrong: string[] }>;
  /** What is wrong with its end. */
  end(): Promise<string[]>;
}

/**
 * Most waits for events of all threads of a process while its calls fail, for 120 ms, beside those for V8's tasks. Most
 * rounds have some dozens; a loop that spins makes thousands, and on a machine that has no time for it many hundreds.
 */
const MOST_TURNS = 1200;
const WITHIN = 120;

/** What is wrong with how often a process has waited within so many milliseconds. */
export function lookAtWaits(before: Waits, after: Waits, lasted: number): string[] {
  const turns = after.turns - before.turns;
  if (turns <= Math.ceil((MOST_TURNS * lasted) / WITHIN)) return [];
  const others = `${after.tasks - before.tasks} times more for tasks of V8's; ${after.empty - before.empty} without an event`;
  return [`it waited for events ${turns} times within ${Math.round(lasted)} ms (${others}): a busy loop`];
}

/** How many `most` in the time that calls fail are if they do for `lasted` milliseconds. */
export function inTime(most: number, lasted: number): number {
  return Math.ceil(most * Math.max(1, lasted / WITHIN));
}

/** Processes that are tried at once: most of a round's time is waiting. */
const LANES = 5;
/** How much longer calls fail if in no case of a site one was made meanwhile: what leads there may take its time. */
const STRETCHES = [1, 5, 25];
/** Of all cases of a call. Milliseconds. */
const TIMEOUT = 900_000;

export function tryAll(who: string, rules: readonly Rule[], make: (folder: string, library: string) => Lane): void {
  const folder = new Folder();
  const lanes: Lane[] = [];
  const tally = new Tally();

  beforeAll(async () => {
    const library = compileInjector(folder.path);
    for (let i = 0; i < LANES; i++) {
      const at = folder.at(`lane-${i}`);
      mkdirSync(at, { mode: 0o755 });
      lanes.push(make(at, library));
    }
    for (const lane of lanes) await lane.start();
  });

  afterAll(async () => {
    const wrong = await Promise.all(lanes.map((lane) => lane.end()));
    console.log(`${who}: ${tally}`);
    expect(wrong.flat()).toEqual([]);
  });

  describe(`a call of the ${who}'s fails`, () => {
    it.each(rules.map((rule) => [rule.site, rule] as const))("%s", { timeout: TIMEOUT }, async (_site, rule) => {
      const free = [...lanes];
      const wrong: string[] = [];
      let isReached = false;
      for (const stretch of STRETCHES) {
        if (isReached) break;
        await inParallel(casesOf(rule), LANES, async (tried: Case) => {
          const lane = free.pop()!;
          const result = await lane.round(tried, stretch);
          free.push(lane);
          tally.add(tried, result.failed);
          isReached ||= result.failed > 0;
          wrong.push(...result.wrong);
        });
      }
      expect(wrong).toEqual([]);
    });

    it("at every site that is listed", () => {
      expect(tally.missed).toEqual([]);
    });
  });
}
