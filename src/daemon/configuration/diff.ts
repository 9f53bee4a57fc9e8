/** What a new configuration would change in a running one. */
import type { BackendSettings, HandoffBackendSettings } from "../../door/settings.js";
import { RouteTable } from "../../routing/table.js";
import { formatListenAddress } from "./addresses.js";
import { configuredBackends, isBuiltIn } from "./built-in.js";
import type { Configuration, ListenerSettings } from "./configuration.js";
import { formatDuration } from "./durations.js";
import type { RelayConfiguration } from "./relay.js";
import { compareHttpRoutes, compareRoutes, type RouteChange, type RoutesDiff } from "./routes-diff.js";
import { ruleText, targetText } from "./rule-text.js";
import { BACKEND_KINDS } from "./schema.js";
import { formatSize } from "./sizes.js";

/** A value that is another one: both as an operator writes them. */
export interface Change {
  /** As in the file: `backends.app.hold`. */
  readonly key: string;
  readonly from: string;
  readonly to: string;
  /** It takes no effect with a reload. */
  readonly needs: "upgrade" | "restart" | "relay" | undefined;
}

export interface PartsDiff {
  /** Names, in the order of the file. */
  readonly added: readonly string[];
  readonly removed: readonly string[];
  readonly changed: readonly Change[];
}

export interface ConfigurationDiff {
  readonly listeners: PartsDiff;
  readonly backends: PartsDiff;
  readonly routes: RoutesDiff;
  readonly httpRoutes: RoutesDiff;
  /** Everything else. */
  readonly settings: readonly Change[];
}

export function diffConfigurations(running: Configuration, next: Configuration): ConfigurationDiff {
  return {
    listeners: compareParts("listeners", listenersOf(running), listenersOf(next)),
    backends: compareParts("backends", backendsOf(running), backendsOf(next)),
    routes: compareRoutes(running, next),
    httpRoutes: compareHttpRoutes(running, next),
    settings: compareValues(
      new Map([...settingsOf(running), ...relaySettingsOf(running, next)]),
      new Map([...settingsOf(next), ...relaySettingsOf(next, running)]),
      (key) => key,
    ),
  };
}

export function isEmpty({ listeners, backends, routes, httpRoutes, settings }: ConfigurationDiff): boolean {
  const parts = [listeners.added, listeners.removed, listeners.changed, backends.added, backends.removed];
  return (
    [...parts, backends.changed, settings].every((list) => list.length === 0) &&
    [routes, httpRoutes].every(({ added, removed, moved }) => added.count + removed.count + moved.count === 0)
  );
}

/** One line for each change, and of routes the first few; "nothing changes" if nothing does. */
export function formatDiff(diff: ConfigurationDiff): string[] {
  if (isEmpty(diff)) return ["nothing changes"];
  const { listeners, backends, routes, httpRoutes, settings } = diff;
  return [
    ...formatParts("listener", listeners),
    ...formatParts("backend", backends),
    ...formatAllRoutes("routes", routes),
    ...formatAllRoutes("http routes", httpRoutes),
    ...settings.map(formatChange),
  ];
}

function formatParts(what: string, { added, removed, changed }: PartsDiff): string[] {
  return [
    ...added.map((name) => `+ ${what} ${name}`),
    ...removed.map((name) => `- ${what} ${name}`),
    ...changed.map(formatChange),
  ];
}

function formatChange({ key, from, to, needs }: Change): string {
  return `~ ${key}: ${from} -> ${to}${needs === undefined ? "" : NEEDS[needs]}`;
}

const NEEDS = {
  upgrade: " (needs restart: takes effect with the next upgrade or restart)",
  restart: " (needs restart: an upgrade leaves it as it is)",
  relay: " (takes effect when the relay is restarted)",
};

function formatAllRoutes(what: string, { added, removed, moved }: RoutesDiff): string[] {
  return [
    ...formatRoutes(`${what} added`, added, ({ name, to }) => `+ ${name} -> ${to}`),
    ...formatRoutes(`${what} removed`, removed, ({ name, from }) => `- ${name} -> ${from}`),
    ...formatRoutes(`${what} moved`, moved, ({ name, from, to }) => `~ ${name}: ${from} -> ${to}`),
  ];
}

function formatRoutes(
  what: string,
  { count, first }: RoutesDiff["added"],
  line: (change: RouteChange) => string,
): string[] {
  if (count === 0) return [];
  const more = count - first.length;
  return [
    `${what}: ${count}`,
    ...first.map((change) => `  ${line(change)}`),
    ...(more > 0 ? [`  and ${more} more`] : []),
  ];
}

/** Values by their keys, as an operator writes them. */
type Values = ReadonlyMap<string, string>;

function compareParts(
  what: string,
  running: ReadonlyMap<string, Values>,
  next: ReadonlyMap<string, Values>,
): PartsDiff {
  return {
    added: [...next.keys()].filter((name) => !running.has(name)),
    removed: [...running.keys()].filter((name) => !next.has(name)),
    changed: [...next].flatMap(([name, values]) => {
      const before = running.get(name);
      const prefix = /^[A-Za-z_][\w-]*$/.test(name) ? `${what}.${name}` : `${what}[${JSON.stringify(name)}]`;
      return before === undefined ? [] : compareValues(before, values, (key) => `${prefix}.${key}`, what);
    }),
  };
}

const NONE = "none";

/** `part`: of which the values are, if there may be several of it. */
function compareValues(running: Values, next: Values, name: (key: string) => string, part?: string): Change[] {
  return keysOf(running, next).flatMap((key) => {
    const [from, to] = [running.get(key) ?? NONE, next.get(key) ?? NONE];
    if (from === to) return [];
    const full = name(key);
    const needs =
      part === undefined ? (needed.get(full) ?? needed.get(full.split(".")[0]!)) : needed.get(`${part}[].${key}`);
    return [{ key: full, from, to, needs }];
  });
}

/** Of a backend that becomes one of another kind only what tells the kind. */
function keysOf(running: Values, next: Values): string[] {
  const kinds = BACKEND_KINDS.filter((kind) => running.has(kind) || next.has(kind));
  if (kinds.length > 1) return kinds;
  return [...new Set([...running.keys(), ...next.keys()])];
}

/** What is set up once: at the start of a process, or of the first one, which those of upgrades inherit it from. */
const needed: ReadonlyMap<string, "upgrade" | "restart" | "relay"> = new Map([
  ["relay.folder", "relay"],
  ["relay.workers", "relay"],
  ["workers", "upgrade"],
  ["control", "upgrade"],
  ["metrics", "upgrade"],
  ["pidfile", "upgrade"],
  // What a socket is bound with.
  ["listeners[].v6Only", "restart"],
  ["listeners[].freebind", "restart"],
  ["user", "restart"],
  ["group", "restart"],
  ["privileges", "restart"],
]);

function listenersOf({ listeners }: Configuration): Map<string, Values> {
  return new Map(listeners.map((listener) => [listener.name, listenerValues(listener)]));
}

function listenerValues({ options, balancers, door }: ListenerSettings): Values {
  const { backlog, v6Only, freebind, deferAccept, keepAlive } = options;
  return written({
    protocol: door.protocol,
    backlog,
    v6Only: v6Only === true,
    freebind,
    deferAccept: `${deferAccept}s`,
    keepAlive,
    acceptProxyProtocol: balancers.length === 0 ? undefined : balancers.join(", "),
  });
}

/** Without the built-in ones, which stand in for absent keys. */
function backendsOf({ door: { backends }, relay }: Configuration): Map<string, Values> {
  const configured = configuredBackends({ backends });
  return new Map(configured.map((backend) => [backend.name, backendValues(backend, backends, relay)]));
}

function backendValues(backend: BackendSettings, all: readonly BackendSettings[], relay: RelayConfiguration): Values {
  if (backend.kind === "reject") return written({ reject: backend.reject });
  if (backend.kind === "handoff" && backend.relay !== undefined) return relayedValues(backend, all, relay);
  const { kind, name: _, path, hold, fallback, uid, ...rest } = backend;
  const common = {
    handoff: path,
    protocol: kind,
    hold: formatDuration(hold),
    fallback: all[fallback]?.name,
    user: uid < 0 ? undefined : uid,
  };
  if ("maxHello" in rest) return written({ ...common, ...rest, maxHello: formatSize(rest.maxHello) });
  const { acknowledgeTimeout, relay: _relay, ...more } = rest;
  return written({ ...common, ...more, acknowledgeTimeout: formatDuration(acknowledgeTimeout) });
}

function relayedValues(
  { name, hold, maxHeld, maxHeldPerClient, maxConnections, fallback, relay: targets }: HandoffBackendSettings,
  all: readonly BackendSettings[],
  relay: RelayConfiguration,
): Values {
  const { proxyProtocol, balance, connectTimeout, idleTimeout, lifetime, keepAlive } = relay.backends.find(
    (each) => each.name === name,
  )!;
  return written({
    relay: targets!.join(", "),
    proxyProtocol,
    balance,
    connectTimeout: formatDuration(connectTimeout),
    idleTimeout: formatDuration(idleTimeout),
    lifetime: formatDuration(lifetime),
    keepAlive,
    hold: formatDuration(hold),
    maxHeld,
    maxHeldPerClient,
    maxConnections,
    fallback: all[fallback]?.name,
  });
}

function settingsOf(configuration: Configuration): Values {
  const { door, timeouts, log, control, metrics, identity, privileges, workers, pidfile, routes } = configuration;
  const { mode, sample } = door.accessLog;
  const table = new RouteTable(routes);
  const leads = (target: number) => {
    const text = targetText(target, door);
    return isBuiltIn(text) ? undefined : text;
  };
  const { http } = door;
  const configured = (target: number) => door.backends[target]?.name;
  const patterns = door.rules.patterns.map((pattern, index): [string, string] => [
    `patterns[${index}]`,
    `${pattern.match} -> ${ruleText(pattern, door)}`,
  ]);
  return written({
    workers,
    ...Object.fromEntries(patterns),
    default: leads(table.defaultTarget),
    noServerName: leads(table.noServerNameTarget),
    notTls: describeNotTls(configuration),
    silent: door.silent && `after ${formatDuration(door.silent.after)}: ${door.backends[door.silent.backend]!.name}`,
    "http.default": http && configured(new RouteTable(http.routes).defaultTarget),
    "http.redirect": http && http.redirectPort > 0 ? `https, port ${http.redirectPort}` : undefined,
    "http.acmeChallenge": http && configured(http.acmeChallenge),
    "timeouts.hello": formatDuration(door.helloTimeout),
    "timeouts.drain": formatDuration(timeouts.drain),
    "timeouts.upgrade": formatDuration(timeouts.upgrade),
    "limits.hello": formatSize(door.helloLimit),
    ...prefixed("limits", door.limits),
    "log.level": log.level,
    accessLog: mode === "sample" ? `one in ${sample}` : mode,
    "control.path": control?.path,
    "control.mode": control && `0${control.mode.toString(8).padStart(3, "0")}`,
    "control.group": control && control.gid >= 0 ? control.gid : undefined,
    "metrics.address": metrics && formatListenAddress(metrics),
    user: identity?.user,
    group: identity?.gid,
    ...prefixed("privileges", privileges),
    pidfile,
  });
}

/** Of one that is there before and after. */
function relaySettingsOf({ relay }: Configuration, other: Configuration): Values {
  if (relay.backends.length === 0 || other.relay.backends.length === 0) return new Map();
  return written({
    "relay.folder": relay.folder,
    "relay.workers": relay.workers,
    "relay.control": relay.control,
    "relay.start": relay.start,
    "relay.drain": formatDuration(relay.drain),
    "relay.resolvers": relay.resolvers?.map(formatListenAddress).join(", "),
  });
}

/** "http: web, ssh: shell, else: rest"; a backend alone is its name. */
function describeNotTls({ door, routes }: Configuration): string | undefined {
  const last = door.backends[new RouteTable(routes).notTlsTarget]!.name;
  const rules = (door.notTls ?? []).map(({ text, backend }) => `${text}: ${door.backends[backend]!.name}`);
  if (rules.length === 0) return isBuiltIn(last) ? undefined : last;
  return [...rules, ...(isBuiltIn(last) ? [] : [`else: ${last}`])].join(", ");
}

type Value = string | number | boolean | undefined;

function prefixed(prefix: string, values: object): Record<string, Value> {
  return Object.fromEntries(Object.entries(values).map(([key, value]) => [`${prefix}.${key}`, value]));
}

function written(values: Readonly<Record<string, Value>>): Values {
  const entries = Object.entries(values).filter(([, value]) => value !== undefined);
  return new Map(entries.map(([key, value]) => [key, String(value)]));
}
