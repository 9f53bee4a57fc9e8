/** The `http` section: what requests without TLS meet. */
import type { BackendSettings, HttpSettings } from "../../door/settings.js";
import { NO_TARGET, RouteTable, RouteTableBuilder } from "../../routing/table.js";
import { member, type Outline } from "./outline.js";
import { addRoutes } from "./routes.js";
import type { ConfigurationInput } from "./schema.js";
import type { Report, Source } from "./source.js";
import { warnOfNeedlessRoutes } from "./warnings.js";

const HTTPS_PORT = 443;
/** What only clients of TLS listeners meet. */
const TLS_KEYS = ["routes", "patterns", "maps", "default", "noServerName", "notTls", "silent"];

/** Routes with an unknown backend are left out: they are reported elsewhere. */
export function buildHttpRoutes(
  { backends, httpRoutes }: Outline,
  region: SharedArrayBuffer | undefined,
  problem: Report,
): RouteTableBuilder {
  const nameBytes = httpRoutes.reduce((sum, { name }) => sum + name.length, 0);
  const builder = new RouteTableBuilder({ names: httpRoutes.length, nameBytes }, undefined, region);
  addRoutes(httpRoutes, new Map(backends.map(({ name }, index) => [name, index])), builder, problem, {
    address: "is an IP address: requests to one get http.default",
    wildcard_everything: "is every host: set http.default to the backend for hosts that have no route",
  });
  return builder;
}

export function compileHttp(
  http: ConfigurationInput["http"],
  builder: RouteTableBuilder,
  backends: readonly BackendSettings[],
): HttpSettings | undefined {
  if (http === undefined) return undefined;
  const target = (name: string | undefined) =>
    name === undefined ? NO_TARGET : backends.findIndex((backend) => backend.name === name);
  const { redirect } = http;
  builder.defaultTarget = target(http.default);
  return {
    routes: builder.finish(),
    acmeChallenge: target(http.acmeChallenge),
    redirectPort: redirect === undefined ? 0 : typeof redirect === "string" ? HTTPS_PORT : redirect.port,
  };
}

/** What works and is probably not meant. */
export function warnOfHttp(
  { listeners }: ConfigurationInput,
  source: Source,
  outline: Outline,
  http: HttpSettings | undefined,
  warning: Report,
): void {
  if (listeners.every(({ protocol }) => protocol === "http"))
    for (const key of TLS_KEYS)
      if (member(source.value, key) !== undefined)
        warning({ source, path: [key] }, "has no effect: every listener has protocol: http", "key");
  const listener = listeners.findIndex(({ protocol }) => protocol === "http");
  if (http === undefined && listener >= 0)
    warning({ source, path: ["listeners", listener, "protocol"] }, "refuses everybody: there is no section http");
  if (http === undefined) return;
  if (listener < 0) warning({ source, path: ["http"] }, "has no effect: no listener has protocol: http", "key");
  const table = new RouteTable(http.routes);
  warnOfNeedlessRoutes(outline, outline.httpRoutes, table, warning, http.redirectPort > 0);
}
