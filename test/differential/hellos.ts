/** Hellos by number: the same seed and number give the same bytes. */
import { type GeneratedHello, generateHello } from "../fuzz/hello-generator.js";
import { seededRandom } from "../fuzz/random.js";

export function helloAt(seed: number, index: number): GeneratedHello {
  return generateHello(seededRandom(Math.imul(seed, 0x9e3779b1) + index));
}
