/** Results as TAP, version 14 (testanything.org): for people, and for programs that read tests. */
import type { Rule, RuleResult } from "./rule.js";

export function tapHead(count: number): string {
  return `TAP version 14\n1..${count}\n`;
}

export function tapLine(number: number, { rule, outcome, expected, got, reason }: RuleResult): string {
  const point = `${number} - ${rule.name} # `;
  switch (outcome) {
    case "passed":
      return `ok ${point}${rule.says}\n`;
    case "skipped":
      return `ok ${point}SKIP ${oneLine(reason ?? "")}\n`;
    case "failed":
      return `not ok ${point}${rule.says}\n${block({ expected, got, "what to do": rule.remedy, where: `PROTOCOL.md, ${rule.where}` })}`;
  }
}

export function tapEnd(results: readonly RuleResult[]): string {
  const count = (outcome: RuleResult["outcome"]) => results.filter((result) => result.outcome === outcome).length;
  return `# ${count("passed")} kept, ${count("failed")} broken, ${count("skipped")} skipped\n`;
}

/** The same as one JSON document. */
export function json(results: readonly RuleResult[]): string {
  const rules = results.map(({ rule: { name, where, says, remedy }, ...result }) => ({
    name,
    where,
    says,
    ...result,
    ...(result.outcome === "failed" ? { remedy } : {}),
  }));
  return `${JSON.stringify({ rules }, undefined, 2)}\n`;
}

/** A YAML block, of strings only: JSON's are YAML's. */
function block(entries: Readonly<Record<string, string | undefined>>): string {
  const lines = Object.entries(entries).map(([key, value]) => `  ${key}: ${JSON.stringify(value ?? "")}\n`);
  return `  ---\n${lines.join("")}  ...\n`;
}

function oneLine(text: string): string {
  return text.replaceAll(/\s*\n\s*/g, " ");
}

/** For --list: a rule a line. */
export function ruleLine({ name, needsStart, says }: Rule): string {
  return `${name.padEnd(24)} ${says}${needsStart ? " (needs --start)" : ""}\n`;
}
