/** HAProxy's backends: their servers as a relay's targets. Pure. */
import type { Draft, RelayBackend } from "./draft.js";
import { type Line, lastOf, type Section } from "./haproxy-lexer.js";
import { readTarget, withBrackets } from "./targets.js";
import { clamp, Limit, readTime } from "./times.js";

type Scopes = readonly [readonly Line[], readonly Line[]];

interface Source {
  readonly section: Section;
  readonly defaults: readonly Line[];
}

/** Options with a value behind them. */
const WITH_VALUE =
  /^(?:weight|maxconn|minconn|maxqueue|inter|fastinter|downinter|rise|fall|port|addr|id|cookie|slowstart|resolvers|resolve-prefer|init-addr|sni|ca-file|crt|verify|verifyhost|alpn|check-alpn|check-sni|on-error|on-marked-down|observe|error-limit|track|source|proto|check-proto|pool-.*)$/;

export class HaproxyServers {
  /** The frontend's `timeout client`. */
  client: Line | undefined;
  readonly #draft: Draft;
  readonly #sources: Map<string, Source> = new Map();
  readonly #made: Map<string, string> = new Map();

  constructor(draft: Draft) {
    this.#draft = draft;
  }

  add(name: string, section: Section, defaults: readonly Line[]): void {
    if (this.#sources.has(name)) this.#remark(section, "there is one of this name already");
    else this.#sources.set(name, { section, defaults });
  }

  /** The draft's backend for one of HAProxy's. */
  backend(name: string, at: Line, file?: string): string {
    const made = this.#made.get(name);
    if (made !== undefined) return made;
    const source = this.#sources.get(name);
    if (source === undefined) {
      this.#draft.remark(
        at.line,
        at.words.join(" "),
        `there is no backend ${JSON.stringify(name)}; refused instead`,
        file,
      );
      return this.#draft.refused();
    }
    const backend = this.#make(name, source);
    this.#made.set(name, backend);
    return backend;
  }

  remarkUnused(): void {
    for (const [name, { section }] of this.#sources)
      if (!this.#made.has(name) && section.words[0] === "backend")
        this.#remark(section, "no frontend that was carried over uses it");
  }

  #make(name: string, { section, defaults }: Source): string {
    const targets: string[] = [];
    const backups: string[] = [];
    let proxyProtocol: "v1" | "v2" | undefined;
    const scopes = [section.lines, defaults] as const;
    const defaultServer = lastOf("default-server", ...scopes)?.words.slice(1) ?? [];
    for (const line of section.lines) {
      const [word, , address = "", ...own] = line.words;
      if (word !== "server") {
        this.#other(line, section);
        continue;
      }
      const server = this.#server(line, address, [...defaultServer, ...own]);
      if (server === undefined) continue;
      (server.isBackup ? backups : targets).push(server.target);
      if (targets.length + backups.length === 1) proxyProtocol = server.proxyProtocol;
      else if (proxyProtocol !== server.proxyProtocol)
        this.#remark(line, "all targets of a backend have the same proxyProtocol: the first one's");
    }
    const servers = section.lines.some(({ words }) => words[0] === "server" || words[0] === "server-template");
    if (!servers) return this.#draft.backend(name, { kind: "reject", how: "close" }, true);
    if (targets.length + backups.length === 0) {
      this.#remark(section, "it has no server that could be carried over; refused instead");
      return this.#draft.refused();
    }
    const relay: Omit<RelayBackend, "targets"> = {
      kind: "relay",
      ...(proxyProtocol && { proxyProtocol }),
      ...this.#balance(scopes),
      ...this.#times(scopes),
    };
    if (targets.length === 0 || backups.length === 0)
      return this.#draft.backend(name, { ...relay, targets: [...targets, ...backups] }, true);
    const fallback = this.#draft.backend(`${name}-backup`, { ...relay, targets: backups }, true);
    return this.#draft.backend(name, { ...relay, targets, fallback }, true);
  }

  #server(
    line: Line,
    address: string,
    options: readonly string[],
  ): { target: string; isBackup: boolean; proxyProtocol: "v1" | "v2" | undefined } | undefined {
    const left: string[] = [];
    let isBackup = false;
    let proxyProtocol: "v1" | "v2" | undefined;
    for (let i = 0; i < options.length; i++) {
      const option = options[i]!;
      if (option === "ssl" || option === "disabled") {
        this.#remark(
          line,
          option === "ssl" ? "the relay moves the client's bytes as they are; left out" : "it is disabled; left out",
        );
        return undefined;
      }
      if (option === "backup") isBackup = true;
      else if (option === "send-proxy") proxyProtocol = "v1";
      else if (option.startsWith("send-proxy-v2")) proxyProtocol = "v2";
      else if (option === "weight" && options[i + 1] === "1") i++;
      else left.push(WITH_VALUE.test(option) ? `${option} ${options[++i] ?? ""}` : option);
    }
    const bare = withBrackets(address.replace(/^(?:ipv4|ipv6)@/, ""));
    const target = readTarget(bare.replace(/^unix@|^(?=\/)/, "unix:"));
    if (!target.ok) {
      this.#remark(line, `${target.why}; left out`);
      return undefined;
    }
    const checks = left.some((option) => /^(?:check|inter|rise|fall)/.test(option));
    if (left.length > 0)
      this.#remark(
        line,
        `${left.join(" ")} is left out${checks ? ": the relay notices by itself when a target fails" : ""}`,
      );
    return { target: target.text, isBackup, proxyProtocol };
  }

  #balance(scopes: Scopes): Pick<RelayBackend, "balance"> {
    const line = lastOf("balance", ...scopes);
    if (line === undefined || /^(?:roundrobin|static-rr)$/.test(line.words[1] ?? "")) return {};
    if (line.words[1] === "leastconn") return { balance: "least-connections" };
    this.#remark(line, "the relay takes turns, or the target with the fewest connections");
    return {};
  }

  #times(scopes: Scopes): Pick<RelayBackend, "connectTimeout" | "idleTimeout"> {
    const of = (what: string) => lastOf(`timeout ${what}`, ...scopes);
    const time = (line: Line | undefined, limit: { readonly min: number; readonly max: number }) => {
      const found = line && readTime(line.words[2] ?? "", "ms");
      if (line !== undefined && found === undefined) this.#remark(line, "no time that can be read");
      return found === undefined ? undefined : clamp(found, limit);
    };
    const connectTimeout = time(of("connect"), Limit.connectTimeout);
    const both = [time(of("server"), Limit.idleTimeout), time(this.client, Limit.idleTimeout)].filter(
      (each) => each !== undefined,
    );
    // `timeout tunnel` takes the place of both as soon as bytes flow.
    const idleTimeout = time(of("tunnel"), Limit.idleTimeout) ?? (both.length > 0 ? Math.min(...both) : undefined);
    return {
      ...(connectTimeout !== undefined && { connectTimeout }),
      ...(idleTimeout !== undefined && { idleTimeout }),
    };
  }

  #other(line: Line, section: Section): void {
    const [word, what] = line.words;
    if (section.words[0] === "listen") return; // The frontend has said what is left out of it.
    if (
      word === "balance" ||
      word === "timeout" ||
      word === "default-server" ||
      word === "mode" ||
      word === "server-template"
    ) {
      if (word === "server-template") this.#remark(line, "write its servers one by one; left out");
      return;
    }
    if (word === "tcp-request" && what === "content")
      return this.#remark(line, "conditions of backends are not carried over");
    if (
      word === "option" &&
      /^(?:tcplog|dontlognull|log-health-checks|splice-.*|tcpka|srvtcpka|clitcpka|redispatch)$/.test(what ?? "")
    )
      return;
    this.#remark(line, "this program has nothing of the kind");
  }

  #remark({ line, words }: Line, why: string): void {
    this.#draft.remark(line, words.join(" "), why);
  }
}
