/** HAProxy's TCP frontends with req.ssl_sni -> a draft. Pure. */
import { Draft, type Rule } from "./draft.js";
import { Acls, type Condition, nameMatcher, type Reader } from "./haproxy-conditions.js";
import { type Line, lastOf, readHaproxy, type Section } from "./haproxy-lexer.js";
import { HaproxyServers } from "./haproxy-servers.js";
import { isConditional, OrderedRoutes } from "./ordered-routes.js";
import { readListenAddress, withBrackets } from "./targets.js";
import { clamp, Limit, readTime } from "./times.js";

/** Longer maps are better used as they are: this program's map files look the same. */
const MAX_MAP_LINES = 10_000;

/** Lines that tell this program nothing: it logs and counts in its own ways, and does this by itself. */
const NEEDLESS =
  /^(?:mode|log|option|description|id|timeout|enabled|stats|maxconn|retries|unique-id-format|log-format|log-tag|default_backend|server|default-server|balance)$/;

export function importHaproxy(text: string, file: string, read: Reader = () => undefined): Draft {
  const draft = new Draft("HAProxy", file);
  const sections = readHaproxy(text, file);
  const servers = new HaproxyServers(draft);
  let defaults: readonly Line[] = [];
  let routed: Section | undefined;
  for (const section of sections) {
    const [kind, name = ""] = section.words;
    if (kind === "defaults") defaults = section.lines;
    else if (kind === "backend" || kind === "listen") servers.add(name, section, defaults);
  }
  defaults = [];
  for (const section of sections) {
    const [kind] = section.words;
    if (kind === "defaults") defaults = section.lines;
    else if (kind === "frontend" || kind === "listen") {
      const mode = lastOf("mode", section.lines, defaults)?.words[1] ?? "tcp";
      const ends = section.lines.find(({ words }) => words[0] === "bind" && words.includes("ssl"));
      if (mode !== "tcp") remark(draft, section, `mode ${mode}: only TCP is carried over`);
      else if (ends !== undefined)
        remark(draft, ends, `HAProxy ends TLS here, the front door has no keys; the whole ${kind} was left out`);
      else if (
        !section.lines.some(
          ({ words }) => words[0] === "use_backend" || words[0] === "default_backend" || words[0] === "server",
        )
      ) {
        remark(draft, section, "it leads nowhere");
      } else if (routed !== undefined)
        remark(
          draft,
          section,
          "all listeners of a front door have the same routes; this one needs a front door of its own",
        );
      else {
        routed = section;
        new Frontend(draft, servers, read, defaults, section).convert();
      }
    } else if (kind !== "backend")
      remark(
        draft,
        section,
        kind === "global" ? "settings of HAProxy's own processes" : "this program has nothing of the kind",
      );
  }
  servers.remarkUnused();
  return draft;
}

class Frontend {
  readonly #draft: Draft;
  readonly #servers: HaproxyServers;
  readonly #read: Reader;
  readonly #section: Section;
  readonly #acls: Acls;
  readonly #ordered: OrderedRoutes;
  /** Of clients without a server name, and of those without TLS, until one of the rules has no conditions. */
  readonly #nameless: Rule[] = [];
  #notTls: string | undefined;

  constructor(draft: Draft, servers: HaproxyServers, read: Reader, defaults: readonly Line[], section: Section) {
    this.#draft = draft;
    this.#servers = servers;
    this.#read = read;
    this.#section = section;
    this.#acls = new Acls(read);
    this.#ordered = new OrderedRoutes(draft);
    servers.client = lastOf("timeout client", section.lines, defaults);
  }

  convert(): void {
    const { lines, words } = this.#section;
    // An address may stand behind the section's name, as in old versions.
    const named = words.slice(2).find((word) => /:\d/.test(word));
    if (named !== undefined) this.#bind({ line: this.#section.line, words: ["bind", named] });
    for (const line of lines) {
      const [word] = line.words;
      if (word === "bind") this.#bind(line);
      else if (word === "acl") this.#acls.add(line.words.slice(1));
      else if (word === "tcp-request") this.#request(line);
      else if (word !== "use_backend" && !NEEDLESS.test(word ?? ""))
        remark(this.#draft, line, "this program has nothing of the kind");
    }
    // They are tried before the default, wherever that stands.
    for (const line of lines) if (line.words[0] === "use_backend") this.#use(line);
    const last = lastOf("default_backend", lines);
    const own = this.#section.words[0] === "listen" && lines.some(({ words: [word] }) => word === "server");
    if (last !== undefined || own) {
      const at = last ?? this.#section;
      const backend = this.#servers.backend(at.words[1] ?? "", at);
      this.#ordered.add("any", [{ backend }], { line: at.line, what: at.words.join(" ") });
      this.#withoutName({ backend });
      this.#notTls ??= backend;
    }
    this.#ordered.finish();
    if (this.#nameless.length > 0) this.#draft.noServerName = this.#nameless;
    this.#draft.notTls = this.#notTls;
  }

  #use(line: Line): void {
    const at = line.words.findIndex((word) => word === "if" || word === "unless");
    const [, ...target] = at === -1 ? line.words : line.words.slice(0, at);
    const condition = at === -1 ? [[]] : this.#acls.condition(line.words.slice(at));
    const text = target.join(" ");
    if (text.startsWith("%[")) this.#dynamic(line, text, condition);
    else if (text.includes("%["))
      remark(this.#draft, line, "a backend's name that is made of several parts is not carried over");
    else for (const term of condition) this.#term(line, term, text);
  }

  /** One alternative of a condition. */
  #term(line: Line, term: Condition[number], target: string): void {
    let names: (typeof term)[number] | undefined;
    let named = false;
    let nameless = false;
    let tls = false;
    let plain = false;
    const conditions: { alpn?: readonly string[]; clients?: readonly string[] } = {};
    for (const literal of term) {
      const { fact, negated } = literal;
      if (fact.kind === "unknown") return remark(this.#draft, line, `${fact.why}; left out`);
      if (fact.kind === "always" || fact.kind === "never") {
        if ((fact.kind === "never") !== negated) return;
      } else if (fact.kind === "named") {
        if (negated) nameless = true;
        else named = true;
      } else if (fact.kind === "tls") {
        if (negated) plain = true;
        else tls = true;
      } else if (negated) return remark(this.#draft, line, "what is not so is no condition here; left out");
      else if (fact.kind === "names") {
        if (names !== undefined)
          return remark(this.#draft, line, "two tests of the name at once are not carried over; left out");
        names = literal;
      } else if (fact.kind === "alpn") {
        if (conditions.alpn)
          return remark(this.#draft, line, "two tests of ALPN at once are not carried over; left out");
        conditions.alpn = fact.protocols;
      } else {
        if (conditions.clients)
          return remark(this.#draft, line, "two tests of the address at once are not carried over; left out");
        conditions.clients = fact.blocks;
      }
    }
    const rule: Rule = { backend: this.#servers.backend(target, line), ...conditions };
    const origin = { line: line.line, what: line.words.join(" ") };
    if (plain) {
      if (isConditional(rule))
        remark(this.#draft, line, "conditions of clients without TLS are not carried over; left out");
      else this.#notTls ??= rule.backend;
      return;
    }
    if (nameless) return this.#withoutName(rule);
    if (names?.fact.kind === "names")
      for (const matcher of names.fact.matchers) this.#ordered.add(matcher, [rule], origin);
    else {
      this.#ordered.add("any", [rule], origin);
      if (named) return;
      this.#withoutName(rule);
      if (tls || rule.alpn) return;
      if (rule.clients) remark(this.#draft, line, "for clients without TLS the address is no condition here");
      else this.#notTls ??= rule.backend;
    }
  }

  #withoutName(rule: Rule): void {
    const last = this.#nameless.at(-1);
    if (last === undefined || isConditional(last)) this.#nameless.push(rule);
  }

  /** `%[req.ssl_sni,lower,map(FILE,DEFAULT)]`: the backend's name is in a file. */
  #dynamic(line: Line, text: string, condition: Condition): void {
    const draft = this.#draft;
    const parts = /^%\[req[._]ssl_sni(?:,lower)?,map(?:_(str|end|beg|sub|dom|reg))?\(([^,)]+)(?:,([^,)]+))?\)\]$/.exec(
      text.replaceAll(" ", ""),
    );
    if (parts === null)
      return remark(draft, line, "only %[req.ssl_sni,lower,map(FILE,DEFAULT)] is carried over; left out");
    const plain = condition.every((term) =>
      term.every(({ fact, negated }) => !negated && ["named", "tls", "always"].includes(fact.kind)),
    );
    if (!plain) return remark(draft, line, "a map with other conditions is not carried over; left out");
    const [, method = "str", path = "", fallback] = parts;
    const content = this.#read(path);
    const lines = content?.split("\n") ?? [];
    if (content === undefined) remark(draft, line, `${path} cannot be read; its lines are missing`);
    else if (lines.length > MAX_MAP_LINES)
      remark(
        draft,
        line,
        `${path} has ${lines.length} lines: as a map file it can be used as it is (maps: [${path}]), if its keys are names`,
      );
    else
      for (const [index, entry] of lines.entries()) {
        const [key, value, ...rest] = entry.trim().split(/\s+/);
        if (!key || key.startsWith("#")) continue;
        const origin = { line: index + 1, what: entry.trim(), file: path };
        if (value === undefined || rest.length > 0)
          draft.remark(index + 1, entry, 'no line of a map: "name backend"', path);
        else
          this.#ordered.add(
            nameMatcher(method, key),
            [{ backend: this.#servers.backend(value, { line: index + 1, words: [key, value] }, path) }],
            origin,
          );
      }
    if (fallback === undefined) return;
    const backend = this.#servers.backend(fallback, line);
    this.#ordered.add("any", [{ backend }], { line: line.line, what: line.words.join(" ") });
    const all = condition.some((term) => term.length === 0);
    if (condition.some((term) => term.every(({ fact }) => fact.kind !== "named"))) this.#withoutName({ backend });
    if (all) this.#notTls ??= backend;
  }

  /** Waiting for the hello is what the front door does anyway; what rejects is not carried over. */
  #request(line: Line): void {
    const [, what, action] = line.words;
    if (what === "inspect-delay") {
      const time = readTime(action ?? "", "ms");
      if (time === undefined) remark(this.#draft, line, "no time that can be read");
      else this.#draft.helloTimeout = clamp(time, Limit.hello);
      return;
    }
    if (what === "content" && action === "accept") return;
    const condition = /^(?:if|unless)$/.test(line.words[3] ?? "") ? this.#acls.condition(line.words.slice(3)) : [];
    const notTls =
      condition.length === 1 &&
      condition[0]!.length === 1 &&
      condition[0]![0]!.fact.kind === "tls" &&
      condition[0]![0]!.negated;
    if (what === "content" && action === "reject" && notTls)
      this.#notTls = this.#draft.backend("close", { kind: "reject", how: "close" });
    else remark(this.#draft, line, "what it refuses is NOT refused here: see access lists of routes");
  }

  #bind(line: Line): void {
    const [, addresses = "", ...options] = line.words;
    const draft = this.#draft;
    const accept = options.includes("accept-proxy");
    if (accept)
      remark(
        draft,
        line,
        "HAProxy takes PROXY headers from everybody here; narrow acceptProxyProtocol to the balancers",
      );
    for (const text of addresses.split(",")) {
      // ":443" is IPv4 only, unless v4v6 or an IPv6 address says otherwise; ":::443" is [::]:443.
      const bare = withBrackets(text.replace(/^(?:ipv4|ipv6)@/, ""));
      const address = readListenAddress(bare, text.startsWith("ipv6@") ? "[::]" : "0.0.0.0");
      if (!address.ok) {
        remark(draft, line, /[a-z]+@|^\//.test(text) ? "the front door listens on TCP addresses only" : address.why);
        continue;
      }
      const at = options.indexOf("backlog");
      const backlog = at === -1 ? Number.NaN : Number(options[at + 1]);
      // Linux has IPv4 in "::", too (bindv6only in ipv6(7)), unless another socket takes it.
      const own = address.text.replace("[::]", "0.0.0.0");
      const v6Only =
        address.text.startsWith("[") &&
        !options.includes("v4v6") &&
        (options.includes("v6only") || draft.listeners.some((each) => each.address === own));
      draft.listen(
        {
          address: address.text.replace(/^\*:/, "0.0.0.0:"),
          ...(v6Only && { v6Only }),
          ...(backlog >= 1 && { backlog: clamp(backlog, { min: 1, max: 1_048_576 }) }),
          ...(accept && { acceptProxyProtocol: ["0.0.0.0/0", "::/0"] }),
        },
        line.line,
        line.words.join(" "),
      );
    }
    const known = ["accept-proxy", "v4v6", "v6only", "transparent", "tfo", "defer-accept"];
    const strange = options.filter(
      (option, i) =>
        !known.includes(option) &&
        !/^(?:name|backlog|id|maxconn)$/.test(options[i - 1] ?? "") &&
        !/^(?:name|backlog|id)$/.test(option),
    );
    if (strange.length > 0) remark(draft, line, `${strange.join(" ")} is left out`);
  }
}

function remark(draft: Draft, { line, words }: Line, why: string): void {
  draft.remark(line, words.join(" "), why);
}
