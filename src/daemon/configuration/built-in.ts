/** Backends that stand in for keys which are absent: what has no route is refused, what is no TLS is closed. */
import type { BackendSettings } from "../../door/settings.js";

/** No configured backend's name has a colon. */
const PREFIX = "built-in:";

export function builtInName(what: string): string {
  return `${PREFIX}${what}`;
}

export function isBuiltIn(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** Those that an operator knows. */
export function configuredBackends({ backends }: { readonly backends: readonly BackendSettings[] }): BackendSettings[] {
  return backends.filter(({ name }) => !isBuiltIn(name));
}
