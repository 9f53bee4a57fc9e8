/**
 * Patterns for server names: regular expressions of RE2's syntax, in time that is linear in the name (re2js). All of a
 * configuration are one automaton, which reads a name once however many they are.
 */
import { createRequire } from "node:module";
import type * as Re2js from "re2js";
import { MAX_NAME_LENGTH, quote } from "./name.js";

/** Most patterns of one configuration. */
export const MAX_PATTERNS = 1000;
/** Longest pattern, in characters. */
export const MAX_PATTERN_LENGTH = 1000;

let engine: typeof Re2js | undefined;

/** Loaded with the first pattern: it is as large as all else that a worker needs. */
function load(): typeof Re2js {
  engine ??= createRequire(import.meta.url)("re2js") as typeof Re2js;
  return engine;
}

/** What is wrong with a pattern, undefined if it can be used. */
export function patternFault(source: string): string | undefined {
  const { RE2JS, RE2JSException } = load();
  try {
    // Without flags first: re2js writes them in front of the pattern, and into what it says about it.
    RE2JS.compile(source);
    RE2JS.compile(source, RE2JS.CASE_INSENSITIVE);
    return undefined;
  } catch (error) {
    if (!(error instanceof RE2JSException)) throw error;
    const { error: what = error.message, input } = error as Partial<Re2js.RE2JSSyntaxException>;
    return input ? `${what}: ${quote(input)}` : what;
  }
}

export class Patterns {
  readonly #set: Re2js.RE2Set | undefined;

  /** Throws re2js's error for a pattern in which `patternFault` finds one. */
  constructor(sources: readonly string[]) {
    if (sources.length === 0) return;
    const { RE2JS, RE2Set } = load();
    // Names have no case; as clients' ones are read they are in lower case, but patterns may be written otherwise.
    this.#set = new RE2Set(RE2Set.ANCHOR_BOTH, RE2JS.CASE_INSENSITIVE);
    for (const source of sources) this.#set.add(source);
    this.#set.compile();
  }

  /** Indices of the patterns that match the whole of name[0..length), ascending. */
  matches(name: Uint8Array, length: number): readonly number[] {
    if (this.#set === undefined) return NONE;
    return this.#set.match(name.subarray(0, length)).sort(ascending);
  }
}

const NONE: readonly number[] = [];

function ascending(a: number, b: number): number {
  return a - b;
}

/** Names that are tried, and for how long at most, if the process runs meanwhile: milliseconds. */
const TRIALS = 8;
const LONGEST_TRIAL = 100;

/**
 * What a name that was made to be slow takes: milliseconds, about. Time is linear in the name, but also in all parts of
 * patterns that may still match, and strangers choose names: long ones that are new each time, of the patterns' letters.
 */
export function timeOfSlowNames(sources: readonly string[]): number {
  const patterns = new Patterns(sources);
  const letters =
    [
      ...new Set(
        sources
          .join("")
          .toLowerCase()
          .replace(/[^a-z0-9.-]/g, ""),
      ),
    ].join("") || "a";
  let seed = 1;
  const next = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) & 0x7fffffff;
    return letters.charCodeAt((seed >>> 12) % letters.length);
  };
  let least = Number.POSITIVE_INFINITY;
  const [begun, usage] = [performance.now(), process.cpuUsage()];
  const isOver = () => {
    const { user, system } = process.cpuUsage(usage);
    return Math.min(performance.now() - begun, (user + system) / 1000) >= LONGEST_TRIAL;
  };
  for (let trial = 0; trial < TRIALS && !isOver(); trial++) {
    const name = Uint8Array.from({ length: MAX_NAME_LENGTH }, next);
    const before = performance.now();
    patterns.matches(name, name.length);
    // The least: the others may have waited for the processor, or for the compiler.
    least = Math.min(least, performance.now() - before);
  }
  return least;
}
