/** A test for each call, and a line at the end that says how much was tried. */
import { mkdirSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { Folder } from "../../support/folder.js";
import { inParallel } from "../../support/raw-client.js";
import { type Case, casesOf, type Rule, Tally } from "./cases.js";
import { compileInjector } from "./inject.js";

/** A process whose calls fail, and all around it. */
export interface Lane {
  start(): Promise<void>;
  /** One case: how many calls failed, and what is wrong with what came of it. */
  round(tried: Case): Promise<{ failed: number; wrong: string[] }>;
  /** What is wrong with its end. */
  end(): Promise<string[]>;
}

/**
 * Most waits for events of all threads of a process while its calls fail, 120 ms or a little more. V8 sweeps in small tasks,
 * each a turn of its own: now and then that is a thousand in a few milliseconds. A loop that spins makes many thousands.
 */
export const MOST_TURNS = 4000;

/** Processes that are tried at once: most of a round's time is waiting. */
const LANES = 5;
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
      await inParallel(casesOf(rule), LANES, async (tried: Case) => {
        const lane = free.pop()!;
        const result = await lane.round(tried);
        free.push(lane);
        tally.add(tried, result.failed);
        wrong.push(...result.wrong);
      });
      expect(wrong).toEqual([]);
    });

    it("at every site that is listed", () => {
      expect(tally.missed).toEqual([]);
    });
  });
}
