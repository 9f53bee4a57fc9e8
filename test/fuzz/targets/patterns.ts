/** Regular expressions of a configuration: the first lines are expressions, the last one is a name. */
import { MAX_PATTERN_LENGTH, Patterns, patternFault } from "../../../src/routing/patterns.js";
import { CONTROL, check, same } from "../check.js";
import { textSeeds } from "../seeds.js";

export function fuzz(data: Uint8Array): void {
  const lines = Buffer.from(data).toString("utf8").split("\n").slice(0, 6);
  const name = Uint8Array.from(Buffer.from(lines.pop()!.slice(0, 255), "latin1")).subarray(0, 255);
  const usable: string[] = [];
  for (const source of lines) {
    if (source.length > MAX_PATTERN_LENGTH) continue;
    const fault = patternFault(source);
    if (fault === undefined) usable.push(source);
    else check(fault !== "" && !CONTROL.test(fault), "a fault in one line", fault);
  }
  const together = [...new Patterns(usable).matches(name, name.length)];
  const alone = usable.flatMap((source, index) =>
    new Patterns([source]).matches(name, name.length).length > 0 ? [index] : [],
  );
  same(together, alone, `what ${JSON.stringify(usable)} match, all at once and one by one`);
}

export const seeds = (): Uint8Array[] =>
  textSeeds(
    "a[.]example\n.*[.]b[.]example\na.example",
    "(a|a[.]b)\n(?i)A\n^a$\na.b",
    "(a+)+$\n(a|aa)+\n([a-z]+)*x\naaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "[\n(\n*\n\\C\n\\pL\nx",
    "(?:(?:a{10}){10})\na{1001}\n.{0,255}\naaa",
  );

export const words = ["(?:", "(?i)", "[^", "{2,5}", "\\pL", "\\b", "\\Q", "$", "|", "*?", "[[:alpha:]]"];
