import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { Child } from "../support/child.js";
import { Folder } from "../support/folder.js";

const folder = new Folder();
const root = join(import.meta.dirname, "../..");

async function ab(...options: readonly string[]): Promise<{ status: number | null; child: Child }> {
  const child = new Child(process.execPath, [join(root, "bench/ab.mjs"), ...options]);
  return { status: (await child.ended).status, child };
}

test("a build beside itself: both, and the floors, serve clients", async () => {
  const file = folder.at("ab.json");
  const { status, child } = await ab(
    ...[`one=${root}`, `two=${root},UNUSED=1`, "--clients", "8", "--rounds", "2", "--duration", "0.1", "--json", file],
  );
  expect(status, child.stderr).toBe(0);
  const { cases } = JSON.parse(readFileSync(file, "utf8")) as {
    cases: { clients: number; rounds: { name: string; rounds: { cpu: number; rate: number; failed: number }[] }[] }[];
  };
  expect(cases.map(({ clients }) => clients)).toEqual([8]);
  expect(cases[0]!.rounds.map(({ name }) => name)).toEqual(["floor", "floor-batched", "one", "two"]);
  for (const { rounds } of cases[0]!.rounds) {
    expect(rounds).toHaveLength(2);
    for (const { cpu, rate, failed } of rounds) expect([cpu > 0, rate > 0, failed]).toEqual([true, true, 0]);
  }
});

test.each([
  [[], /Name the builds to compare/],
  [[root, "--hello", "three"], /--hello is "three"; it must be one of one, two/],
])("%j: says what is wrong", async (options, message) => {
  const { status, child } = await ab(...options);
  expect(status).toBe(2);
  expect(child.stderr).toMatch(message);
});

test("a folder that is not built is said", async () => {
  const { status, child } = await ab(join(root, "test"));
  expect(status).toBe(1);
  expect(child.stderr).toMatch(/test.bench.compile\.mjs is not there|is no clone/);
});
