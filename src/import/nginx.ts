/** nginx's stream module with ssl_preread -> a draft. Pure. */
import { normaliseName } from "../routing/name.js";
import { addressBlock, Draft, type Listener, overlap, type RelayBackend, type Rule } from "./draft.js";
import { readExpression } from "./expression.js";
import { type Directive, readNginx } from "./nginx-lexer.js";
import { compareEntries, type MapEntry, type NginxMap, NginxMaps, nameEntries } from "./nginx-maps.js";
import { readListenAddress, readTarget } from "./targets.js";
import { clamp, Limit, readTime } from "./times.js";

/** Directives that a server inherits from its stream block. */
const INHERITED = [
  "proxy_timeout",
  "proxy_connect_timeout",
  "proxy_protocol",
  "ssl_preread",
  "preread_timeout",
  "set_real_ip_from",
  "allow",
  "deny",
];

/** Those which say nothing that this program has to be told. */
const NEEDLESS = ["hostnames", "volatile", "zone", "proxy_socket_keepalive", "tcp_nodelay", "proxy_buffer_size"];

const OTHER_ROUTES = "all listeners of a front door have the same routes; this server needs one of its own";

const OF_PROCESSES =
  /^(?:user|pid|events|daemon|env|load_module|lock_file|master_process|pcre_jit|thread_pool|timer_resolution|worker_.*)$/;

type Settings = Pick<RelayBackend, "proxyProtocol" | "connectTimeout" | "idleTimeout">;

export function importNginx(text: string, file: string): Draft {
  // What `nginx -T` writes above each file: the included ones are all there.
  const isDump = /^# configuration file .*:$/m.test(text);
  return new NginxImport(file, isDump).run(readNginx(text, file));
}

class NginxImport {
  readonly #draft: Draft;
  readonly #upstreams: Map<string, Directive> = new Map();
  readonly #maps: NginxMaps;
  readonly #servers: { readonly server: Directive; readonly inherited: readonly Directive[] }[] = [];
  /** What a list of directives says of each name, the last of each. */
  readonly #last: WeakMap<readonly Directive[], Map<string, Directive>> = new WeakMap();
  /** proxy_pass, and what is set beside it, of the server that has the routes. */
  #routed: string | undefined;
  /** Where that server listens. */
  #routedListens: readonly string[] = [];
  #routedAccess: Rule["access"];
  /** Names of servers (server_name), and where they lead. */
  readonly #named: { readonly entry: MapEntry; readonly rules: readonly Rule[] }[] = [];
  readonly #seen: Set<string> = new Set();

  readonly #isDump: boolean;

  constructor(file: string, isDump: boolean) {
    this.#isDump = isDump;
    this.#draft = new Draft("nginx", file);
    this.#maps = new NginxMaps(this.#draft);
  }

  run(directives: readonly Directive[]): Draft {
    this.#collect(directives);
    // Clients with none of the names of server_name are the default server's, or the first one's.
    const servers = [...this.#servers].sort((a, b) => Number(isDefault(b.server)) - Number(isDefault(a.server)));
    for (const { server, inherited } of servers) this.#server(server, inherited);
    this.#named.sort((a, b) => compareEntries(a.entry, b.entry));
    for (const { entry, rules } of this.#named) this.#entry(entry, rules);
    this.#maps.remarkUnused();
    for (const [name, upstream] of this.#upstreams)
      if (!this.#seen.has(name)) this.#remark(upstream, "no server that was carried over uses it");
    return this.#draft;
  }

  /** A file that is included in stream {} has its directives at the top. */
  #collect(directives: readonly Directive[], outer?: readonly Directive[]): void {
    const inherited = [...(outer ?? []), ...directives.filter(isInherited)];
    // `nginx -T` puts the files that stream {} includes behind it: what that says is theirs, too.
    if (outer === undefined)
      for (const { words, block } of directives)
        if (words[0] === "stream") inherited.push(...(block ?? []).filter(isInherited));
    for (const directive of directives) {
      const [name = ""] = directive.words;
      if (name === "stream" && directive.block && outer === undefined) this.#collect(directive.block, inherited);
      else if (name === "map" && directive.block) this.#maps.add(directive);
      else if (name === "upstream" && directive.block) this.#upstreams.set(directive.words[1] ?? "", directive);
      else if (name === "server" && directive.block) this.#servers.push({ server: directive, inherited });
      else if (name === "include" && this.#isDump) continue;
      else if (!INHERITED.includes(name) && !NEEDLESS.includes(name)) this.#remark(directive, elsewhere(directive));
    }
  }

  #server(server: Directive, inherited: readonly Directive[]): void {
    const own = server.block!;
    const last = (name: string) => this.#lastOf(own).get(name) ?? this.#lastOf(inherited).get(name);
    // A list in the server takes the place of one outside.
    const listOf = (...names: string[]) => {
      const isOne = ({ words }: Directive) => names.includes(words[0] ?? "");
      return own.some(isOne) ? own.filter(isOne) : inherited.filter(isOne);
    };
    const pass = last("proxy_pass");
    if (pass === undefined) return this.#remark(server, "no server of stream: it has no proxy_pass");
    const listens = server.block!.filter(({ words }) => words[0] === "listen");
    const unfit = listens.find(({ words }) => words.includes("ssl") || words.includes("udp"));
    if (unfit !== undefined) {
      const why = unfit.words.includes("udp")
        ? "this program takes TCP only"
        : "nginx ends TLS here, the front door has no keys";
      return this.#remark(unfit, `${why}; the whole server was left out`);
    }
    const addresses = listens.map(({ words }) => words[1] ?? "");
    const names = namesOf(server);
    const isNamed =
      this.#routed !== undefined && names.length > 0 && addresses.every((each) => this.#routedListens.includes(each));
    // The default server's decides whether names are looked at.
    if (!isNamed && last("ssl_preread")?.words[1] !== "on")
      return this.#remark(server, "without ssl_preread it does not look at server names; left out");
    this.#others(server.block!);

    const settings = this.#settings(last);
    const value = pass.words[1] ?? "";
    if (isNamed) {
      for (const directive of own.filter(({ words }) => words[0] === "allow" || words[0] === "deny"))
        this.#remark(directive, "nginx asks the default server's list, before it knows the name; left out");
      return this.#addNamed(names, pass, settings);
    }
    if (this.#routed !== undefined && !this.#routed.startsWith(JSON.stringify(value)))
      return this.#remark(pass, OTHER_ROUTES);
    const access = this.#access(listOf("allow", "deny"));
    const key = [value, settings, access].map((part) => JSON.stringify(part)).join();
    if (this.#routed !== undefined && this.#routed !== key) return this.#remark(pass, OTHER_ROUTES);
    const senders = listOf("set_real_ip_from");
    for (const listen of listens) this.#listen(listen, senders);
    if (this.#routed !== undefined) return;
    this.#routed = key;
    this.#routedListens = addresses;
    this.#routedAccess = access;

    const preread = last("preread_timeout");
    const time = preread && this.#time(preread, Limit.hello);
    if (time !== undefined) this.#draft.helloTimeout = time;
    this.#routes(pass, value, settings, access);
    if (this.#maps.get(value)?.source !== "$ssl_preread_server_name") this.#addNamed(names, pass, settings);
    if (access === undefined) return;
    this.#draft.notTls = undefined;
    this.#remark(server, "clients without TLS are closed, because access lists are of routes");
  }

  #lastOf(directives: readonly Directive[]): ReadonlyMap<string, Directive> {
    const known = this.#last.get(directives);
    if (known !== undefined) return known;
    const last = new Map(directives.map((directive) => [directive.words[0] ?? "", directive]));
    this.#last.set(directives, last);
    return last;
  }

  #routes(pass: Directive, value: string, settings: Settings, access: Rule["access"]): void {
    const guarded = (rules: readonly Rule[]) =>
      access === undefined ? rules : rules.map((rule) => ({ ...rule, access }));
    const resolve = (text: string, at: Directive) => guarded(this.#resolve(text, at, settings));
    const map = this.#maps.get(value);
    const draft = this.#draft;
    if (map === undefined || map.source !== "$ssl_preread_server_name") {
      const rules = resolve(value, pass);
      draft.default = rules;
      draft.notTls = map?.source === "$ssl_preread_protocol" ? this.#notTls(map, settings) : rules.at(-1)!.backend;
      return;
    }
    const without = map.entries.find(({ kind }) => kind === "empty");
    const fallback = map.entries.find(({ kind }) => kind === "default");
    if (fallback !== undefined) draft.default = resolve(fallback.value, fallback.directive);
    if (without !== undefined) draft.noServerName = resolve(without.value, without.directive);
    // What is no TLS has no server name, either.
    draft.notTls = (draft.noServerName ?? draft.default)?.at(-1)?.backend;
    for (const entry of map.entries)
      if (entry.kind !== "empty" && entry.kind !== "default") this.#entry(entry, resolve(entry.value, entry.directive));
  }

  /** A server that the clients with its names are for. */
  #addNamed(names: readonly MapEntry[], pass: Directive, settings: Settings): void {
    if (names.length === 0) return;
    const access = this.#routedAccess;
    const resolved = this.#resolve(pass.words[1] ?? "", pass, settings);
    const rules = access === undefined ? resolved : resolved.map((rule) => ({ ...rule, access }));
    this.#named.push(...names.map((entry) => ({ entry, rules })));
  }

  #entry({ kind, text, directive }: MapEntry, rules: readonly Rule[]): void {
    if (kind === "name") this.#name(text, rules, directive);
    else this.#expression(text, rules, directive);
  }

  #name(text: string, rules: readonly Rule[], at: Directive): void {
    const result = normaliseName(text);
    if (!result.ok) this.#remark(at, result.message);
    else if (this.#draft.routes.has(result.name)) this.#remark(at, `${result.name} is there already`);
    else this.#draft.routes.set(result.name, rules);
  }

  #expression(source: string, rules: readonly Rule[], at: Directive): void {
    const matcher = readExpression(source, false);
    if (matcher.kind === "unusable") return this.#remark(at, matcher.why);
    // As names they would win over wildcards and over expressions before them: nginx tries expressions last.
    const match = matcher.kind === "pattern" ? matcher.match : source.slice(1, -1);
    for (const rule of rules) this.#draft.patterns.push({ match, rule });
  }

  #notTls(map: NginxMap, settings: Settings): string | undefined {
    const entry =
      map.entries.find(({ kind }) => kind === "empty") ?? map.entries.find(({ kind }) => kind === "default");
    return entry && this.#resolve(entry.value, entry.directive, settings).at(-1)!.backend;
  }

  /** Where a value of proxy_pass, or of a map, leads. */
  #resolve(value: string, at: Directive, settings: Settings, depth = 0): readonly Rule[] {
    const map = this.#maps.get(value);
    if (map !== undefined && map.source !== "$ssl_preread_server_name" && depth === 0) {
      return this.#maps.conditions(
        map,
        (entry) => this.#resolve(entry.value, entry.directive, settings, 1)[0]!.backend,
      );
    }
    return [{ backend: this.#target(value, at, settings) }];
  }

  #target(value: string, at: Directive, settings: Settings): string {
    if (value.includes("$")) return this.#refuse(at, "where it leads is only known when a client comes");
    if (value === "") return this.#draft.backend("close", { kind: "reject", how: "close" });
    const upstream = this.#upstreams.get(value);
    if (upstream !== undefined) return this.#upstream(value, upstream, settings);
    const target = readTarget(value.replace(/^(unix:.*?):$/, "$1"));
    if (!target.ok) return this.#refuse(at, `${value} is no target: ${target.why}`);
    return this.#draft.backend(value, { kind: "relay", targets: [target.text], ...settings });
  }

  #upstream(name: string, { block = [], ...upstream }: Directive, settings: Settings): string {
    const isFirst = !this.#seen.has(name);
    this.#seen.add(name);
    const targets: string[] = [];
    const backups: string[] = [];
    let balance: "least-connections" | undefined;
    for (const directive of block) {
      const [word, address = "", ...options] = directive.words;
      const remark = (why: string) => isFirst && this.#remark(directive, why);
      if (word === "least_conn") balance = "least-connections";
      else if (word !== "server") {
        if (!NEEDLESS.includes(word ?? "")) remark("the relay takes turns, or the target with the fewest connections");
      } else if (options.includes("down")) remark("it is down; left out");
      else {
        const target = readTarget(address);
        if (!target.ok) remark(target.why);
        else (options.includes("backup") ? backups : targets).push(target.text);
        const rest = options.filter((option) => option !== "backup" && option !== "weight=1");
        if (target.ok && rest.length > 0)
          remark(`${rest.join(" ")} is left out: the relay has no settings of single targets`);
      }
    }
    if (targets.length === 0 && backups.length === 0) {
      return isFirst
        ? this.#refuse({ ...upstream, block }, "it has no server that could be carried over")
        : this.#draft.refused();
    }
    const relay = { kind: "relay", ...settings, ...(balance && { balance }) } as const;
    if (targets.length === 0 || backups.length === 0)
      return this.#draft.backend(name, { ...relay, targets: [...targets, ...backups] });
    const fallback = this.#draft.backend(`${name}-backup`, { ...relay, targets: backups });
    return this.#draft.backend(name, { ...relay, targets, fallback });
  }

  #settings(last: (name: string) => Directive | undefined): Settings {
    const idle = last("proxy_timeout");
    const connect = last("proxy_connect_timeout");
    const idleTimeout = idle && this.#time(idle, Limit.idleTimeout);
    const connectTimeout = connect && this.#time(connect, Limit.connectTimeout);
    return {
      ...(last("proxy_protocol")?.words[1] === "on" && { proxyProtocol: "v1" as const }),
      ...(connectTimeout !== undefined && { connectTimeout }),
      ...(idleTimeout !== undefined && { idleTimeout }),
    };
  }

  /** ngx_stream_access_module: the first that matches. Lists whose order matters are not taken. */
  #access(list: readonly Directive[]): Rule["access"] {
    const allow: string[] = [];
    const deny: string[] = [];
    for (const directive of list) {
      const [word, text = ""] = directive.words as [string, string?];
      if (text === "all") {
        if (word === "allow") return deny.length === 0 ? undefined : { deny, reject: "close" };
        if (allow.length === 0) return { deny: ["0.0.0.0/0", "::/0"], reject: "close" };
        return { allow, ...(deny.length > 0 && { deny }), reject: "close" };
      }
      const block = addressBlock(text);
      if (block === undefined) this.#remark(directive, "no block of addresses");
      else if (word === "allow") allow.push(block);
      else if (!allow.some((each) => overlap(each, block))) deny.push(block);
      else this.#remark(directive, "left out: of clients that an allow before it has too, here denials count first");
    }
    return deny.length === 0 ? undefined : { deny, reject: "close" };
  }

  #listen(directive: Directive, senders: readonly Directive[]): void {
    const [, text = "", ...options] = directive.words;
    // nginx takes a port by itself, and "*", for IPv4 only.
    const address = readListenAddress(text.replace(/^\*:/, ""), "0.0.0.0");
    if (!address.ok) return this.#remark(directive, address.why);
    const listener: { -readonly [key in keyof Listener]: Listener[key] } = { address: address.text };
    if (address.text.startsWith("[") && !options.includes("ipv6only=off")) listener.v6Only = true;
    for (const option of options) {
      const backlog = /^backlog=(\d{1,7})$/.exec(option)?.[1];
      if (backlog !== undefined) listener.backlog = clamp(Number(backlog), { min: 1, max: 1_048_576 });
      else if (option === "proxy_protocol") listener.acceptProxyProtocol = this.#senders(directive, senders);
      else if (!/^(?:reuseport|bind|default_server|ipv6only=|so_keepalive=off)/.test(option))
        this.#remark(directive, `${option} is left out`);
    }
    this.#draft.listen(listener, directive.line, directive.words.join(" "));
  }

  #senders(listen: Directive, list: readonly Directive[]): readonly string[] {
    const blocks = list.flatMap(({ words }) => addressBlock(words[1] ?? "") ?? []);
    if (blocks.length > 0) return [...new Set(blocks)];
    this.#remark(listen, "nginx takes PROXY headers from everybody here; narrow acceptProxyProtocol to the balancers");
    return ["0.0.0.0/0", "::/0"];
  }

  /** What else a server says. */
  #others(block: readonly Directive[]): void {
    const known = [...INHERITED, ...NEEDLESS, "listen", "proxy_pass", "server_name"];
    for (const directive of block)
      if (!known.includes(directive.words[0] ?? "")) this.#remark(directive, elsewhere(directive));
  }

  #time(directive: Directive, limit: { readonly min: number; readonly max: number }): number | undefined {
    const time = readTime(directive.words.slice(1).join(" "), "s");
    if (time === undefined) {
      this.#remark(directive, "no time that can be read");
      return undefined;
    }
    const clamped = clamp(time, limit);
    if (clamped !== time) this.#remark(directive, `${clamped} ms is the nearest that is allowed`);
    return clamped;
  }

  #refuse(at: Directive, why: string): string {
    this.#remark(at, `${why}; refused instead`);
    return this.#draft.refused();
  }

  #remark({ line, words, block }: Directive, why: string): void {
    this.#draft.remark(line, `${words.join(" ")}${block === undefined ? "" : " {…}"}`, why);
  }
}

const isInherited = ({ words }: Directive) => INHERITED.includes(words[0] ?? "");

const isDefault = ({ block = [] }: Directive) =>
  block.some(({ words }) => words[0] === "listen" && words.includes("default_server"));

/** Of a server's server_name. Who sends no name is the default server's, even if another one has ""; nobody sends "_". */
function namesOf({ block = [] }: Directive): MapEntry[] {
  return block.flatMap((directive) => {
    const [word, ...names] = directive.words;
    if (word !== "server_name") return [];
    return names.filter((name) => name !== "" && name !== "_").flatMap((name) => nameEntries(name, "", directive));
  });
}

function elsewhere({ words: [name] }: Directive): string {
  if (name === "include")
    return 'that file is not read: import it by itself, or all at once ("nginx -T | sni-handoff import -")';
  if (name === "http" || name === "mail") return "only the stream part is carried over";
  if (name === "resolver" || name === "resolver_timeout") return "the relay asks the servers of /etc/resolv.conf";
  if (name === "access_log" || name === "log_format" || name === "error_log")
    return "the log has its own form here: see accessLog";
  if (OF_PROCESSES.test(name ?? "")) return "a setting of nginx's own processes";
  return "this program has nothing of the kind";
}
