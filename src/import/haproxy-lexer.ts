/** haproxy.cfg -> sections of lines of words, with quotes and backslashes as its parse_line() has them. Pure. */
import { importError } from "./import-error.js";

export interface Line {
  readonly line: number;
  readonly words: readonly string[];
}

export interface Section extends Line {
  readonly lines: readonly Line[];
}

const SECTION =
  /^(?:global|defaults|frontend|backend|listen|userlist|peers|mailers|program|http-errors|ring|log-forward|resolvers|cache|fcgi-app|crt-store|log-profile|traces|acme)$/;

/** Throws a HandoffError, ERR_IMPORT. */
export function readHaproxy(text: string, file: string): readonly Section[] {
  const sections: (Section & { readonly lines: Line[] })[] = [];
  for (const [index, raw] of text.split("\n").entries()) {
    const line = index + 1;
    const words = readWords(raw.endsWith("\r") ? raw.slice(0, -1) : raw);
    if (words === undefined) throw importError({ file, line }, "a quote that is not ended");
    if (words.length === 0) continue;
    if (SECTION.test(words[0]!)) sections.push({ line, words, lines: [] });
    else if (sections.length === 0) throw importError({ file, line }, `"${words[0]}" is in no section`);
    else sections.at(-1)!.lines.push({ line, words });
  }
  return sections;
}

const lasts: WeakMap<readonly Line[], Map<string, Line>> = new WeakMap();

/** The last line that begins with a word, or with two ("timeout client"), in the first of the scopes that has one. */
export function lastOf(words: string, ...scopes: readonly (readonly Line[])[]): Line | undefined {
  for (const lines of scopes) {
    let last = lasts.get(lines);
    if (last === undefined) {
      last = new Map(
        lines.flatMap((line) => [line.words[0]!, line.words.slice(0, 2).join(" ")].map((key) => [key, line])),
      );
      lasts.set(lines, last);
    }
    const found = last.get(words);
    if (found !== undefined) return found;
  }
  return undefined;
}

/** undefined: a quote is not ended. */
function readWords(text: string): string[] | undefined {
  const words: string[] = [];
  let word: string | undefined;
  const token = /[ \t]+|(#)|'([^']*)'|"((?:[^"\\]|\\.)*)"|\\(.)|([^\s#'"\\]+)|(.)/gsy;
  for (const [, comment, strong, weak, escaped, plain, stray] of text.matchAll(token)) {
    if (comment !== undefined) break;
    if (stray === "'" || stray === '"') return undefined;
    const part =
      strong ??
      weak?.replace(/\\(.)/gs, (_, character: string) => unescaped(character)) ??
      (escaped === undefined ? undefined : unescaped(escaped)) ??
      plain ??
      (stray?.trim() || undefined);
    if (part !== undefined) word = (word ?? "") + part;
    else if (word !== undefined) {
      words.push(word);
      word = undefined;
    }
  }
  if (word !== undefined) words.push(word);
  return words;
}

/** Other backslashes stay, as those of regular expressions. */
function unescaped(character: string): string {
  return { n: "\n", r: "\r", t: "\t" }[character] ?? (/[ \\#"'$]/.test(character) ? character : `\\${character}`);
}
