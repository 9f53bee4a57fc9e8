/** Rules, patterns and lists of addresses that work and are probably not meant. */
import { contained, covers } from "../../door/address-blocks.js";
import type { AccessSettings, AddressList, RoutingRules, RuleSettings } from "../../door/settings.js";
import { normaliseName } from "../../routing/name.js";
import { Patterns, timeOfSlowNames } from "../../routing/patterns.js";
import { explain, FIRST_RULES_TARGET, type RouteTable } from "../../routing/table.js";
import { parseBlock, type WrittenBlock } from "./address-block.js";
import type { Outline } from "./outline.js";
import type { Step } from "./positions.js";
import { show } from "./scalars.js";
import type { Place, Report, Source } from "./source.js";

/** Of one list so many faults are told one by one. */
const MAX_WARNINGS = 20;

/** A name that takes longer to match is worth a word: so many milliseconds. */
const SLOW = 3;

/** Rules with the place of each. */
interface PlacedRule extends Place {
  readonly rule: RuleSettings;
}

export interface RuleSources {
  readonly main: Source;
  readonly outline: Outline;
  readonly rules: RoutingRules;
  readonly table: RouteTable;
}

export function warnOfRules({ main, outline, rules, table }: RuleSources, warning: Report): void {
  for (const list of listsOf({ main, outline, rules, table })) {
    warnOfOrder(list, warning);
    for (const placed of list) warnOfRule(placed, warning);
  }
  const patterns = rules.patterns.map((rule, index) => ({ source: main, path: ["patterns", index], rule }));
  for (const placed of patterns) warnOfRule(placed, warning);
  const time = patterns.length === 0 ? 0 : timeOfSlowNames(rules.patterns.map(({ match }) => match));
  if (time > SLOW)
    warning(
      { source: main, path: ["patterns"] },
      `may take ${time.toFixed(0)} ms for one name, in which a worker serves nobody else; fewer of them should begin with .* or repeat something often`,
      "key",
    );
  warnOfPatterns(rules.patterns, main, table, warning);
}

/** Those of routes, `default` and `noServerName`. */
function listsOf({ main, outline, rules, table }: RuleSources): PlacedRule[][] {
  const ofRoutes = outline.routes
    .filter(({ backend }) => backend === undefined)
    .map((place, index) => ({ place, list: rules.lists[index]! }));
  const ofKeys = [
    { key: "default", target: rules.defaultTarget },
    { key: "noServerName", target: table.noServerNameTarget },
  ]
    .filter(({ key, target }) => target >= FIRST_RULES_TARGET && key in (main.value as object))
    .map(({ key, target }) => ({
      place: { source: main, path: [key] },
      list: rules.lists[target - FIRST_RULES_TARGET]!,
    }));
  return [...ofRoutes, ...ofKeys].map(({ place: { source, path }, list }) => {
    const isList = Array.isArray(valueAt(source.value, path));
    return list.map((rule, index) => ({ source, path: isList ? [...path, index] : path, rule }));
  });
}

function valueAt(value: unknown, path: readonly Step[]): unknown {
  return path.reduce((inner, step) => (inner as Record<Step, unknown>)[step], value);
}

function warnOfOrder(list: readonly PlacedRule[], warning: Report): void {
  for (const [index, { rule, ...place }] of list.entries()) {
    const before = list.slice(0, index).findIndex((earlier) => includes(earlier.rule, rule));
    if (before >= 0) warning(place, `is never reached: rule ${before + 1} takes all its clients`);
  }
}

/** Whether every client that meets the conditions of `inner` meets those of `outer`. */
function includes(outer: RuleSettings, inner: RuleSettings): boolean {
  const alpn = inner.alpn?.map((each) => Buffer.from(each).toString("latin1"));
  const outerAlpn = outer.alpn?.map((each) => Buffer.from(each).toString("latin1"));
  return (
    (outerAlpn === undefined || alpn?.every((each) => outerAlpn.includes(each)) === true) &&
    (outer.tls === undefined || inner.tls?.every((each) => outer.tls!.includes(each)) === true) &&
    (outer.clients === undefined || (inner.clients !== undefined && covers(outer.clients, inner.clients)))
  );
}

function warnOfRule({ rule: { clients, access }, source, path }: PlacedRule, warning: Report): void {
  const at = (...steps: Step[]) => ({ source, path: [...path, ...steps] });
  if (clients !== undefined) warnOfList(clients, at("clients"), "the rule holds for nobody", warning);
  if (access !== undefined) warnOfAccess(access, at, warning);
}

function warnOfAccess({ allow, deny }: AccessSettings, at: (...steps: Step[]) => Place, warning: Report): void {
  if (allow === undefined && deny === undefined) warning(at("access"), "has no effect: it has neither allow nor deny");
  if (allow !== undefined) warnOfList(allow, at("access", "allow"), "nobody is let in", warning);
  if (deny !== undefined) warnOfList(deny, at("access", "deny"), "it has no effect", warning);
  if (allow === undefined || deny === undefined || allow.written.length === 0) return;
  if (covers(deny, allow)) warning(at("access", "allow"), "lets nobody in: deny has all of it");
  else {
    const denied = contained(blocksOf(allow), blocksOf(deny));
    for (const [inner, outer] of denied.slice(0, MAX_WARNINGS))
      warning(at("access", "allow"), `has ${allow.written[inner]}, which deny has too (${deny.written[outer]})`);
  }
}

function warnOfList(list: AddressList, place: Place, ifEmpty: string, warning: Report): void {
  if (list.written.length === 0) warning(place, `is an empty list: ${ifEmpty}`);
  const needless = contained(blocksOf(list));
  for (const [inner, outer] of needless.slice(0, MAX_WARNINGS))
    warning(place, `has ${list.written[inner]}, which is in ${list.written[outer]} already`);
  const more = needless.length - MAX_WARNINGS;
  if (more > 0) warning(place, `has ${more} more blocks that are in others`);
}

const blocksOf = ({ written }: AddressList) => written.map((text) => parseBlock(text) as WrittenBlock);

/** Patterns that match every name. */
const EVERYTHING = /^\^?\(?\.[*+]\)?\$?$/;

function warnOfPatterns(patterns: RoutingRules["patterns"], main: Source, table: RouteTable, warning: Report): void {
  for (const [index, pattern] of patterns.entries()) {
    const place = { source: main, path: ["patterns", index, "match"] };
    const earlier = patterns.slice(0, index).filter((each) => includes(each, pattern));
    const same = earlier.find(
      ({ match }) => EVERYTHING.test(match) || match.toLowerCase() === pattern.match.toLowerCase(),
    );
    const name = plainName(pattern.match);
    if (same !== undefined) warning(place, `is never reached: ${show(same.match)} takes all its clients`);
    else if (name !== undefined)
      warnOfPlainName(
        name,
        earlier.map(({ match }) => match),
        place,
        table,
        warning,
      );
    else if (/^[\w-]+(?:\.[\w-]+)+$/.test(pattern.match))
      warning(place, "is a name, but in a pattern a dot is any character: write it in routes, or each dot as \\.");
  }
}

/** The one name that a pattern matches, if that can be seen at once. */
function plainName(pattern: string): string | undefined {
  const dots = pattern.replace(/^\^|\$$/g, "").replace(/\\\.|\[\.\]/g, "\0");
  if (!/^[\w\0-]+$/.test(dots)) return undefined;
  const normalised = normaliseName(dots.replaceAll("\0", "."));
  return normalised.ok ? normalised.name : undefined;
}

function warnOfPlainName(
  name: string,
  earlier: readonly string[],
  place: Place,
  table: RouteTable,
  warning: Report,
): void {
  const route = explain(table, name);
  const [before] = new Patterns(earlier).matches(new TextEncoder().encode(name), name.length);
  if (route.kind !== "default" && route.target < FIRST_RULES_TARGET)
    warning(place, `is never reached: the route ${show(route.pattern)} takes this name`);
  else if (before !== undefined) warning(place, `is never reached: ${show(earlier[before])} takes all its clients`);
  else warning(place, `matches only ${show(name)}: as a route it is found without a search`);
}
