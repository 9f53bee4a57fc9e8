/** nginx's map blocks on what ssl_preread tells. Pure. */
import { type Draft, isProtocol, type Rule } from "./draft.js";
import type { Directive } from "./nginx-lexer.js";
import { MAX_CONDITIONS } from "./ordered-routes.js";

const SOURCES = ["$ssl_preread_server_name", "$ssl_preread_alpn_protocols", "$ssl_preread_protocol"] as const;

export interface MapEntry {
  readonly kind: "default" | "empty" | "name" | "mask" | "expression";
  /** The name, or the expression. */
  readonly text: string;
  readonly value: string;
  readonly directive: Directive;
}

export interface NginxMap {
  readonly source: (typeof SOURCES)[number];
  readonly directive: Directive;
  /** In the order in which nginx tries them (ngx_stream_map_module). */
  readonly entries: readonly MapEntry[];
}

/** In which kinds are tried; masks ("mail.*") the longest first. */
const ORDER: readonly MapEntry["kind"][] = ["empty", "name", "mask", "expression", "default"];

export function compareEntries(a: MapEntry, b: MapEntry): number {
  return ORDER.indexOf(a.kind) - ORDER.indexOf(b.kind) || (a.kind === "mask" ? b.text.length - a.text.length : 0);
}

/** A name as a map with `hostnames` has it, and server_name: "", name, "*.x", ".x", "x.*" or "~expression". */
export function nameEntries(text: string, value: string, directive: Directive): MapEntry[] {
  if (text === "") return [{ kind: "empty", text, value, directive }];
  if (text.startsWith("~"))
    return [{ kind: "expression", text: text.slice(text[1] === "*" ? 2 : 1), value, directive }];
  const name = text.replace(/^\\/, "");
  if (name.endsWith(".*")) {
    const match = `^${name.slice(0, -2).replace(/[\\^$.|?*+()[\]{}]/g, "\\$&")}\\..*$`;
    return [{ kind: "mask", text: match, value, directive }];
  }
  if (!name.startsWith(".")) return [{ kind: "name", text: name, value, directive }];
  return [name.slice(1), `*${name}`].map((each) => ({ kind: "name", text: each, value, directive }));
}

export class NginxMaps {
  readonly #draft: Draft;
  readonly #maps: Map<string, NginxMap> = new Map();
  readonly #rules: Map<NginxMap, Rule[]> = new Map();
  readonly #used: Set<NginxMap> = new Set();

  constructor(draft: Draft) {
    this.#draft = draft;
  }

  /** The map that sets a variable, if the text is that variable and nothing else. */
  get(text: string): NginxMap | undefined {
    const map = this.#maps.get(text.replace(/^\$\{(\w+)\}$/, "$$$1"));
    if (map !== undefined) this.#used.add(map);
    return map;
  }

  /** Those that nothing asked for. */
  remarkUnused(): void {
    for (const map of this.#maps.values())
      if (!this.#used.has(map)) this.#remark(map.directive, "no server that was carried over uses it");
  }

  add(directive: Directive): void {
    const [, source = "", variable = ""] = directive.words;
    const known = SOURCES.find((each) => each === source.replace(/^\$\{(\w+)\}$/, "$$$1"));
    if (known === undefined)
      return this.#remark(
        directive,
        "only maps on $ssl_preread_server_name, _alpn_protocols or _protocol are carried over",
      );
    const hostnames = directive.block!.some(({ words }) => words.length === 1 && words[0] === "hostnames");
    const entries = directive.block!.flatMap((entry) => this.#entry(entry, hostnames && known === SOURCES[0]));
    this.#maps.set(variable, { source: known, directive, entries: entries.sort(compareEntries) });
  }

  #entry(directive: Directive, hostnames: boolean): MapEntry[] {
    const [text = "", value = ""] = directive.words;
    if (directive.words.length === 1 && (text === "hostnames" || text === "volatile")) return [];
    const remark = (why: string): MapEntry[] => {
      this.#remark(directive, why);
      return [];
    };
    if (text === "include") return remark("that file is not read: put its lines here");
    if (directive.words.length !== 2 || directive.block !== undefined) return remark("no line of a map");
    if (text === "default") return [{ kind: "default", text, value, directive }];
    const isLiteral = !hostnames && text !== "" && !text.startsWith("~");
    if (!isLiteral) return nameEntries(text, value, directive);
    const name = text.replace(/^\\/, "");
    if (name.includes("*") || name.startsWith("."))
      return remark("without `hostnames` nginx takes it literally, so it never matches");
    return [{ kind: "name", text: name, value, directive }];
  }

  /** The map as rules with conditions; the last one has none. Those of the first time it is asked. */
  conditions(map: NginxMap, backendOf: (entry: MapEntry) => string): Rule[] {
    const known = this.#rules.get(map);
    if (known !== undefined) return known;
    const rules = this.#conditions(map, backendOf);
    this.#rules.set(map, rules);
    return rules;
  }

  #conditions(map: NginxMap, backendOf: (entry: MapEntry) => string): Rule[] {
    let count = 0;
    const rules = map.entries.flatMap((entry): Rule[] => {
      if (entry.kind === "default") return [{ backend: backendOf(entry) }];
      if (++count > MAX_CONDITIONS) {
        this.#remark(entry.directive, `there are ${MAX_CONDITIONS} conditions already; left out`);
        return [];
      }
      if (entry.kind === "empty") return [];
      const condition = map.source === "$ssl_preread_protocol" ? this.#version(entry) : this.#protocol(entry);
      return condition === undefined ? [] : [{ backend: backendOf(entry), ...condition }];
    });
    const last = rules.at(-1);
    if (last !== undefined && last.alpn === undefined && last.tls === undefined) return rules;
    return [...rules, { backend: this.#draft.backend("close", { kind: "reject", how: "close" }) }];
  }

  #version({ text, directive }: MapEntry): Pick<Rule, "tls"> | undefined {
    const version = /^TLSv(1\.[0-3])$/.exec(text)?.[1] ?? (text === "TLSv1" ? "1.0" : undefined);
    if (version !== undefined) return { tls: [version] };
    this.#remark(directive, "TLSv1, TLSv1.1, TLSv1.2 and TLSv1.3 are carried over");
    return undefined;
  }

  /** The variable is the client's list, with commas. */
  #protocol({ kind, text, directive }: MapEntry): Pick<Rule, "alpn"> | undefined {
    if (kind === "name") {
      if (!text.includes(",") && isProtocol(text)) {
        this.#remark(directive, "nginx means clients that offer nothing else, here it is those that offer it");
        return { alpn: [text] };
      }
      this.#remark(
        directive,
        text.includes(",") ? "a whole list cannot be compared; left out" : "this is no protocol's name; left out",
      );
      return undefined;
    }
    const protocol = /^(?:\\b|\^|\(\^\|,\))?((?:[\w/-]|\\[.+/-]|\.)+)(?:\\b|\$|\(\$\|,\))?$/.exec(text)?.[1];
    const name = protocol?.replaceAll("\\", "") ?? "";
    if (isProtocol(name)) return { alpn: [name] };
    this.#remark(directive, "only one protocol's name, as ~\\bh2\\b, is carried over; left out");
    return undefined;
  }

  #remark({ line, words, block }: Directive, why: string): void {
    this.#draft.remark(line, `${words.join(" ")}${block === undefined ? "" : " {…}"}`, why);
  }
}
