/** sniproxy's listeners and tables -> a draft. Pure. */
import { normaliseName } from "../routing/name.js";
import { Draft, type RelayBackend } from "./draft.js";
import { readExpression } from "./expression.js";
import { OrderedRoutes } from "./ordered-routes.js";
import { readSniproxy, type Statement } from "./sniproxy-lexer.js";
import { readListenAddress, readTarget } from "./targets.js";

/** Keywords may be shortened as long as they are unambiguous (sniproxy.conf(5)). */
const is = (word: string | undefined, keyword: string, least = 1) =>
  word !== undefined && word.length >= least && keyword.startsWith(word);

interface Listener {
  readonly statement: Statement;
  readonly address: string;
  readonly port: number;
  readonly http: boolean;
  readonly table: string;
  readonly fallback?: Statement;
  readonly proxy: boolean;
  readonly proxyFallback: boolean;
}

export function importSniproxy(text: string, file: string): Draft {
  const draft = new Draft("sniproxy", file);
  const statements = readSniproxy(text, file);
  const tables = new Map<string, Statement>();
  for (const statement of statements) {
    const [word, name = ""] = statement.words;
    if (is(word, "table") && statement.block) tables.set(name, statement);
  }
  const listeners: Listener[] = [];
  for (const statement of statements) {
    const [word] = statement.words;
    if (is(word, "listener") && statement.block) {
      const listener = readListener(draft, statement);
      if (listener !== undefined) listeners.push(listener);
    } else if (!(is(word, "table") && statement.block)) {
      const why = is(word, "resolver")
        ? "the relay asks the servers of /etc/resolv.conf"
        : "a setting of sniproxy's own";
      remark(draft, statement, why);
    }
  }
  const used = new Set<string>();
  for (const http of [false, true]) {
    const [first, ...others] = listeners.filter((listener) => listener.http === http);
    if (first === undefined) continue;
    convert(draft, first, tables);
    used.add(first.table);
    for (const other of others) {
      const same =
        other.table === first.table &&
        other.fallback?.words[1] === first.fallback?.words[1] &&
        other.proxy === first.proxy;
      if (same) listen(draft, other);
      else
        remark(
          draft,
          other.statement,
          "all listeners of a front door have the same routes; this one needs a front door of its own",
        );
    }
  }
  for (const [name, table] of tables)
    if (!used.has(name)) remark(draft, table, "no listener that was carried over uses it");
  return draft;
}

function readListener(draft: Draft, statement: Statement): Listener | undefined {
  const words = statement.words.slice(1);
  // Old versions have address and port as two words; a port alone is for all addresses.
  const text =
    words.length > 1 ? `${words[0]!.includes(":") ? `[${words[0]}]` : words[0]}:${words[1]}` : (words[0] ?? "");
  if (text.startsWith("unix:")) {
    remark(draft, statement, "the front door listens on TCP only; left out");
    return undefined;
  }
  const address = readListenAddress(text, "[::]");
  if (!address.ok) {
    remark(draft, statement, `${address.why}; left out`);
    return undefined;
  }
  let http = false;
  let table = "";
  let fallback: Statement | undefined;
  let proxy = false;
  let proxyFallback = false;
  for (const inner of statement.block!) {
    const [word, value] = inner.words;
    if (is(word, "protocol", 3)) http = value === "http";
    else if (is(word, "table")) table = value ?? "";
    else if (word === "fallback_use_proxy_header") proxyFallback = value === "yes";
    else if (word === "fallback") fallback = inner;
    else if (is(word, "proxy_header", 6) || word === "use_proxy_header") proxy = value === "yes";
    else if (!is(word, "reuseport")) remark(draft, inner, elsewhere(word));
  }
  const port = Number(address.text.slice(address.text.lastIndexOf(":") + 1));
  return { statement, address: address.text, port, http, table, proxy, proxyFallback, ...(fallback && { fallback }) };
}

function elsewhere(word: string | undefined): string {
  if (word === "source") return "the relay leaves its own address to the kernel";
  if (is(word, "access_log") || is(word, "bad_requests")) return "the log has its own form here: see accessLog";
  return "this program has nothing of the kind";
}

function listen(draft: Draft, { address, http, statement }: Listener): void {
  draft.listen({ address, ...(http && { protocol: "http" as const }) }, statement.line, statement.words.join(" "));
}

function convert(draft: Draft, listener: Listener, tables: ReadonlyMap<string, Statement>): void {
  listen(draft, listener);
  const { http, port, fallback } = listener;
  const table = tables.get(listener.table);
  if (table === undefined) remark(draft, listener.statement, `there is no table ${JSON.stringify(listener.table)}`);
  const entries = table?.block ?? [];
  const isOption = ({ words }: Statement) => words[0] === "use_proxy_header" || words[0] === "proxy_header";
  const proxy = listener.proxy || entries.some((entry) => isOption(entry) && entry.words[1] === "yes");

  const ordered = new OrderedRoutes(draft);
  for (const entry of entries) {
    if (isOption(entry)) continue;
    const [expression = "", target = "", ...options] = entry.words;
    const header = proxy || options.includes("proxy_protocol");
    const strange = options.filter((option) => option !== "proxy_protocol");
    if (strange.length > 0) remark(draft, entry, `${strange.join(" ")} is left out`);
    if (http) httpRoute(draft, entry, expression, () => backend(draft, entry, target, port, header));
    else {
      const matcher = readExpression(expression, false);
      if (matcher.kind === "pattern" && normaliseName(expression).ok && !expression.startsWith("*"))
        remark(
          draft,
          entry,
          `sniproxy searches for this anywhere in a name, so it is a pattern; if it is one name: routes: { ${expression}: … }`,
        );
      ordered.add(matcher, [{ backend: backend(draft, entry, target, port, header) }], origin(entry));
    }
  }
  ordered.finish();
  if (fallback === undefined) {
    // sniproxy closes what has no name; here the default would take it.
    if (!http && draft.default !== undefined)
      draft.noServerName = [{ backend: draft.backend("close", { kind: "reject", how: "close" }) }];
    return;
  }
  const other = backend(draft, fallback, fallback.words[1] ?? "", port, listener.proxyFallback);
  if (http) draft.http.default = other;
  else {
    draft.default ??= [{ backend: other }];
    draft.noServerName = [{ backend: other }];
    draft.notTls = other;
  }
}

/** Routes of the Host field are names only. */
function httpRoute(draft: Draft, entry: Statement, expression: string, backendOf: () => string): void {
  const matcher = readExpression(expression, false);
  // The way in which nearly every table is written, though sniproxy takes it for an expression.
  const names = matcher.kind === "names" ? matcher.names : normaliseName(expression).ok ? [expression] : [];
  if (names.length === 0) return remark(draft, entry, "for HTTP only names and wildcards are carried over");
  if (matcher.kind !== "names")
    remark(draft, entry, "sniproxy searches for this anywhere in a name, here it is this name");
  for (const text of names) {
    const result = normaliseName(text);
    if (!result.ok) remark(draft, entry, result.message);
    else if (draft.http.routes.has(result.name)) remark(draft, entry, `${result.name} is there already`);
    else draft.http.routes.set(result.name, backendOf());
  }
}

function backend(draft: Draft, at: Statement, text: string, port: number, proxy: boolean): string {
  const target: ReturnType<typeof readTarget> = /^\*(?::\d+)?$/.test(text)
    ? { ok: false, why: "a relay's targets are configured, not what the client asks for" }
    : readTarget(text, port);
  if (!target.ok) {
    remark(draft, at, `${target.why}; refused instead`);
    return draft.refused();
  }
  const relay: RelayBackend = { kind: "relay", targets: [target.text], ...(proxy && { proxyProtocol: "v1" as const }) };
  return draft.backend(target.text, relay);
}

function origin({ line, words, block }: Statement): { readonly line: number; readonly what: string } {
  return { line, what: `${words.join(" ")}${block === undefined ? "" : " {…}"}` };
}

function remark(draft: Draft, statement: Statement, why: string): void {
  const { line, what } = origin(statement);
  draft.remark(line, what, why);
}
