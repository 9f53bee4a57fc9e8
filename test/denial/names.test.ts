/**
 * Names that strangers make up. NAMES=1000000 tries so many of each kind in place of some ten thousand.
 */
import { writeFileSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { compilePrograms } from "../../bench/compile.mjs";
import { clientHello } from "../../bench/hello.mjs";
import { Child } from "../support/child.js";
import { parseExposition } from "../support/exposition.js";
import { Scene } from "../support/scene.js";
import { textOf } from "./support/http.js";
import { residentMib } from "./support/memory.js";
import { expectServed, Others } from "./support/others.js";

const NAMES = Number(process.env.NAMES ?? 15_000);
/** What a heap grows by anyhow. A name that were kept would take some hundred bytes, a series of metrics more. Mebibytes. */
const ROOM = 32;

let scene: Scene;
let others: Others;

beforeEach(async () => {
  scene = new Scene();
  others = await Others.start(scene.folder);
});

afterEach(async () => {
  await scene.end();
  await others.end();
});

const control = () => `${scene.folder}/control.sock`;

const ask = (path: string) => textOf({ socketPath: control(), path });

/** How many series the metrics have, and how many keys the status has in all. */
async function size(): Promise<{ series: number; keys: number }> {
  const families = parseExposition(await ask("/metrics"));
  const series = [...families.values()].reduce((sum, { samples }) => sum + samples.length, 0);
  return { series, keys: keysOf(JSON.parse(await ask("/status"))) };
}

function keysOf(value: unknown): number {
  if (typeof value !== "object" || value === null) return 0;
  return Object.values(value).reduce((sum: number, each) => sum + 1 + keysOf(each), 0);
}

/** Clients that ask for names, `#` in them being digits that differ; until so many have been answered or refused. */
async function visit(name: string, count: number, clients = 256): Promise<number> {
  const { load } = await compilePrograms();
  const hello = `${scene.folder}/hello`;
  writeFileSync(hello, clientHello(name, Math.max(517, 300 + name.length)));
  const options = ["-N", "100000000", "-c", `${clients}`, "-w", "0", "-d", "3600", "-T", "60000", "-n", `${count}`];
  const child = new Child(load, ["-f", hello, ...options, `127.0.0.1:${scene.door.port}`]);
  // Lines of the log, one for each that is refused: nobody reads them here.
  const forgetting = setInterval(() => {
    scene.door.child.lines.length = 0;
  }, 100);
  expect(await child.ended, child.stderr).toEqual({ status: 0, signal: null });
  clearInterval(forgetting);
  const { completed, failed } = JSON.parse(child.lines[0]!);
  const { alerted, ...rest } = failed as Record<string, number>;
  expect(Object.values(rest).filter((times) => times > 0)).toEqual([]);
  return completed + alerted!;
}

describe(`${NAMES} different names`, () => {
  it.each([
    ["that a wildcard takes", "n########.wild.test"],
    ["that a pattern takes", "n########.pattern.test"],
    ["that nothing takes", "n########.nowhere.test"],
  ])("%s leave nothing: no series, no key, no memory", { timeout: 3_600_000 }, async (what, name) => {
    await scene.startDoor(
      `control: ${control()}
backends: { ${others.backend} }
routes: { others.test: others, "*.wild.test": others }
patterns: [{ match: 'n[0-9]+\\.pattern\\.test', backend: others }]
`,
      { channels: 1 },
    );
    const { pid } = scene.door;
    // It has compiled its code and grown its heap when it has seen as many.
    await visit(name, 5000);
    const before = await size();
    const resident = residentMib(pid);
    const begun = performance.now();
    const count = await visit(name, NAMES);
    const grown = residentMib(pid) - resident;
    const seconds = (performance.now() - begun) / 1000;
    console.log(`${count} names ${what} in ${seconds.toFixed(0)} s: ${grown.toFixed(1)} MiB more`);
    expect(count).toBeGreaterThanOrEqual(NAMES);
    expect(await size()).toEqual(before);
    expect(grown).toBeLessThan(ROOM);
  });
});

const worst = [
  // What takes others exponential time.
  "(([0-9]+)+)+x\\.slow\\.test",
  "(([0-9])|([0-9][0-9]))*y\\.slow\\.test",
  "([0-9]|[0-9])*z\\.slow\\.test",
  "(.*)(.*)(.*)(.*)(.*)(.*)(.*)w\\.slow\\.test",
  // And what takes an automaton many states: the one from which the name's end is far.
  ".*1[0-9a.]{40}2.*\\.slow\\.test",
  ".*7[0-9a.]{60}8.*\\.slow\\.test",
];

describe("names that were made to be slow", () => {
  it.each([
    ["of many labels, below wildcards of every depth", `########${".a".repeat(120)}`],
    [
      "for patterns of the worst kind",
      `########${"1728".repeat(13)}.${"1728".repeat(15)}.${"1728".repeat(15)}.slow.test`,
    ],
  ])("%s: the others do not wait", async (what, name) => {
    const wildcards = Array.from({ length: 100 }, (_, i) => `"*${".a".repeat(i + 1)}.b": others`);
    const patterns = worst.map((match) => `{ match: '${match}', backend: others }`);
    await scene.startDoor(
      `backends: { ${others.backend} }
routes: { others.test: others, ${wildcards.join(", ")} }
patterns: [${patterns.join(", ")}]
accessLog: off
`,
      { channels: 1 },
    );
    const address = `127.0.0.1:${scene.door.port}`;
    const before = await others.fare(address);
    const [visited, fared] = await Promise.all([visit(name, 4000, 8), others.fare(address)]);
    expectServed(`names ${what}`, fared, before);
    expect(visited).toBeGreaterThanOrEqual(4000);
  });
});
