import { describe, expect, test } from "vitest";
import { parseClientHello } from "../../src/tls/index.js";
import { generateHello, MUTATIONS } from "./hello-generator.js";
import { seededRandom } from "./random.js";

test("the same seed makes the same hello", () => {
  for (let seed = 0; seed < 30; seed++)
    expect(generateHello(seededRandom(seed))).toEqual(generateHello(seededRandom(seed)));
});

test("without a mutation it is right, with its name and protocols", () => {
  for (let seed = 0; seed < 200; seed++) {
    const { bytes, mutation, name, alpn } = generateHello(seededRandom(seed), "none");
    expect(mutation).toBeUndefined();
    const serverName = name?.toLowerCase().replace(/\.$/, "");
    expect(parseClientHello(bytes)).toMatchObject({ status: "done", length: bytes.length, serverName, alpn });
  }
});

test("chance picks every mutation", () => {
  const random = seededRandom(1);
  const seen = new Set(Array.from({ length: 2000 }, () => generateHello(random).mutation));
  expect([...seen].sort()).toEqual([...MUTATIONS, undefined].sort());
});

describe.each(MUTATIONS)("%s", (mutation) => {
  test("is done, and says so", () => {
    const made = Array.from({ length: 40 }, (_, seed) => generateHello(seededRandom(seed), mutation));
    expect(made.every((each) => each.mutation === mutation)).toBe(true);
    const unchanged = made.filter(
      ({ bytes }, seed) => Buffer.compare(bytes, generateHello(seededRandom(seed), "none").bytes) === 0,
    );
    expect(unchanged.length).toBeLessThan(made.length);
  });
});
