/**
 * Rules of programs that try them one after the other, the first that matches wins, as this program's routes: exact
 * names, then wildcards, then patterns in their order. What would win here though it comes later there is made a
 * pattern, or left out if it was never reached. Pure.
 */
import { normaliseName, quote } from "../routing/name.js";
import { MAX_PATTERNS, Patterns } from "../routing/patterns.js";
import type { Draft, Rule } from "./draft.js";
import { escapeExpression, type Matcher } from "./expression.js";

/** Where a rule stands in the imported text. */
export interface Origin {
  readonly line: number;
  readonly what: string;
  /** If it is not the draft's. */
  readonly file?: string;
}

interface Entry extends Origin {
  readonly kind: "exact" | "wildcard" | "pattern" | "any";
  /** The name; of a wildcard what follows the star, with its dot; of a pattern the expression. */
  readonly text: string;
  readonly rules: readonly Rule[];
  /** If no condition holds, the next rule is tried. */
  readonly falls: boolean;
}

/** Most rules that a name, or every name, may have before the one without conditions. */
export const MAX_CONDITIONS = 16;

const TOO_MANY = `there are ${MAX_CONDITIONS} rules with conditions for it already`;

/** More is not a configuration that somebody wrote. */
const MAX_ENTRIES = 100_000;

export class OrderedRoutes {
  readonly #draft: Draft;
  readonly #entries: Entry[] = [];
  #patterns = 0;
  #isFull = false;

  constructor(draft: Draft) {
    this.#draft = draft;
  }

  /** `matcher`: "any" is every name. The last of `rules` has no conditions unless the next entry shall be tried. */
  add(matcher: Matcher | "any", rules: readonly Rule[], origin: Origin): void {
    const falls = rules.every(isConditional);
    if (this.#entries.length >= MAX_ENTRIES) {
      if (!this.#isFull)
        this.#remark(origin, `there are ${MAX_ENTRIES} routes already; this and all that follow are left out`);
      this.#isFull = true;
      return;
    }
    if (matcher === "any" || (matcher.kind === "pattern" && matcher.match === ".*"))
      this.#entries.push({ kind: "any", text: ".*", rules, falls, ...origin });
    else if (matcher.kind === "unusable") this.#remark(origin, matcher.why);
    else if (matcher.kind === "pattern") this.#addPattern(matcher.match, rules, falls, origin);
    else for (const name of matcher.names) this.#addName(name, rules, falls, origin);
  }

  #addPattern(text: string, rules: readonly Rule[], falls: boolean, origin: Origin): void {
    if (++this.#patterns > MAX_PATTERNS) this.#remark(origin, `there are ${MAX_PATTERNS} patterns already`);
    else this.#entries.push({ kind: "pattern", text, rules, falls, ...origin });
  }

  #addName(text: string, rules: readonly Rule[], falls: boolean, origin: Origin): void {
    const result = normaliseName(text);
    if (!result.ok) return this.#remark(origin, result.message);
    const wildcard = result.name.startsWith("*");
    const kind = wildcard ? "wildcard" : "exact";
    this.#entries.push({ kind, text: wildcard ? result.name.slice(1) : result.name, rules, falls, ...origin });
  }

  /** Puts all into the draft. */
  finish(): void {
    const patterns = this.#entries.filter(({ kind }) => kind === "pattern");
    const set = new Patterns(patterns.map(({ text }) => text));
    /** Entries before the present one. */
    const suffixes = new Map<string, Entry[]>();
    const names = new Map<string, Entry[]>();
    const anys: Entry[] = [];
    /** Rules for every name, with conditions: each later route begins with them. */
    const prefix: Rule[] = [];
    let passed = 0;
    let ordered = false;

    for (const entry of this.#entries) {
      const earlier = [
        ...anys,
        ...(entry.kind === "exact" || entry.kind === "wildcard" ? parents(entry, suffixes) : []),
      ];
      if (entry.kind === "exact") {
        const bytes = Buffer.from(entry.text);
        for (const index of set.matches(bytes, bytes.length)) if (index < passed) earlier.push(patterns[index]!);
        earlier.push(...(names.get(entry.text) ?? []));
      }
      const first = earlier.find(({ falls }) => !falls);
      if (first !== undefined) {
        this.#remark(entry, `never reached: ${quote(first.what)} (line ${first.line}) matches first`);
        continue;
      }
      if (entry.kind === "any") {
        if (entry.falls && prefix.length >= MAX_CONDITIONS) this.#remark(entry, TOO_MANY);
        else if (entry.falls) prefix.push(...entry.rules);
        else {
          anys.push(entry);
          this.#draft.default = [...prefix, ...entry.rules];
        }
        continue;
      }
      const own = entry.kind === "exact" ? names : entry.kind === "wildcard" ? suffixes : undefined;
      const same = own?.get(entry.text);
      if (same !== undefined && same.length >= MAX_CONDITIONS) {
        this.#remark(entry, TOO_MANY);
        continue;
      }
      if (same !== undefined) same.push(entry);
      else own?.set(entry.text, [entry]);
      if (entry.kind === "exact") {
        const onlyNames = earlier.every(({ kind }) => kind === "exact");
        if (onlyNames) this.#route(entry.text, prefix, entry);
        else this.#pattern(escapeExpression(entry.text), prefix, entry);
      } else if (entry.kind === "wildcard" && !ordered && !entry.falls) {
        this.#route(`*${entry.text}`, prefix, entry);
      } else {
        ordered = true;
        if (entry.kind === "pattern") passed++;
        this.#pattern(entry.kind === "wildcard" ? `.*${escapeExpression(entry.text)}` : entry.text, prefix, entry);
      }
    }
    if (anys.length === 0 && prefix.length > 0) this.#draft.default = [...prefix, ...(this.#draft.default ?? [])];
  }

  #route(name: string, prefix: readonly Rule[], { rules }: Entry): void {
    this.#draft.routes.set(name, [...(this.#draft.routes.get(name) ?? []), ...prefix, ...rules]);
  }

  #pattern(match: string, prefix: readonly Rule[], entry: Entry): void {
    const rules = [...prefix, ...entry.rules];
    if (this.#draft.patterns.length + rules.length > MAX_PATTERNS)
      return this.#remark(entry, `there are ${MAX_PATTERNS} patterns already`);
    for (const rule of rules) this.#draft.patterns.push({ match, rule });
  }

  #remark({ line, what, file }: Origin, why: string): void {
    this.#draft.remark(line, what, why, file);
  }
}

export function isConditional({ alpn, clients, tls }: Rule): boolean {
  return alpn !== undefined || clients !== undefined || tls !== undefined;
}

/** Wildcards that match all that the entry matches. */
function parents({ kind, text }: Entry, suffixes: ReadonlyMap<string, readonly Entry[]>): Entry[] {
  const found: Entry[] = [];
  if (suffixes.size === 0) return found;
  for (let dot = text.indexOf(".", kind === "wildcard" ? 0 : 1); dot !== -1; dot = text.indexOf(".", dot + 1)) {
    found.push(...(suffixes.get(text.slice(dot)) ?? []));
  }
  return found;
}
