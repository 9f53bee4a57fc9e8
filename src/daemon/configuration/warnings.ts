/** What works and is probably not meant. */

import { normaliseName } from "../../routing/name.js";
import { explain, type RouteTable } from "../../routing/table.js";
import type { Report } from "./checks.js";
import type { Outline } from "./outline.js";

/** Routes without an effect are told one by one up to this number. */
const MAX_WARNINGS = 20;

/** Backends that nothing leads to. `used` tells which have routes. */
export function warnOfUnusedBackends(outline: Outline, used: Uint8Array, warning: Report): void {
  const referred = new Set([...outline.fallbacks, ...outline.defaults].map(({ backend }) => backend));
  for (const [index, name] of outline.backends.entries())
    if (!used[index] && !referred.has(name)) warning(["backends", name], "is not used: nothing leads to it", "key");
}

/** Routes that could go: a less specific one leads to the same backend. */
export function warnOfNeedlessRoutes(outline: Outline, table: RouteTable, warning: Report): void {
  const needless = outline.routes.flatMap(({ path, name, backend }) => {
    const normalised = normaliseName(name);
    if (!normalised.ok) return [];
    const pattern = normalised.name;
    const { shadowed, ...won } = explain(table, pattern.replace(/^\*/, "_"));
    const next = [won, ...shadowed].find((match) => match.kind !== "exact" && match.pattern !== pattern);
    return next?.target === outline.backends.indexOf(backend) ? [{ path, backend, next }] : [];
  });
  for (const { path, backend, next } of needless.slice(0, MAX_WARNINGS)) {
    const by = next.kind === "default" ? "the default" : `"${next.pattern}"`;
    warning(path, `has no effect: ${by} leads to ${backend} already`, "key");
  }
  const more = needless.length - MAX_WARNINGS;
  if (more > 0) warning(["routes"], `has ${more} more names without effect`, "key");
}
