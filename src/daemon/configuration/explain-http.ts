/** What becomes of a request without TLS under a configuration, and why. */
import type { BackendSettings } from "../../door/settings.js";
import { ANSWERS } from "../../http/answers.js";
import { ACME_CHALLENGE } from "../../http/paths.js";
import { normaliseName } from "../../routing/name.js";
import { explain, type Match, RouteTable } from "../../routing/table.js";
import type { Configuration } from "./configuration.js";

export interface ExplainedRequest {
  /** As it is compared: lower case, without a dot at the end; an address as it was written. */
  readonly name: string;
  readonly path: string;
  /** The key of `http` that decides; "none" if no one does. */
  readonly by: "acmeChallenge" | "routes" | "redirect" | "default" | "none";
  /** As configured, in lower case; undefined if no route decides. */
  readonly pattern: string | undefined;
  /** The routes that match as well, and lost: the most specific first. */
  readonly over: readonly { readonly pattern: string; readonly backend: string }[];
  /** Undefined: the door answers itself. */
  readonly backend: BackendSettings | undefined;
  /** What the door answers; undefined: a backend does. */
  readonly answer: string | undefined;
}

/** Throws a RangeError if no client could send `text` as a host. */
export function explainRequest({ door }: Configuration, text: string, path: string): ExplainedRequest {
  const { http, backends } = door;
  const normalised = normaliseName(text);
  const isAddress = !normalised.ok && normalised.fault === "address";
  if (!normalised.ok && !isAddress) throw new RangeError(normalised.message);
  const name = normalised.ok ? normalised.name : text;
  const decided = (
    by: ExplainedRequest["by"],
    to: { target?: number; answer?: string; pattern?: string; over?: readonly Match[] },
  ): ExplainedRequest => ({
    name,
    path,
    by,
    pattern: to.pattern,
    over: (to.over ?? []).map(({ pattern, target }) => ({ pattern, backend: backends[target]!.name })),
    backend: to.target === undefined ? undefined : backends[to.target],
    answer: to.answer,
  });
  if (http === undefined) return decided("none", { answer: ANSWERS.misdirected_request });
  if (http.acmeChallenge >= 0 && path.startsWith(ACME_CHALLENGE))
    return decided("acmeChallenge", { target: http.acmeChallenge });
  const table = new RouteTable(http.routes);
  if (!isAddress) {
    const { shadowed, ...won } = explain(table, text);
    if (won.kind !== "default") {
      const over = shadowed.filter(({ kind }) => kind !== "default");
      return decided("routes", { target: won.target, pattern: won.pattern, over });
    }
    if (http.redirectPort > 0) {
      const port = http.redirectPort === 443 ? "" : `:${http.redirectPort}`;
      return decided("redirect", { answer: `308 Permanent Redirect to https://${name}${port}${path}` });
    }
  }
  if (table.defaultTarget >= 0) return decided("default", { target: table.defaultTarget });
  return decided("none", { answer: http.redirectPort > 0 ? ANSWERS.bad_request : ANSWERS.misdirected_request });
}
