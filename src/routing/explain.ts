/** Why a name goes where it goes, in words: for `sni-handoff explain NAME`. */

import { normaliseName } from "./name.js";
import type { RouteTable } from "./table.js";

/** A route that matches a name. */
export interface Match {
  readonly kind: "exact" | "wildcard" | "default";
  /** As configured: "app.example.com", "*.example.com"; "default" for the default. */
  readonly pattern: string;
  /** The backend's index; NO_TARGET for a default that is not configured. */
  readonly target: number;
}

export interface Explanation extends Match {
  /** The routes that match as well and lost, the most specific first; the default is the last of them. */
  readonly shadowed: readonly Match[];
}

const encoder = new TextEncoder();

/** Which route wins for `name`, and over which others. Throws a RangeError for text that is no host name. */
export function explain(table: RouteTable, name: string): Explanation {
  const normalised = normaliseName(name);
  if (!normalised.ok) throw new RangeError(normalised.message);
  if (normalised.name.startsWith("*")) throw new RangeError(`"${normalised.name}" is a wildcard, not a client's name`);

  const bytes = encoder.encode(normalised.name);
  const matches: Match[] = [];
  const exact = table.findKey(bytes, 0, bytes.length);
  if (exact >= 0) matches.push({ kind: "exact", pattern: normalised.name, target: exact });
  for (let dot = normalised.name.indexOf("."); dot >= 0; dot = normalised.name.indexOf(".", dot + 1)) {
    const target = table.findKey(bytes, dot, bytes.length);
    if (target >= 0) matches.push({ kind: "wildcard", pattern: `*${normalised.name.slice(dot)}`, target });
  }
  matches.push({ kind: "default", pattern: "default", target: table.defaultTarget });
  const [won, ...shadowed] = matches;
  return { ...won, shadowed };
}
