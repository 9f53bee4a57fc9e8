import fc from "fast-check";
import { NO_TARGET } from "../../src/routing/table.js";

const encoder = new TextEncoder();

export function bytesOf(text: string): Uint8Array {
  return encoder.encode(text);
}

export interface Rule {
  readonly name: string;
  readonly target: number;
}

/** What the compiled table must agree with: every rule is looked at, the most specific match is kept. */
export function lookupByScan(rules: readonly Rule[], name: string): { pattern: string; target: number } {
  let best = { pattern: "", target: NO_TARGET };
  for (const rule of rules) {
    const suffix = rule.name.startsWith("*") ? rule.name.slice(1) : undefined;
    const matches = suffix === undefined ? name === rule.name : name.endsWith(suffix) && name.length > suffix.length;
    if (!matches) continue;
    if (rule.name === name) return { pattern: rule.name, target: rule.target };
    if (rule.name.length > best.pattern.length) best = { pattern: rule.name, target: rule.target };
  }
  return best;
}

/** Few labels, so that names share suffixes and are often the same. */
const label = fc.constantFrom("a", "b", "ab", "ba", "x-1", "_srv", "example", "com", "0", "a".repeat(63));

function fitting(labels: readonly string[]): string {
  let name = labels.at(-1)!;
  for (const label of labels.slice(0, -1).reverse()) {
    if (name.length + label.length + 1 > 255) break;
    name = `${label}.${name}`;
  }
  return name;
}

/** Host names in normal form: mostly short, some of many labels, some of exactly 255 bytes. */
export const hostName: fc.Arbitrary<string> = fc.oneof(
  { weight: 8, arbitrary: fc.array(label, { minLength: 1, maxLength: 5 }).map(fitting) },
  { weight: 1, arbitrary: fc.array(fc.constantFrom("a", "b"), { minLength: 100, maxLength: 128 }).map(fitting) },
  { weight: 1, arbitrary: fc.array(label, { minLength: 4, maxLength: 6 }).map((labels) => padded(fitting(labels))) },
);

/** The same name made 255 bytes long by labels in front. */
function padded(name: string): string {
  let missing = 255 - name.length;
  while (missing > 1) {
    const length = Math.min(63, missing - 1, missing === 65 ? 62 : 63);
    name = `${"p".repeat(length)}.${name}`;
    missing -= length + 1;
  }
  return missing === 1 ? `p${name}`.slice(0, 255) : name;
}

/** Host names and wildcards in normal form. */
export const configuredName: fc.Arbitrary<string> = fc
  .tuple(hostName, fc.boolean())
  .map(([name, wildcard]) => (wildcard && name.length <= 253 ? `*.${name}` : name));

/** Rules of distinct names, each with its own target. */
export const ruleSet: fc.Arbitrary<Rule[]> = fc
  .uniqueArray(configuredName, { maxLength: 60 })
  .map((names) => names.map((name, index) => ({ name, target: index * 7 })));

/** A name that has to do with these rules more often than not. */
export function nameNear(rules: readonly Rule[]): fc.Arbitrary<string> {
  if (rules.length === 0) return hostName;
  const configured = fc.constantFrom(...rules).map((rule) => rule.name.replace(/^\*\./, ""));
  const below = fc
    .tuple(hostName, configured)
    .map(([front, name]) => `${front}.${name}`.slice(-255).replace(/^\./, "x"));
  return fc.oneof(hostName, configured, below);
}
