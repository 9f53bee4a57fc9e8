/** The fuzz targets without their fuzzer: what they begin with, what was found, and some chance. `npm run fuzz` is the real run. */
import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { byteMutations } from "./hello-generator/mutations.js";
import { pick, seededRandom } from "./random.js";
import { foundCases } from "./seeds.js";

interface Target {
  fuzz(data: Uint8Array): void | Promise<void>;
  seeds(): Uint8Array[];
}

/** Milliseconds of chance for each target. */
const TIME = 400;
const mutations = Object.values(byteMutations);

const names = readdirSync(new URL("targets/", import.meta.url)).map((name) => name.replace(/\.ts$/, ""));

test("there are targets", () => expect(names.length).toBeGreaterThan(10));

describe.each(names)("%s", (name) => {
  const load = () => import(`./targets/${name}.ts`) as Promise<Target>;

  test("holds for its seeds", async () => {
    const { fuzz, seeds } = await load();
    for (const seed of seeds()) await fuzz(seed);
    await fuzz(new Uint8Array());
  });

  test("holds for what broke it once", async () => {
    const { fuzz } = await load();
    for (const { bytes } of foundCases(name)) await fuzz(bytes);
  });

  test("holds for seeds with changed bytes", async () => {
    const { fuzz, seeds } = await load();
    const all = seeds();
    const random = seededRandom(1);
    for (const begun = performance.now(); performance.now() - begun < TIME; ) {
      let bytes: Uint8Array = pick(random, all).slice();
      for (let changes = 1 + Math.floor(random() * 3); changes > 0; changes--)
        bytes = pick(random, mutations)(bytes, random);
      await fuzz(bytes);
    }
  });
});
