/** All that could take a name, the most specific first: the same order in which a worker tries them (rule-matcher.ts). */
import type { RuleSettings } from "../../door/settings.js";
import { normaliseName } from "../../routing/name.js";
import { Patterns } from "../../routing/patterns.js";
import { explain, FIRST_RULES_TARGET, type Match, RouteTable } from "../../routing/table.js";
import { isBuiltIn } from "./built-in.js";
import type { Configuration } from "./configuration.js";

export interface Candidate {
  readonly kind: Match["kind"] | "pattern" | "noServerName";
  /** As configured, names in lower case: "*.example.com"; "default" or "noServerName" for these keys. */
  readonly pattern: string;
  /** The backend's index. */
  readonly target: number;
  /** Undefined for a route that is a backend's name. */
  readonly rule: RuleSettings | undefined;
  /** Which rule of the route, from 1; undefined for a route without a list. */
  readonly number: number | undefined;
}

/** Throws a RangeError if no client could send `text` as a server name. */
export function candidatesFor({ routes, door }: Configuration, text: string): { name: string; all: Candidate[] } {
  const table = new RouteTable(routes);
  const { lists, patterns, defaultTarget, lastTarget } = door.rules;

  const expand = (kind: Candidate["kind"], pattern: string, target: number): Candidate[] =>
    target < FIRST_RULES_TARGET
      ? [{ kind, pattern, target, rule: undefined, number: undefined }]
      : lists[target - FIRST_RULES_TARGET]!.map((rule, index) => ({
          kind,
          pattern,
          target: rule.backend,
          rule,
          number: index + 1,
        }));
  const byDefault = () => [
    ...expand("default", "default", defaultTarget),
    ...(defaultTarget === lastTarget || !isBuiltIn(door.backends[lastTarget]!.name)
      ? []
      : expand("default", "default", lastTarget)),
  ];

  const normalised = normaliseName(text);
  // Clients that connect to an address send no name, or are taken as if they didn't (RFC 6066 §3).
  if (!normalised.ok && normalised.fault === "address") {
    const target = table.noServerNameTarget;
    const first = expand("noServerName", "noServerName", target);
    if (target < FIRST_RULES_TARGET) return { name: text, all: first };
    return { name: text, all: target === defaultTarget ? byDefault() : [...first, ...byDefault()] };
  }
  const { shadowed, ...won } = explain(table, text);
  const { name } = normalised as { name: string };
  const matching = new Patterns(patterns.map(({ match }) => match)).matches(
    new TextEncoder().encode(name),
    name.length,
  );
  return {
    name,
    all: [
      ...[won, ...shadowed].flatMap(({ kind, pattern, target }) =>
        kind === "default" ? [] : expand(kind, pattern, target),
      ),
      ...matching.map((index): Candidate => {
        const rule = patterns[index]!;
        return { kind: "pattern", pattern: rule.match, target: rule.backend, rule, number: undefined };
      }),
      ...byDefault(),
    ],
  };
}
