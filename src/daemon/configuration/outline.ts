/**
 * A configuration's cross-references, read leniently from plain values: what is malformed is passed over, because the
 * schema reports it. So one wrong value doesn't hide what is wrong elsewhere.
 */
import type { Step } from "./positions.js";
import type { Place, Source } from "./source.js";

/** A place that names a backend. */
export interface Reference extends Place {
  readonly backend: string;
}

export interface TextAt extends Place {
  readonly text: string;
}

export interface OutlinedRoute extends Place {
  readonly name: string;
  /** Undefined if the route is a rule, or a list of rules. */
  readonly backend: string | undefined;
}

export interface Outline {
  /** All backends, malformed ones too, in the order of the files: their indices. */
  readonly backends: readonly (Place & { readonly name: string })[];
  readonly routes: readonly OutlinedRoute[];
  /** Where rules lead: those of routes, patterns, `default`, `noServerName`, `notTls` and `silent`. */
  readonly rules: readonly Reference[];
  /** `http.routes`. */
  readonly httpRoutes: readonly (Reference & { readonly name: string })[];
  readonly fallbacks: readonly (Reference & { readonly of: string })[];
  /** `default`, `noServerName`, `notTls`, where they are a backend's name; `http.default`, `http.acmeChallenge`. */
  readonly defaults: readonly Reference[];
  readonly handoffs: readonly (TextAt & { readonly of: string })[];
  /** Targets of relays. */
  readonly relays: readonly (TextAt & { readonly of: string })[];
  /** Backends that take datagrams; of all backends with a path, the keys that only one of the protocols has. */
  readonly datagrams: ReadonlySet<string>;
  readonly protocolKeys: readonly (Place & { readonly of: string; readonly key: string })[];
  /** Users whose processes may be instances. */
  readonly users: readonly TextAt[];
  readonly addresses: readonly (TextAt & { readonly v6Only: boolean })[];
  readonly maps: readonly TextAt[];
  readonly control: TextAt | undefined;
  readonly pidfile: TextAt | undefined;
  readonly metrics: TextAt | undefined;
}

/** Keys of a backend that mean something with one of the protocols only. */
export const ONLY_OF_HANDOFFS: readonly string[] = ["balance", "acknowledgeTimeout", "connect", "maxConnections"];
export const ONLY_OF_DATAGRAMS: readonly string[] = ["maxHello"];

/** `main` is the configuration file, `included` the files that it includes, which hold fewer keys. */
export function outline(main: Source, included: readonly Source[]): Outline {
  const { value } = main;
  const sources = [main, ...included];
  const backends = sources.flatMap((source) =>
    entries(source.value, "backends").map(([name, backend]) => ({
      source,
      path: ["backends", name] as readonly Step[],
      name,
      backend,
    })),
  );
  const ofBackends = (key: string) =>
    backends.flatMap(({ source, path, name, backend }) =>
      texts(source, backend, key, path).map((text) => ({ ...text, of: name })),
    );
  return {
    backends,
    routes: sources.flatMap((source) =>
      entries(source.value, "routes").flatMap(([name, to]): OutlinedRoute[] => {
        const place = { source, path: ["routes", name], name };
        if (typeof to === "string") return [{ ...place, backend: to }];
        return typeof to === "object" && to !== null ? [{ ...place, backend: undefined }] : [];
      }),
    ),
    rules: [
      ...sources.flatMap((source) =>
        entries(source.value, "routes").flatMap(([name, to]) => ruleReferences(source, to, ["routes", name])),
      ),
      ...["patterns", "default", "noServerName", "notTls", "silent"].flatMap((key) =>
        ruleReferences(main, member(value, key), [key]),
      ),
    ],
    httpRoutes: entries(member(value, "http"), "routes").flatMap(([name, backend]) =>
      typeof backend === "string" ? [{ source: main, path: ["http", "routes", name], name, backend }] : [],
    ),
    fallbacks: ofBackends("fallback").map(({ text, ...rest }) => ({ ...rest, backend: text })),
    defaults: [
      ...["default", "noServerName", "notTls"].flatMap((key) => texts(main, value, key, [])),
      ...["default", "acmeChallenge"].flatMap((key) => texts(main, member(value, "http"), key, ["http"])),
    ].map(({ text, ...rest }) => ({ ...rest, backend: text })),
    handoffs: ofBackends("handoff"),
    relays: backends.flatMap(({ source, path, name, backend }) => [
      ...texts(source, backend, "relay", path).map((text) => ({ ...text, of: name })),
      ...items(backend, "relay").flatMap((text, index) =>
        typeof text === "string" ? [{ source, path: [...path, "relay", index], text, of: name }] : [],
      ),
    ]),
    datagrams: new Set(
      ofBackends("protocol")
        .filter(({ text }) => text === "datagram")
        .map(({ of }) => of),
    ),
    protocolKeys: backends.flatMap(({ source, path, name, backend }) =>
      [...ONLY_OF_HANDOFFS, ...ONLY_OF_DATAGRAMS]
        .filter((key) => member(backend, "handoff") !== undefined && member(backend, key) !== undefined)
        .map((key) => ({ source, path: [...path, key], of: name, key })),
    ),
    users: ofBackends("user"),
    addresses: items(value, "listeners").flatMap((listener, index) =>
      texts(main, listener, "address", ["listeners", index]).map((text) => ({
        ...text,
        v6Only: member(listener, "v6Only") === true,
      })),
    ),
    maps: sources.flatMap((source) =>
      items(source.value, "maps").flatMap((text, index) =>
        typeof text === "string" && text !== "" ? [{ source, path: ["maps", index], text }] : [],
      ),
    ),
    control: [...texts(main, value, "control", []), ...texts(main, member(value, "control"), "path", ["control"])][0],
    pidfile: texts(main, value, "pidfile", [])[0],
    metrics: texts(main, member(value, "metrics"), "address", ["metrics"])[0],
  };
}

/** What a key of a map leads to; undefined if there is no such map or key. */
export function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function entries(value: unknown, key: string): [string, unknown][] {
  const map = member(value, key);
  return typeof map === "object" && map !== null && !Array.isArray(map) ? Object.entries(map) : [];
}

/** The backends that a rule, or a list of rules, leads to. */
function ruleReferences(source: Source, value: unknown, path: readonly Step[]): Reference[] {
  const rules = Array.isArray(value) ? value.map((rule, index) => ({ rule, at: [...path, index] })) : [];
  if (!Array.isArray(value)) rules.push({ rule: value, at: [...path] });
  return rules.flatMap(({ rule, at }) =>
    typeof rule === "object"
      ? texts(source, rule, "backend", at).map(({ text, ...rest }) => ({ ...rest, backend: text }))
      : [],
  );
}

function items(value: unknown, key: string): unknown[] {
  const list = member(value, key);
  return Array.isArray(list) ? list : [];
}

function texts(source: Source, value: unknown, key: string, prefix: readonly Step[]): TextAt[] {
  const text = member(value, key);
  return typeof text === "string" && text !== "" ? [{ source, path: [...prefix, key], text }] : [];
}
