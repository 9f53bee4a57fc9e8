/** Rules in words: for comparing configurations, and for whoever asks where a name goes. */
import { createHash } from "node:crypto";
import type { AccessSettings, DoorSettings, RuleSettings } from "../../door/settings.js";
import { FIRST_RULES_TARGET, PATTERNS_TARGET } from "../../routing/table.js";

type Door = Pick<DoorSettings, "backends" | "rules">;

/** So much of a list is written out. */
const MOST_LISTED = 5;

/** "10.0.0.0/8, fd00::/8"; of a long list the beginning, with a digest of all, so that two lists are told apart. */
export function listed(items: readonly string[]): string {
  if (items.length === 0) return "nobody";
  if (items.length <= MOST_LISTED) return items.join(", ");
  const digest = createHash("sha256").update(items.join("\n")).digest("hex").slice(0, 8);
  return `${items.slice(0, MOST_LISTED).join(", ")} and ${items.length - MOST_LISTED} more (${digest})`;
}

/** The rule's conditions, one text each; none if it always holds. */
export function conditionsOf({ alpn, clients, tls }: RuleSettings): string[] {
  return [
    ...(alpn === undefined ? [] : [`alpn ${listed(alpn.map((each) => Buffer.from(each).toString()))}`]),
    ...(clients === undefined ? [] : [`clients ${listed(clients.written)}`]),
    ...(tls === undefined ? [] : [`tls ${listed(tls.map(versionText))}`]),
  ];
}

/** 0x0304 is "1.3". */
export function versionText(version: number): string {
  return `1.${version - 0x0301}`;
}

function accessText({ allow, deny, reject }: AccessSettings): string {
  const parts = [allow && `allow ${listed(allow.written)}`, deny && `deny ${listed(deny.written)}`];
  return [...parts.filter((part) => part !== undefined), `else ${reject}`].join(", ");
}

/** "internal if clients 10.0.0.0/8". */
export function ruleText(rule: RuleSettings, { backends }: Door): string {
  const conditions = conditionsOf(rule);
  const text = backends[rule.backend]!.name + (conditions.length > 0 ? ` if ${conditions.join(" and ")}` : "");
  return rule.access === undefined ? text : `${text} (${accessText(rule.access)})`;
}

/** Where a target of the route table leads: a backend's name, or rules in words. Patterns have no place in it. */
export function targetText(target: number, door: Door): string {
  if (target === PATTERNS_TARGET) return targetText(door.rules.defaultTarget, door);
  if (target < FIRST_RULES_TARGET) return door.backends[target]!.name;
  return door.rules.lists[target - FIRST_RULES_TARGET]!.map((rule) => ruleText(rule, door)).join("; ");
}
