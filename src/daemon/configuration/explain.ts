/** Where a name goes under a configuration, and why. */

import type { BackendSettings, HoldingBackendSettings, Rejection } from "../../door/settings.js";
import { ANSWERS, answerFor } from "../../http/answers.js";
import { type Candidate, candidatesFor } from "./candidates.js";
import { type AccessVerdict, type ClientFacts, judgeAccess, whyNot } from "./client-facts.js";
import type { Configuration } from "./configuration.js";
import { formatDuration } from "./durations.js";
import { conditionsOf } from "./rule-text.js";
import { formatSize } from "./sizes.js";

export interface ExplainedRoute {
  readonly kind: Candidate["kind"];
  readonly pattern: string;
  readonly backend: string;
  /** Which rule of the route, from 1; absent for a route without a list. */
  readonly rule?: number;
  /** Those of the rule: "clients 10.0.0.0/8". */
  readonly conditions?: readonly string[];
}

export interface ExplainedName {
  /** As it is compared: lower case, without a dot at the end. */
  readonly name: string;
  readonly route: ExplainedRoute;
  /** More specific routes whose conditions do not hold: the most specific first. */
  readonly passed: readonly (ExplainedRoute & { readonly why: string })[];
  /** The routes that match as well, and lost: the most specific first. */
  readonly over: readonly ExplainedRoute[];
  /** What the access list of the route says to the client. */
  readonly access?: AccessVerdict;
  readonly backend: BackendSettings;
}

/** Throws a RangeError if no client could send `text` as a server name. A condition on what is not known does not hold. */
export function explainName(configuration: Configuration, text: string, facts: ClientFacts = {}): ExplainedName {
  const { backends } = configuration.door;
  const { name, all } = candidatesFor(configuration, text);
  const reasons = all.map(({ rule }) => rule && whyNot(rule, facts));
  // The last one is a backend: `default`, or the one that refuses whom nothing takes.
  const index = reasons.indexOf(undefined);
  const route = ({ kind, pattern, target, rule, number }: Candidate): ExplainedRoute => ({
    kind,
    pattern,
    backend: backends[target]!.name,
    ...(number !== undefined && { rule: number }),
    ...(rule !== undefined && { conditions: conditionsOf(rule) }),
  });
  const won = all[index]!;
  return {
    name,
    route: route(won),
    passed: all.slice(0, index).map((candidate, at) => ({ ...route(candidate), why: reasons[at]! })),
    over: all.slice(index + 1).map(route),
    ...(won.rule?.access && { access: judgeAccess(won.rule.access, facts) }),
    backend: backends[won.target]!,
  };
}

/** "exact app.example.com, rule 2". */
export function routeText({ kind, pattern, rule }: ExplainedRoute): string {
  const text = kind === pattern ? pattern : `${kind} ${pattern}`;
  return rule === undefined ? text : `${text}, rule ${rule}`;
}

/** The explanation without what it says of the backend: one line each, columns aligned. */
export function explanationLines({ name, route, passed, over, access }: ExplainedName): string[] {
  const conditions = ({ conditions = [] }: ExplainedRoute) =>
    conditions.length === 0 ? "" : ` (${conditions.join(", ")})`;
  const list = (what: string, lines: readonly string[]) =>
    lines.map((line, index) => `  ${(index === 0 ? what : "").padEnd(7)}  ${line}`);
  return [
    `${name} -> ${route.backend}`,
    ...list("by", [`${routeText(route)}${conditions(route)}`]),
    ...list(
      "not",
      passed.map((each) => `${routeText(each)} -> ${each.backend}: ${each.why}`),
    ),
    ...list(
      "over",
      over.map((each) => {
        const text =
          each.kind === "exact" || each.kind === "wildcard" ? routeText(each).replace(/^\w+ /, "") : routeText(each);
        return `${text} -> ${each.backend}${conditions(each)}`;
      }),
    ),
    ...list("access", access === undefined ? [] : [access.why]),
  ];
}
const REFUSAL = { tls: "the alert internal_error", http: ANSWERS[answerFor("internal_error")] };

/** What a backend is, in one line. */
export function describeBackend(
  backend: BackendSettings,
  backends: readonly BackendSettings[],
  protocol: keyof typeof REFUSAL = "tls",
): string {
  if (backend.kind === "reject") return describeRejection(backend.reject, protocol);
  const { hold, fallback } = backend;
  const what = describePlace(backend);
  const otherwise = fallback < 0 ? `refused with ${REFUSAL[protocol]}` : backends[fallback]!.name;
  return `${what}; held for ${formatDuration(hold)} if nobody takes it, then ${otherwise}`;
}

function describePlace(backend: HoldingBackendSettings): string {
  const { path } = backend;
  if (backend.kind === "datagram") return `datagrams to ${path}, hellos of up to ${formatSize(backend.maxHello)}`;
  const { balance, relay } = backend;
  if (relay !== undefined) return `relay to ${relay.join(", ")}`;
  return path.endsWith("/") ? `every socket in the folder ${path}, ${balance}` : `socket ${path}`;
}

function describeRejection(rejection: Rejection, protocol: keyof typeof REFUSAL): string {
  if (rejection === "close") return "closes the connection";
  if (rejection === "reset") return "resets the connection (TCP RST)";
  return `refuses with ${protocol === "http" ? ANSWERS[answerFor(rejection)] : `the TLS alert ${rejection}`}`;
}
