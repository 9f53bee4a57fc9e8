/** What works and is probably not meant. */

import type { Beginning } from "../../door/first-bytes.js";
import { normaliseName } from "../../routing/name.js";
import { explain, type RouteTable } from "../../routing/table.js";
import { isLoopback, type ListenAddress, parseListenAddress } from "./addresses.js";
import { formatDuration } from "./durations.js";
import type { Identity } from "./identity.js";
import { member, type Outline, type OutlinedRoute } from "./outline.js";
import type { Step } from "./positions.js";
import type { ConfigurationInput } from "./schema.js";
import type { Report, Source } from "./source.js";
import { parseTarget } from "./targets.js";

/** Routes without an effect are told one by one up to this number. */
const MAX_WARNINGS = 20;

/** Backends that nothing leads to. `used` tells which have routes. */
export function warnOfUnusedBackends(outline: Outline, used: Uint8Array, warning: Report): void {
  const { fallbacks, defaults, rules, httpRoutes } = outline;
  const referred = new Set([...fallbacks, ...defaults, ...rules, ...httpRoutes].map(({ backend }) => backend));
  for (const [index, backend] of outline.backends.entries())
    if (!used[index] && !referred.has(backend.name)) warning(backend, "is not used: nothing leads to it", "key");
}

/** Routes that could go: a less specific one leads to the same backend. `isRedirected`: without a route it is not the default's turn. */
export function warnOfNeedlessRoutes(
  outline: Outline,
  routes: readonly OutlinedRoute[],
  table: RouteTable,
  warning: Report,
  isRedirected = false,
): void {
  const targets = new Map(outline.backends.map(({ name }, index) => [name, index]));
  const needless = routes.flatMap((route) => {
    const normalised = normaliseName(route.name);
    if (!normalised.ok || route.backend === undefined) return [];
    const pattern = normalised.name;
    const { shadowed, ...won } = explain(table, pattern.replace(/^\*/, "_"));
    const next = [won, ...shadowed].find((match) => match.kind !== "exact" && match.pattern !== pattern);
    if (next?.kind === "default" && isRedirected) return [];
    return next !== undefined && next.target === targets.get(route.backend) ? [{ route, next }] : [];
  });
  for (const { route, next } of needless.slice(0, MAX_WARNINGS)) {
    const by = next.kind === "default" ? "the default" : `"${next.pattern}"`;
    warning(route, `has no effect: ${by} leads to ${route.backend} already`, "key");
  }
  const more = needless.length - MAX_WARNINGS;
  if (more <= 0) return;
  const { source, path } = needless[0]!.route;
  warning({ source, path: path.slice(0, -1) }, `has ${more} more names without effect`, "key");
}

/** Values that contradict each other. Of those that are written only: a default is nobody's mistake. */
export function warnOfSettings(
  input: ConfigurationInput,
  main: Source,
  identity: Identity | undefined,
  warning: Report,
): void {
  const { limits, accessLog, control, silent, timeouts } = input;
  const at = (...path: Step[]) => ({ source: main, path });
  const writtenLimits = member(main.value, "limits");
  const written = (key: keyof typeof limits) => member(writtenLimits, key) !== undefined;
  if (written("waitingPerClient") && written("waiting") && limits.waitingPerClient > limits.waiting)
    warning(at("limits", "waitingPerClient"), `has no effect: limits.waiting is ${limits.waiting}`);
  if (written("acceptBurst") && limits.acceptRate === 0)
    warning(at("limits", "acceptBurst"), "has no effect: limits.acceptRate is 0, no limit");
  if (silent !== undefined && silent.after >= timeouts.hello)
    warning(
      at("silent", "after"),
      `leaves those who then speak no time: timeouts.hello, ${formatDuration(timeouts.hello)}, counts from accept too`,
    );
  for (const [index, { deferAccept }] of input.listeners.entries())
    if (silent !== undefined && deferAccept !== undefined && deferAccept > 0)
      warning(
        at("listeners", index, "deferAccept"),
        "comes on top of silent.after: the kernel shows a client that sends nothing only then",
      );
  if (typeof accessLog === "object" && accessLog.sample === 1)
    warning(at("accessLog", "sample"), "is one in one: the same as accessLog: all");
  if (typeof control === "object" && (Number.parseInt(control.mode, 8) & 0o002) !== 0)
    warning(at("control", "mode"), "lets every user of this machine stop and reload the door");
  if (identity?.uid === 0 && member(main.value, "user") !== undefined)
    warning(at("user"), "is root: the door gives nothing up");
}

/** Rules of `notTls` that no client comes to. */
export function warnOfNotTls({ notTls }: ConfigurationInput, main: Source, warning: Report): void {
  if (typeof notTls !== "object") return;
  const beginnings = notTls.flatMap(({ starts }) => (starts === undefined ? [] : [starts.starts]));
  for (const [index, starts] of beginnings.entries()) {
    const place = { source: main, path: ["notTls", index, "starts"] };
    const first = beginnings.findIndex((each) => takesAllOf(each, starts));
    if (first < index) warning(place, `is never reached: rule ${first + 1} takes all its clients`);
    // A handshake record (RFC 8446 §5.1): whatever comes then is TLS, or refused as malformed TLS.
    else if (starts[0] === 0x16 && starts[1] === 0x03) warning(place, "is never reached: TLS begins like this");
  }
}

function takesAllOf(taken: Beginning, starts: Beginning): boolean {
  if (taken === "http" || starts === "http") return taken === starts;
  return taken.every((byte, index) => starts[index] === byte);
}

/**
 * Targets that are one of the door's own listeners: its own clients would come back to it for ever. (A PROXY header, or
 * another name, may lead them elsewhere: so no error.)
 */
export function warnOfLoops({ relays, addresses }: Outline, warning: Report): void {
  const listeners = addresses.flatMap(({ text }) => {
    const parsed = parseListenAddress(text);
    return parsed === undefined ? [] : [{ ...parsed, text }];
  });
  for (const { text, ...place } of relays) {
    const target = parseTarget(text);
    if (target === undefined || target.kind === "unix") continue;
    const { port } = target;
    const address = target.kind === "address" ? target.address : target.host === "localhost" ? "127.0.0.1" : undefined;
    if (address === undefined) continue;
    const own = listeners.find((each) => each.port === port && (each.address === address || takesAll(each, address)));
    if (own !== undefined)
      warning(place, `is the listener ${own.text} of the door itself: clients would go in a circle`);
  }
}

/** A loopback address always leads to a listener that has all addresses. */
function takesAll({ address }: ListenAddress, target: string): boolean {
  return ["*", "::", "0.0.0.0"].includes(address) && isLoopback({ address: target, port: 0 });
}

/** The same of one file's backends. */
export function warnOfBackends(backends: ConfigurationInput["backends"], source: Source, warning: Report): void {
  for (const [name, backend] of Object.entries(backends)) {
    if ("reject" in backend) continue;
    const at = (key: string) => ({ source, path: ["backends", name, key] });
    const raw = member(member(source.value, "backends"), name);
    const written = (key: string) => member(raw, key) !== undefined;
    const { maxHeld, maxHeldPerClient } = backend;
    const nothingHeld = (["hold", "maxHeld", "maxHeldPerClient"] as const).find((key) => backend[key] === 0);
    if ("connect" in backend && backend.connect === "lazily" && nothingHeld !== undefined)
      warning(
        at(nothingHeld),
        "keeps no connection, but with connect: lazily the first one has to wait until an instance is connected to",
      );
    if (written("maxHeld") && written("maxHeldPerClient") && maxHeldPerClient > maxHeld)
      warning(at("maxHeldPerClient"), `has no effect: maxHeld is ${maxHeld}`);
  }
}
