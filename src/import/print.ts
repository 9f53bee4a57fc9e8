/** A draft as this program's YAML. Pure. */
import type { Access, Backend, Draft, Listener, Remark, Rule } from "./draft.js";
import { formatTime } from "./times.js";
import { type Entry, type Node, printEntry, quoted, scalar } from "./yaml.js";

/** Longest part of a remark's line that is shown. */
const MAX_WHAT = 100;

export function printDraft(draft: Draft): string {
  const { default: fallback, noServerName, notTls, http } = draft;
  const listeners: Node = { list: draft.listeners.map(listenerNode), inBlocks: true };
  const backends: Entry[] = [...draft.backends].map(([name, backend]) => [scalar(name), backendNode(backend)]);
  const routes: Entry[] = [...draft.routes].map(([name, rules]) => [scalar(name), rulesNode(rules)]);
  const patterns = draft.patterns.map(
    ({ match, rule }): Node => ({ map: [["match", quoted(match)], ...ruleEntries(rule)] }),
  );
  const isOwn = noServerName !== undefined && JSON.stringify(noServerName) !== JSON.stringify(fallback);
  const sections: readonly Entry[][] = [
    [["listeners", listeners]],
    httpEntries(http),
    draft.helloTimeout === undefined ? [] : [["timeouts", { map: [["hello", formatTime(draft.helloTimeout)]] }]],
    [["backends", { map: backends, inBlocks: true }]],
    routes.length === 0 ? [] : [["routes", { map: routes, inBlocks: true }]],
    patterns.length === 0 ? [] : [["patterns", { list: patterns, inBlocks: true }]],
    [
      ...optional("default", fallback && rulesNode(fallback)),
      ...optional("noServerName", isOwn ? rulesNode(noServerName) : undefined),
      ...optional("notTls", notTls && scalar(notTls)),
    ],
  ];
  const parts = sections.map((entries) => entries.map((entry) => printEntry(entry)).join("\n"));
  return `${[printHead(draft), ...parts].filter(Boolean).join("\n\n")}\n`;
}

function printHead({ from, file, remarks }: Draft): string {
  const lines = [
    "# yaml-language-server: $schema=sni-handoff.schema.json",
    "#",
    `# From ${from}: ${oneLine(file)}. The schema: sni-handoff schema > sni-handoff.schema.json`,
    "# Before it is used: sni-handoff check --config FILE",
  ];
  if (remarks.length > 0) lines.push("#", "# Not carried over, or not as it was:");
  return [...lines, ...remarks.map((remark) => `#   ${formatRemark(remark)}`)].join("\n");
}

/** `file:line: what: why`, on one line. */
export function formatRemark({ file, line, what, why }: Remark): string {
  const text = oneLine(what.slice(0, 4 * MAX_WHAT));
  const shown = text.length > MAX_WHAT ? `${text.slice(0, MAX_WHAT - 3)}...` : text;
  return `${oneLine(file)}:${line}: ${shown}: ${oneLine(why)}`;
}

/** Nothing in it ends a comment, or is unseen: control characters, and what YAML 1.1 takes for the end of a line. */
function oneLine(text: string): string {
  if (/^[!-~](?: ?[!-~])*$/.test(text)) return text;
  return text.replace(/[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\s\ufeff\ufffe\uffff]+/gu, " ").trim();
}

const optional = (key: string, value: Node | undefined): Entry[] => (value === undefined ? [] : [[key, value]]);

const list = (items: readonly string[]): Node => ({ list: items.map(quoted) });

const oneOrMore = (items: readonly string[]): Node => (items.length === 1 ? quoted(items[0]!) : list(items));

function listenerNode({ address, protocol, v6Only, backlog, acceptProxyProtocol }: Listener): Node {
  const map = [
    ["address", quoted(address)] as const,
    ...optional("protocol", protocol),
    ...optional("v6Only", v6Only === true ? "true" : undefined),
    ...optional("backlog", backlog === undefined ? undefined : String(backlog)),
    ...optional("acceptProxyProtocol", acceptProxyProtocol && list(acceptProxyProtocol)),
  ];
  return { map, inBlocks: true };
}

function httpEntries({ routes, default: fallback }: Draft["http"]): Entry[] {
  const entries: Entry[] = [...routes].map(([name, backend]) => [scalar(name), scalar(backend)]);
  const map = [
    ...optional("routes", entries.length === 0 ? undefined : { map: entries, inBlocks: true }),
    ...optional("default", fallback && scalar(fallback)),
  ];
  return map.length === 0 ? [] : [["http", { map, inBlocks: true }]];
}

function backendNode(backend: Backend): Node {
  if (backend.kind === "reject") return { map: [["reject", backend.how]] };
  const fallback = optional("fallback", backend.fallback && scalar(backend.fallback));
  if (backend.kind === "datagram")
    return { map: [["handoff", quoted(backend.path)], ["protocol", "datagram"], ...fallback] };
  const { targets, proxyProtocol, balance, connectTimeout, idleTimeout, lifetime } = backend;
  const times = Object.entries({ connectTimeout, idleTimeout, lifetime });
  return {
    map: [
      ["relay", oneOrMore(targets)],
      ...optional("proxyProtocol", proxyProtocol),
      ...optional("balance", balance),
      ...times.flatMap(([key, time]) => optional(key, time === undefined ? undefined : formatTime(time))),
      ...fallback,
    ],
  };
}

function rulesNode(rules: readonly Rule[]): Node {
  const [first, ...others] = rules as [Rule, ...Rule[]];
  if (others.length > 0) return { list: rules.map((rule) => ({ map: ruleEntries(rule) })), inBlocks: true };
  return Object.keys(first).length === 1 ? scalar(first.backend) : { map: ruleEntries(first) };
}

function ruleEntries({ backend, alpn, clients, tls, access }: Rule): Entry[] {
  return [
    ["backend", scalar(backend)],
    ...optional("alpn", alpn && oneOrMore(alpn)),
    ...optional("clients", clients && oneOrMore(clients)),
    ...optional("tls", tls && oneOrMore(tls)),
    ...optional("access", access && accessNode(access)),
  ];
}

function accessNode({ allow, deny, reject }: Access): Node {
  return {
    map: [
      ...optional("allow", allow && list(allow)),
      ...optional("deny", deny && list(deny)),
      ...optional("reject", reject),
    ],
  };
}
