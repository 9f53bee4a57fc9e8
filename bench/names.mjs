/** The server names of the benchmark: numbered, all of one length, so that a hello's digits can be replaced in place. */

import { once } from "node:events";
import { createWriteStream } from "node:fs";

const DIGITS = 7;

/** In a hello: the load generator puts the number where the # are. */
export const nameTemplate = `n${"#".repeat(DIGITS)}.bench.example`;

/** @param {number} number from 0 */
export const nameOf = (number) => `n${String(number).padStart(DIGITS, "0")}.bench.example`;

/** Of the names below those, that a wildcard `*.n0000000.bench.example` matches. */
export const nameTemplateBelow = `a.${nameTemplate}`;

/**
 * Writes a map, "name backend" a line.
 *
 * @param {string} path
 * @param {number} count of names, from number 0 on
 * @param {string} backend
 * @param {(name: string) => string} [line] with its line feed, for a file of another form
 */
export async function writeMap(path, count, backend, line = (name) => `${name} ${backend}\n`) {
  const file = createWriteStream(path);
  for (let number = 0; number < count; ) {
    let lines = "";
    for (const end = Math.min(count, number + 10_000); number < end; number++) {
      lines += line(nameOf(number));
    }
    if (!file.write(lines)) {
      await once(file, "drain");
    }
  }
  file.end();
  await once(file, "finish");
}
