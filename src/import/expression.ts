/**
 * Regular expressions for names, of the kinds that other programs have (PCRE, POSIX, Rust's), as this program takes
 * them: RE2 syntax, the whole name. Those that stand for a few names, or for a wildcard, become that: it is what their
 * authors mean, and it is looked up at once. Pure.
 */
import { MAX_PATTERN_LENGTH, patternFault } from "../routing/patterns.js";

export type Matcher =
  /** Names, and wildcards. */
  | { readonly kind: "names"; readonly names: readonly string[] }
  | { readonly kind: "pattern"; readonly match: string }
  | { readonly kind: "unusable"; readonly why: string };

/** Most names that an expression is written out as. */
const MAX_NAMES = 16;

/** `whole`: the other program compares with the whole name; else it searches for the expression anywhere in it. */
export function readExpression(source: string, whole: boolean): Matcher {
  // Longer ones are refused below; those that grow by being made whole, too.
  if (source.length > MAX_PATTERN_LENGTH) return tooLong(source);
  const bare = isAnchored(source) ? source.slice(1, -1) : whole ? source : undefined;
  const names = bare === undefined ? undefined : readNames(bare);
  if (names !== undefined) return { kind: "names", names };
  const match = whole ? source : widen(source);
  if (match === "") return { kind: "unusable", why: "it matches no name" };
  if (match.length > MAX_PATTERN_LENGTH) return tooLong(match);
  const fault = patternFault(match);
  if (fault !== undefined)
    return { kind: "unusable", why: `not an expression that is matched in linear time: ${fault}` };
  return { kind: "pattern", match };
}

/** The text itself as an expression. */
export function escapeExpression(text: string): string {
  return text.replace(/[\\^$.|?*+()[\]{}]/g, "\\$&");
}

function tooLong(source: string): Matcher {
  return {
    kind: "unusable",
    why: `an expression of ${source.length} characters; at most ${MAX_PATTERN_LENGTH} are allowed`,
  };
}

/** The whole-name form of an expression that is searched for. Anchors inside stay: they mean the same there. */
function widen(source: string): string {
  if (hasTopLevelAlternative(source)) return `.*(?:${source}).*`;
  const start = source.startsWith("^") ? source.slice(1) : /^\.\*(?![?+])/.test(source) ? source : `.*${source}`;
  if (isEndAnchored(source)) return start.slice(0, -1);
  return /(?<!\\)\.\*$/.test(start) ? start : `${start}.*`;
}

const isAnchored = (source: string) =>
  source.startsWith("^") && source.length > 1 && isEndAnchored(source) && !hasTopLevelAlternative(source);

/** Ends in a "$" that an even number of backslashes is before. */
function isEndAnchored(source: string): boolean {
  if (!source.endsWith("$")) return false;
  let slashes = 0;
  while (source[source.length - 2 - slashes] === "\\") slashes++;
  return slashes % 2 === 0;
}

function hasTopLevelAlternative(source: string): boolean {
  let depth = 0;
  let inClass = false;
  for (let i = 0; i < source.length; i++) {
    const character = source[i];
    if (character === "\\") i++;
    else if (inClass) inClass = character !== "]";
    else if (character === "[") inClass = true;
    else if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (character === "|" && depth === 0) return true;
  }
  return false;
}

/** The names, if the expression is made of plain characters, dots that stand for dots, and groups of alternatives. */
function readNames(source: string): readonly string[] | undefined {
  const wildcard = /^(?:\.[*+]|\(\.[*+]\)|\(\?:\.[*+]\))(?:\\\.|\[\.\])/.exec(source);
  const reader = new NameReader(wildcard === null ? source : source.slice(wildcard[0].length));
  const names = reader.alternatives(wildcard === null);
  if (names === undefined || reader.rest !== "" || names.length > MAX_NAMES) return undefined;
  const found = wildcard === null ? names : names.map((name) => `*.${name}`);
  return found.every((name) => /^(?:\*\.)?[a-z0-9_-]+(?:\.[a-z0-9_-]+)*$/i.test(name))
    ? [...new Set(found)]
    : undefined;
}

class NameReader {
  #source: string;
  #at = 0;
  #depth = 0;

  constructor(source: string) {
    this.#source = source;
  }

  get rest(): string {
    return this.#source.slice(this.#at);
  }

  /** "a|b"; undefined if something is in it that is more than names. */
  alternatives(several: boolean): string[] | undefined {
    const all: string[] = [];
    for (;;) {
      const some = this.#sequence();
      if (some === undefined) return undefined;
      all.push(...some);
      if (all.length > MAX_NAMES) return undefined;
      if (!several || this.#source[this.#at] !== "|") return all;
      this.#at++;
    }
  }

  #sequence(): string[] | undefined {
    let heads = [""];
    for (;;) {
      const tails = this.#piece();
      if (tails === undefined) return undefined;
      if (tails === "end") return heads;
      heads = heads.flatMap((head) => tails.map((tail) => head + tail));
      if (heads.length > MAX_NAMES) return undefined;
    }
  }

  #piece(): string[] | "end" | undefined {
    const rest = this.#source.slice(this.#at, this.#at + 3);
    const character = rest[0];
    if (character === undefined || character === "|" || character === ")") return "end";
    let found: string[] | undefined;
    if (/^[a-z0-9_-]/i.test(rest)) found = this.#take(1, character);
    else if (rest.startsWith("\\.")) found = this.#take(2, ".");
    else if (rest.startsWith("\\-")) found = this.#take(2, "-");
    else if (rest === "[.]") found = this.#take(3, ".");
    else if (character === "(") found = this.#group();
    if (found === undefined) return undefined;
    const next = this.#source[this.#at];
    if (next === "?") {
      this.#at++;
      return this.#source[this.#at] === "?" || this.#source[this.#at] === "+" ? undefined : [...found, ""];
    }
    return next === "*" || next === "+" || next === "{" ? undefined : found;
  }

  #take(length: number, text: string): string[] {
    this.#at += length;
    return [text];
  }

  #group(): string[] | undefined {
    this.#at += this.#source.startsWith("(?:", this.#at) ? 3 : 1;
    if (++this.#depth > MAX_NAMES) return undefined;
    const found = this.alternatives(true);
    if (found === undefined || this.#source[this.#at] !== ")") return undefined;
    this.#at++;
    this.#depth--;
    return found;
  }
}
