/** Chance from a seed, in as many sequences as there are salts: what is drawn from one changes nothing in another. */
import { type Random, seededRandom } from "../../fuzz/random.js";

export { integer, percent, pick, shuffled } from "../../fuzz/random.js";
export type { Random };

export function sequence(seed: number, ...salts: readonly number[]): Random {
  let state = seed;
  for (const salt of salts) state = Math.floor(seededRandom(state ^ Math.imul(salt + 1, 0x9e3779b1))() * 2 ** 32);
  return seededRandom(state);
}
