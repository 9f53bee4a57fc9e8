/** Names, wildcards and look-ups, and a map file of them: against a look at every rule, one after another. */
import { formatProblem } from "../../../src/errors.js";
import { KeyCursor } from "../../../src/routing/keys.js";
import { MapCounter, MapParser } from "../../../src/routing/map-file.js";
import { matchedPattern, NO_TARGET, RouteTable, RouteTableBuilder } from "../../../src/routing/table.js";
import { bytesOf, lookupByScan, type Rule } from "../../routing/support.js";
import { check, HIDDEN, hashOf, same } from "../check.js";
import { fileSeeds, textSeeds } from "../seeds.js";

const backends = new Map([
  ["app", 0],
  ["pool", 1],
  ["a", 70_000],
]);

interface ReadMap {
  readonly table: RouteTable;
  readonly region: SharedArrayBuffer;
  readonly problems: MapParser;
}

/** `cuts`: where the file's chunks end. */
function readMap(data: Uint8Array, cuts: readonly number[], capacity: MapCounter): ReadMap {
  const builder = new RouteTableBuilder(capacity);
  builder.defaultTarget = NO_TARGET;
  const problems = new MapParser({ file: "x.map", backends, builder });
  let start = 0;
  for (const end of [...cuts, data.length]) {
    problems.push(data.subarray(start, end));
    start = end;
  }
  problems.end();
  same(builder.names, problems.names, "names that were added");
  const region = builder.finish();
  return { table: new RouteTable(region), region, problems };
}

export function fuzz(data: Uint8Array): void {
  const counter = new MapCounter();
  counter.push(data);
  counter.end();
  const whole = readMap(data, [], counter);
  const hash = hashOf(data);
  const cuts = [hash % (data.length + 1), (hash >>> 8) % (data.length + 1)].sort((a, b) => a - b);
  const parts = readMap(data, cuts, new MapCounter());

  const { problems } = whole;
  const lines = data.filter((byte) => byte === 0x0a).length + 1;
  check(problems.names + problems.errorCount + problems.warningCount <= lines, "a line counts once", lines);
  check(problems.names <= counter.names, "no more names than were counted", problems.names);
  const told = ({ errors, warnings }: MapParser) => ({ errors, warnings });
  same(told(parts.problems), told(problems), `in parts, cut at ${cuts.join(" and ")}`);
  for (const problem of [...problems.errors, ...problems.warnings]) {
    check(problem.line >= 1 && problem.column >= 1, "a place", problem);
    check(problem.message !== "" && !HIDDEN.test(formatProblem(problem)), "a fault in one line", problem);
  }

  const rules: Rule[] = [];
  for (const cursor = new KeyCursor(whole.region); cursor.next(); ) {
    rules.push({ name: cursor.pattern, target: cursor.target });
    same(parts.table.findKey(cursor.bytes, cursor.start, cursor.end), cursor.target, "the same table in parts");
  }
  same(rules.length, problems.names, "keys of the table");
  for (const name of namesNear(rules, data)) checkLookup(whole.table, rules, name);
}

/** Configured names, what is below them, and what only looks like them. */
function namesNear(rules: readonly Rule[], data: Uint8Array): string[] {
  const some = rules.slice(0, 6).map(({ name }) => name.replace(/^\*\./, ""));
  const text = Buffer.from(data.subarray(0, 60)).toString("latin1").split(/[\s#]/)[0]!;
  return [...some, ...some.map((name) => `x.${name}`), ...some.map((name) => `x${name}`), text, ""];
}

function checkLookup(table: RouteTable, rules: readonly Rule[], name: string): void {
  const bytes = bytesOf(name);
  if (bytes.length > 255 || name.startsWith(".")) return;
  const target = table.lookup(bytes, 0, bytes.length);
  const found = { pattern: matchedPattern(table.matchedKind, table.matchedLength, name), target };
  const { pattern, ...expected } = lookupByScan(rules, name);
  same(found, { pattern: pattern === "" ? "default" : pattern, ...expected }, `where ${name} goes`);
  // Down to the default, each less specific than the one before.
  for (
    let length = table.matchedLength, next = target;
    next !== NO_TARGET || length > 0;
    length = table.matchedLength
  ) {
    next = table.next(bytes, 0, bytes.length);
    check(table.matchedLength < length, "a less specific route", name);
  }
}

export const seeds = (): Uint8Array[] => [
  ...fileSeeds("examples", ".map"),
  ...textSeeds(
    "\xef\xbb\xbfa.example app\r\n*.a.example\tpool # x\n# y\n\nb.example a",
    "a.example app\nA.example. pool\n*. app\n* app\n.a app\n1.2.3.4 app\nx app;\nx\nx app y\n",
    `${"l".repeat(64)}.example app\n${"a.".repeat(127)}b pool\n*.${"a.".repeat(126)}b a\n`,
  ),
];

export const words = [" app\n", " pool\n", " a\n", "*.", ".example", "\r\n", "#", "xn--"];
