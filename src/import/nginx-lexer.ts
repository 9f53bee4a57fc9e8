/** nginx.conf -> directives: words, blocks and quotes as ngx_conf_file.c has them. Pure. */
import type { Place } from "./draft.js";
import { importError } from "./import-error.js";

export interface Directive {
  readonly line: number;
  /** Without quotes. The first one is the directive's name. */
  readonly words: readonly string[];
  /** undefined: it ends in ";". */
  readonly block?: readonly Directive[];
}

/** Throws a HandoffError, ERR_IMPORT. */
export function readNginx(text: string, file: string): readonly Directive[] {
  const top: Directive[] = [];
  const open: { readonly directives: Directive[]; readonly line: number }[] = [{ directives: top, line: 1 }];
  let words: string[] = [];
  let line = 1;
  for (const token of tokens(text, file)) {
    const { directives } = open.at(-1)!;
    if (words.length === 0) line = token.line;
    if (token.kind === "word") words.push(token.text);
    else if (token.kind === ";") {
      if (words.length > 0) directives.push({ line, words });
      words = [];
    } else if (token.kind === "{") {
      const block: Directive[] = [];
      directives.push({ line, words, block });
      open.push({ directives: block, line });
      words = [];
    } else {
      if (words.length > 0) throw importError({ file, line }, `"${words[0]}" is not ended by ";"`);
      if (open.length === 1) throw importError({ file, line: token.line }, 'a "}" without its "{"');
      open.pop();
    }
  }
  if (words.length > 0) throw importError({ file, line }, `"${words[0]}" is not ended by ";"`);
  if (open.length > 1) throw importError({ file, line: open.at(-1)!.line }, 'a "{" without its "}"');
  return top;
}

interface Token {
  readonly kind: "word" | ";" | "{" | "}";
  readonly text: string;
  readonly line: number;
}

function* tokens(text: string, file: string): Generator<Token> {
  const token =
    /(\n)|[^\S\n]+|#[^\n]*|([;{}])|"((?:[^"\\]|\\[\s\S])*)"|'((?:[^'\\]|\\[\s\S])*)'|((?:[^\s;{}\\$"']|\\[\s\S]|\$\{|\$)(?:[^\s;{\\$]|\\[\s\S]|\$\{|\$)*)|([\s\S])/gy;
  let line = 1;
  for (const match of text.matchAll(token)) {
    const [all, end, mark, double, single, bare, stray] = match;
    const at: Place = { file, line };
    if (end !== undefined) line++;
    else if (stray !== undefined)
      throw importError(at, `found ${JSON.stringify(stray)}, which begins nothing that ends`);
    else if (mark !== undefined) yield { kind: mark as Token["kind"], text: mark, line };
    else {
      const word = double ?? single ?? bare;
      if (word === undefined) continue;
      yield { kind: "word", text: unescaped(word), line };
      line += countLines(all);
    }
  }
}

function countLines(text: string): number {
  let lines = 0;
  for (let at = text.indexOf("\n"); at !== -1; at = text.indexOf("\n", at + 1)) lines++;
  return lines;
}

/** Other backslashes stay, as those of regular expressions. */
function unescaped(word: string): string {
  return word.replace(/\\(["'\\trn])/g, (_, character: string) => {
    const controls: Readonly<Record<string, string>> = { t: "\t", r: "\r", n: "\n" };
    return controls[character] ?? character;
  });
}
