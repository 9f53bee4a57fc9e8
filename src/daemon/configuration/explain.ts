/** Where a name goes under a configuration, and why. */
import type { BackendSettings } from "../../door/settings.js";
import { normaliseName } from "../../routing/name.js";
import { explain, type Match, RouteTable } from "../../routing/table.js";
import type { Configuration } from "./configuration.js";
import { formatDuration } from "./durations.js";

export interface ExplainedRoute {
  readonly kind: Match["kind"] | "noServerName";
  /** As configured, in lower case: "*.example.com"; "default" or "noServerName" for these keys. */
  readonly pattern: string;
  readonly backend: string;
}

export interface ExplainedName {
  /** As it is compared: lower case, without a dot at the end. */
  readonly name: string;
  readonly route: ExplainedRoute;
  /** The routes that match as well, and lost: the most specific first. */
  readonly over: readonly ExplainedRoute[];
  readonly backend: BackendSettings;
}

/** Throws a RangeError if no client could send `text` as a server name. */
export function explainName({ routes, door }: Configuration, text: string): ExplainedName {
  const table = new RouteTable(routes);
  const named = ({ kind, pattern, target }: Match) => ({ kind, pattern, backend: door.backends[target]!.name });
  const normalised = normaliseName(text);
  // Clients that connect to an address send no name, or are taken as if they didn't (RFC 6066 §3).
  if (!normalised.ok && normalised.fault === "address") {
    const backend = door.backends[table.noServerNameTarget]!;
    return {
      name: text,
      route: { kind: "noServerName", pattern: "noServerName", backend: backend.name },
      over: [],
      backend,
    };
  }
  const { shadowed, ...won } = explain(table, text);
  return {
    name: normalised.ok ? normalised.name : text,
    route: named(won),
    over: shadowed.map(named),
    backend: door.backends[won.target]!,
  };
}

/** What a backend is, in one line. */
export function describeBackend(backend: BackendSettings, backends: readonly BackendSettings[]): string {
  if (backend.kind === "reject") return describeRejection(backend.reject);
  const { path, balance, hold, fallback } = backend;
  const what = path.endsWith("/") ? `every socket in the folder ${path}, ${balance}` : `socket ${path}`;
  const otherwise = fallback < 0 ? "refused with the alert internal_error" : backends[fallback]!.name;
  return `${what}; held for ${formatDuration(hold)} if nobody takes it, then ${otherwise}`;
}

function describeRejection(rejection: string): string {
  if (rejection === "close") return "closes the connection";
  if (rejection === "reset") return "resets the connection (TCP RST)";
  return `refuses with the TLS alert ${rejection}`;
}
