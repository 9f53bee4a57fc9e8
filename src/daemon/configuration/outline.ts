/**
 * A configuration's cross-references, read leniently from plain values: what is malformed is passed over, because the
 * schema reports it. So one wrong value doesn't hide what is wrong elsewhere.
 */
import type { Step } from "./positions.js";

/** A place that names a backend. */
export interface Reference {
  readonly path: readonly Step[];
  readonly backend: string;
}

export interface Outline {
  /** Names of all backends, malformed ones too, in the order of the file: their indices. */
  readonly backends: readonly string[];
  readonly routes: readonly (Reference & { readonly name: string })[];
  readonly fallbacks: readonly (Reference & { readonly of: string })[];
  /** `default`, `noServerName`, `notTls`. */
  readonly defaults: readonly Reference[];
  readonly handoffs: readonly TextAt[];
  readonly users: readonly TextAt[];
  readonly addresses: readonly (TextAt & { readonly v6Only: boolean })[];
  readonly maps: readonly TextAt[];
}

export interface TextAt {
  readonly path: readonly Step[];
  readonly text: string;
}

export function outline(value: unknown): Outline {
  const backends = entries(value, "backends");
  return {
    backends: backends.map(([name]) => name),
    routes: entries(value, "routes").flatMap(([name, backend]) =>
      typeof backend === "string" ? [{ path: ["routes", name], name, backend }] : [],
    ),
    fallbacks: backends.flatMap(([of, backend]) =>
      texts(backend, "fallback", ["backends", of]).map(({ path, text }) => ({ path, of, backend: text })),
    ),
    defaults: ["default", "noServerName", "notTls"].flatMap((key) =>
      texts(value, key, []).map(({ path, text }) => ({ path, backend: text })),
    ),
    handoffs: backends.flatMap(([name, backend]) => texts(backend, "handoff", ["backends", name])),
    users: backends.flatMap(([name, backend]) => texts(backend, "user", ["backends", name])),
    addresses: items(value, "listeners").flatMap((listener, index) =>
      texts(listener, "address", ["listeners", index]).map((text) => ({
        ...text,
        v6Only: member(listener, "v6Only") === true,
      })),
    ),
    maps: items(value, "maps").flatMap((text, index) =>
      typeof text === "string" && text !== "" ? [{ path: ["maps", index], text }] : [],
    ),
  };
}

function member(value: unknown, key: string): unknown {
  return typeof value === "object" && value !== null ? (value as Record<string, unknown>)[key] : undefined;
}

function entries(value: unknown, key: string): [string, unknown][] {
  const map = member(value, key);
  return typeof map === "object" && map !== null && !Array.isArray(map) ? Object.entries(map) : [];
}

function items(value: unknown, key: string): unknown[] {
  const list = member(value, key);
  return Array.isArray(list) ? list : [];
}

function texts(value: unknown, key: string, prefix: readonly Step[]): TextAt[] {
  const text = member(value, key);
  return typeof text === "string" && text !== "" ? [{ path: [...prefix, key], text }] : [];
}
